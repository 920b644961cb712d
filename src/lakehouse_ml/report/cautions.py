"""Cautions before the numbers of a report are believed: simulated files, days that no file tells, perfect scores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lakehouse_ml.modelling.metrics import TITLES
from lakehouse_ml.storage.landing import is_simulated

if TYPE_CHECKING:
    import pandas as pd

    from lakehouse_ml.storage.landing import IngestionSpec
    from lakehouse_ml.use_cases.base import UseCase
    from lakehouse_ml.use_cases.wording import Wording

_RANKED = ("roc_auc", "average_precision", "f1")
# Shown with three digits, from here on a metric reads 1.000.
_PERFECT = 0.9995
_FEW = 30


def simulated_sentence(files: Mapping[str, pd.DataFrame]) -> str | None:
    """How much of the data is simulated; None where nothing is.

    Args:
        files: The manifest of each landing table, by name.
    """
    arrived = {name: [is_simulated(str(file)) for file in table["source_file"]] for name, table in files.items()}
    simulated = {name: sum(marks) for name, marks in arrived.items() if any(marks)}
    if not simulated:
        return None
    evidence = "file names that end in `_simulated` say so"
    if all(all(marks) for marks in arrived.values()):
        return (
            f"All data are simulated ({evidence}): the numbers show how this works, and say nothing about a real "
            "business."
        )
    shown = ", ".join(f"{n:,} of {len(arrived[name]):,} files of {name}" for name, n in simulated.items())
    return f"Part of the data is simulated ({evidence}): {shown}. Numbers made of it say nothing about a real business."


def assumed_day(use_case: UseCase, files: Mapping[str, pd.DataFrame], spec: IngestionSpec) -> str | None:
    """The day that conf gives to rows whose file tells none; None where every file or row tells its own.

    Args:
        use_case: Its tables; rows whose key has another time than their file's are dated by that.
        files: The manifest of each landing table, by name.
        spec: How files tell their day.
    """
    dated_by_file = [
        name for name, table in use_case.sources.items() if "snapshot_on" in table.key and name != use_case.outcomes
    ]
    names = [str(file) for name in dated_by_file if name in files for file in files[name]["source_file"]]
    undated = any(not re.search(spec.snapshot_pattern, name) for name in names)
    return spec.snapshot_default.isoformat() if undated else None


def assumed_day_sentence(day: str) -> str:
    """Why a batch's day isn't known, and what to do."""
    return (
        f"The day of batch {day} is not known: its file has no date in its name, so `snapshot_default` in "
        f"parameters.yml names the batch. Put the day into the file's name, as in <name>_YYYY-MM-DD.csv."
    )


def perfect_sentence(metrics: pd.DataFrame, words: Wording, features: Sequence[str] = ()) -> str | None:
    """A caution about a candidate whose hold-out metrics are perfect; None where none is.

    Args:
        metrics: One row per contender, segment and metric.
        words: Of the use case, with the horizon.
        features: The features that matter most, the first of which are named.
    """
    overall = metrics[(metrics["model"] == "candidate") & (metrics["segment"] == "all")]
    values = dict(zip(overall["metric"], overall["value"], strict=True))
    perfect = [TITLES[name] for name in _RANKED if values.get(name, 0.0) >= _PERFECT]
    return " ".join(_caution(perfect, metrics, overall, words, features)) if perfect else None


def _caution(
    perfect: Sequence[str], metrics: pd.DataFrame, own: pd.DataFrame, words: Wording, features: Sequence[str]
) -> Iterator[str]:
    n, cases = int(own["n_positives"].iloc[0]), words.positives
    if words.metric_section and words.metric_section.cases:
        segment, metric, noun = words.metric_section.cases
        counted = metrics[(metrics["segment"] == segment) & (metrics["metric"] == metric)]["value"]
        n, cases = (int(counted.iloc[0]), noun) if len(counted) else (n, cases)
    yield f"{' and '.join(perfect)} of 1.000 on {n:,} {cases}: don't rely on it yet."
    if n < _FEW:
        yield "So few cases may be told apart by chance; wait for more."
    named = f" ({', '.join(features[:3])})" if features else ""
    yield (
        f"A column may hold the outcome already (a leak): check that each of the strongest features{named} was known "
        f"before the outcome, and that no row appears twice under different keys."
    )
