"""A benchmark is run once a month at most, so that it still starts is checked here."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize("script", sorted(path.name for path in BENCHMARKS.glob("*.py")))
def test_a_benchmark_starts_and_says_how(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = runpy.run_path(str(BENCHMARKS / script), run_name="imported")
    assert f".venv/bin/python benchmarks/{script}" in module["__doc__"]
    assert callable(module["main"])
