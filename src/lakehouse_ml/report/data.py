"""The one value that a report is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from lakehouse_ml.modelling.card import ModelCard, RegistryStatus
from lakehouse_ml.modelling.economics import Economics

if TYPE_CHECKING:
    from lakehouse_ml.use_cases.wording import Wording


@dataclass(frozen=True)
class Source:
    """One landing table.

    Attributes:
        files: Its manifest: one row per file.
        refused: A few of its lines that could not be parsed.
        columns: One row per column, as data_quality describes it.
        rules: One row per rule, with its counts.
        key: Columns of its key.
    """

    files: pd.DataFrame
    refused: pd.DataFrame
    columns: pd.DataFrame
    rules: pd.DataFrame
    key: tuple[str, ...] = ()

    @property
    def n_clean(self) -> int:
        """Rows that passed the rules."""
        return int(self.rules["n_clean"].iloc[0]) if len(self.rules) else 0

    @property
    def n_quarantined(self) -> int:
        """Rows that a rule set aside."""
        return int(self.rules["n_quarantined"].iloc[0]) if len(self.rules) else 0

    @property
    def n_refused(self) -> int:
        """Lines that could not be parsed."""
        return int(self.files["n_quarantined"].sum()) if len(self.files) else 0

    @property
    def is_clean(self) -> bool:
        """Whether it has files, no refused line and no row that breaks a rule."""
        return bool(len(self.files) and not self.n_refused and len(self.rules) and not self.rules["n_failed"].any())


class ScoredBatch(NamedTuple):
    """The counts of a batch.

    Attributes:
        batch: Its day; None without a batch.
        n_rows: Its rows.
        n_positive: Rows whose decision is 1.
        n_entities: Its entities.
        n_paying: Entities for which acting is expected to pay.
        gain: Expected value of acting on all of those rows, in the currency of the data.
        threshold: Decision threshold of the model that scored.
    """

    batch: str | None
    n_rows: int
    n_positive: int
    n_entities: int
    n_paying: int = 0
    gain: float = 0.0
    threshold: float = float("nan")


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows.

    Attributes:
        words: The use case's sentences, with the horizon.
        made_at: Time of the run, UTC.
        sources: Landing tables by name.
        meaning: What a feature column means, by its name.
        version: The candidate's version.
        card: The candidate's card.
        trials: One row per trial of the search.
        holdout: One row per held-out row: label and both contenders' probabilities.
        metrics: One row per contender, segment and metric.
        verdict: The newest verdict's row.
        standing: Which version is champion.
        economics: Cost of acting, value of a prevented outcome, share of actions that succeed.
        batch: The batch that the report is about.
        actions: The batch's list of actions, best first.
        drift: One row per column of the newest batch.
        drift_levels: PSI from which a column's change is a warning, and from which it is an alarm.
        drift_verdict: The batch's verdict; None without one.
        live: One row per batch and model version whose outcomes are known.
        horizon_days: Days within which the outcome is predicted; None where the horizon isn't in days.
        list_file: Path of the list of actions, below the lake.
        most_actions: Longest list of actions that conf allows.
        batches: One row per batch: n_rows, n_named.
        drift_verdicts: One row per batch.
        labels: Counts of known outcomes, one row per day; None where no outcomes come later.
        performance: Outcomes compared with the hold-out; None where none is known.
        assumed_day: Day that conf gives to files without a date in their name; None where every day is known.
    """

    words: Wording
    made_at: datetime
    sources: Mapping[str, Source]
    meaning: Callable[[str], str]
    version: str
    card: ModelCard
    trials: pd.DataFrame
    holdout: pd.DataFrame
    metrics: pd.DataFrame
    verdict: Mapping[str, Any]
    standing: RegistryStatus
    economics: Economics
    batch: ScoredBatch
    actions: pd.DataFrame
    drift: pd.DataFrame
    drift_levels: tuple[float, float]
    drift_verdict: Mapping[str, Any] | None
    live: pd.DataFrame
    horizon_days: int | None = None
    list_file: str = "actions.csv"
    most_actions: int = 0
    batches: pd.DataFrame = field(default_factory=pd.DataFrame)
    drift_verdicts: pd.DataFrame = field(default_factory=pd.DataFrame)
    labels: pd.DataFrame | None = None
    performance: Mapping[str, Any] | None = None
    assumed_day: str | None = None

    @property
    def is_day_assumed(self) -> bool:
        """Whether the batch's day comes from conf, because no file name has it."""
        return self.batch.batch is not None and self.batch.batch == self.assumed_day

    @property
    def ranked_features(self) -> list[tuple[str, float]]:
        """Features and their mean effect, largest first; without the label dimension, which says what is asked."""
        effects = {name: value for name, value in self.card.importance.items() if name != self.card.label_dimension}
        return sorted(effects.items(), key=lambda effect: -effect[1])

    def metric(self, name: str, model: str = "candidate") -> float | None:
        """A hold-out metric of a contender over all rows; None where it has no value."""
        rows = self.metric_rows(name, model)
        return float(rows["value"].iloc[0]) if rows["value"].notna().any() else None

    def metric_rows(self, name: str, model: str = "candidate") -> pd.DataFrame:
        """The rows of a hold-out metric of a contender over all rows."""
        rows = self.metrics
        return rows[(rows["model"] == model) & (rows["segment"] == "all") & (rows["metric"] == name)]
