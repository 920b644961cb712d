"""A variable on the command line of make is used by the target, or refused before anything runs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """The commands that make would run; nothing runs."""
    ours = ("MAKE", "MFLAGS", "LANDING", "LAKE", "USE_CASE", "ENV", "QUIET")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        ["make", "-n", *words], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("run LANDIN=/x", "make run does not take LANDIN= (did you mean LANDING=?). It takes ENV= LAKE= LANDING="),
        ("run lake=/x", "make run does not take lake= (did you mean LAKE=?). It takes "),
        ("run USECASE=all", "make run does not take USECASE= (did you mean USE_CASE=?). It takes "),
        ("run FOO=1", "make run does not take FOO=. It takes "),
        ("report LANDING=/x", "make report does not take LANDING=. It takes ENV= LAKE= USE_CASE=; "),
        ("ui USE_CASE=churn", "make ui does not take USE_CASE=. It takes ENV= LAKE=; "),
        ("test LAKE=/x", "make test does not take LAKE=. It takes no variables; "),
        ("LANDING=/x", "make help does not take LANDING=. It takes no variables; "),
        ("rnu LAKE=/x", "make has no target rnu (did you mean run?). "),
        ("run LAKE= /", "make has no target /. make alone lists them; a variable has no blanks around its =, LAKE=<"),
        ("run LANDIN=/x PYTHON=nothing", "make run does not take LANDIN=. It takes "),
    ],
)
def test_an_unknown_variable_of_a_target_is_refused_before_anything_runs(words: str, sentence: str) -> None:
    process = make(*words.split(" "))
    assert (process.returncode, process.stdout) == (2, "")
    assert re.fullmatch(rf"Makefile:\d+: \*\*\* {re.escape(sentence)}.*  Stop\.\n", process.stderr), process.stderr


@pytest.mark.parametrize(
    "words",
    [
        "run LANDING=/x LAKE=/y USE_CASE=all ENV=dev QUIET=1", "report USE_CASE=churn LAKE=/y", "ui LAKE=/y ENV=s3",
        "run report LANDING=/x", "run LANDING= LAKE=", "help PYTHON=python3 PYTHON312=python3.12", "", ".make/uv",
        "help -s -j2", "help SHELL=/bin/sh",
    ],
)  # fmt: skip
def test_the_variables_of_a_target_pass(words: str) -> None:
    process = make(*words.split())
    assert (process.returncode, process.stderr) == (0, "")


def test_the_list_of_targets_names_the_variables_of_each() -> None:
    text = (PROJECT / "Makefile").read_text(encoding="utf-8")
    expected = {name: set(names.split()) for name, names in re.findall(r"^TAKES_(\w+) := (.+)$", text, re.MULTILINE)}
    listed = re.findall(r"^([a-z-]+):.*?## (.+)$", text, re.MULTILINE)
    printed = {name: set(re.findall(r"\b([A-Z_]+)=", line)) for name, line in listed}
    assert {name: printed.pop(name) for name in expected} == expected
    assert {name: names - {"ENV"} for name, names in printed.items() if names - {"ENV"}} == {}
    assert set(re.findall(r"^TARGETS := (.+)$", text, re.MULTILINE)[0].split()) == {name for name, _ in listed}
