"""What a message proposes to type can be typed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lakehouse_ml.runs import next_commands


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ({}, "make run"),
        ({"use_case": "all"}, "make run USE_CASE=all"),
        ({"use_case": "predictive_maintenance", "env": "dev"}, "make run USE_CASE=predictive_maintenance ENV=dev"),
        ({"landing": "<folder>", "lake": "data/mine"}, "make run LANDING=<folder> LAKE=data/mine"),
        ({"lake": "/my lake/it's"}, """make run LAKE='/my lake/it'"'"'s'"""),
    ],
)
def test_a_run_is_proposed_with_its_values(arguments: dict[str, str], command: str) -> None:
    assert next_commands.run_all(**{"use_case": "churn", **arguments}) == command


@pytest.mark.parametrize("lake", ["/my lake", "/it's", "/a$HOME;b", "/a,b=c #d"])
def test_make_reads_a_proposed_value_as_it_was(tmp_path: Path, lake: str) -> None:
    (tmp_path / "Makefile").write_text('export LAKE\nui:\n\t@printf %s "$$LAKE"\n', encoding="utf-8")
    command = next_commands.make("ui", LAKE=lake)
    # Tests that make has started are not make's own recipe.
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True, env=own)
    assert done.stdout == lake


def test_an_installed_package_is_run_without_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_commands, "INSTALLED", True)
    assert next_commands.run_all("all") == "lakehouse-ml"
    assert next_commands.run_all("churn", landing="/my files", lake="/l", env="dev") == (
        "lakehouse-ml --env dev --namespaces churn --params 'landing=/my files,lake=/l'"
    )
