"""Runs that are killed at random moments end, in the next run, as if nobody had disturbed them."""

from __future__ import annotations

from pathlib import Path

import pytest

from warm import warm

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
def test_lives_that_are_killed_at_random_moments_end_as_undisturbed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)  # killed processes have to leave what workers share
    monkeypatch.syspath_prepend(BENCHMARKS)  # only here: a benchmark has the name of a room of tests
    from kills import Lives, campaigns

    first, second = campaigns(Lives(tmp_path, lambda call: warm(list(call))), first=20, second=10, seed=1)
    assert (first.kills.total(), second.kills.total()) == (20, 10)
    assert first.differences + second.differences == []
