"""What a use case is: a value that fills the shapes of the seven stages."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Literal

from lakehouse_ml.errors import ContractError
from lakehouse_ml.storage.writes import rows_of
from lakehouse_ml.use_cases.formats import Format

if TYPE_CHECKING:
    import pandas as pd
    from kedro.pipeline import Pipeline
    from pyspark.sql import DataFrame

Features = Callable[..., "DataFrame"]
Labels = Callable[..., "DataFrame"]
Measures = Callable[..., "pd.DataFrame"]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its name here.
        type: Spark SQL type.
        source: Its name in the landing file, where that is another one; it may be empty.
        nullable: Whether a value may be missing.
        doc: What it says.
        format: How the landing file writes its numbers or days, where it isn't the standard way.
    """

    name: str
    type: str
    source: str | None = None
    nullable: bool = True
    doc: str = ""
    format: Format | None = None

    @property
    def landing_name(self) -> str:
        """Its name in the landing file."""
        return self.name if self.source is None else self.source


@dataclass(frozen=True)
class Table:
    """The contract of a table: grain, key and columns, in order. Kedro's `validator:` calls `validate`."""

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def ddl(self) -> str:
        """The schema as Spark SQL text, for a frame that is made from nothing."""
        return ", ".join(f"`{column.name}` {column.type}" for column in self.columns)

    def meaning(self, name: str) -> str:
        """What a column holds, in words; nothing of one that isn't declared."""
        return next((column.doc for column in self.columns if column.name == name), "")

    def plus(self, name: str, grain: str, *columns: Column) -> Table:
        """This table under another name with further columns at its end."""
        return Table(name, grain, self.key, (*self.columns, *columns))

    def validate(self, data: object) -> object:
        """Pass a frame (or a batch of one) on as it is, if its columns and types are the declared ones.

        Raises:
            ContractError: Names each missing, unexpected or differently typed column.
        """
        frame = rows_of(data)
        if frame is None:
            return data
        declared = {column.name: column.type for column in self.columns}
        # Types of a pandas frame are decided when it is stored; by then only names can differ.
        found = (
            dict(frame.dtypes) if hasattr(frame, "sparkSession") else {n: declared.get(n, "") for n in frame.columns}
        )
        differences = _differences(declared, found)
        if differences:
            raise ContractError(f"{self.name} breaks its contract: {'; '.join(differences)}.")
        return data


@dataclass(frozen=True)
class Told:
    """One of a use case's further measures, as a report tells it.

    Attributes:
        segment: Of the measure.
        metric: Of the measure.
        says: What it is, in words.
        unit: Whether it is a share, a score from 0 to 1 like a share, a number of things, money, or hours.
    """

    segment: str
    metric: str
    says: str
    unit: Literal["share", "score", "count", "money", "hours"]

    @property
    def name(self) -> str:
        """What sentences call it: segment and metric."""
        return f"{self.segment}_{self.metric}"


@dataclass(frozen=True)
class Measured:
    """How a use case's further measures are told; a sentence is left out if a value that it names is unknown.

    Sentences name values in braces as `Told.name` has them.

    Attributes:
        title: Heading of the section.
        sentences: What the section begins with.
        summary: What follows them there, and stands among the page's first sentences.
        rows: Its table, a measure a row.
        tile: Label, value and note of the figure that is seen at a glance, in place of the value of a row.
        brief: The line that ends the metrics of a run's summary: its head, and what it says.
        cases: Segment and metric of the number of cases, where several rows tell of one, and what a case is called.
    """

    title: str
    sentences: tuple[str, ...]
    summary: str
    rows: tuple[Told, ...]
    tile: tuple[str, str, str]
    brief: tuple[str, str]
    cases: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Wording:
    """How a use case is spoken of in a report.

    `{within}` in any of them is the horizon, where the use case has one: " within 30 days".

    Attributes:
        title: As a heading.
        entity: Whom the list of actions names.
        one: A row that is judged or scored.
        many: Several of them.
        all: To what in the plural it happens.
        who: The pronoun that goes with them.
        happens: What is predicted, as a verb in the plural: they leave.
        happened: The same in the past: they left.
        action: What is done about it: an offer.
        whom: What the list of actions says: whom to make an offer.
        listed: The same of a number `{n}` of them, or `{entities}` with their noun: the {n} to whom an offer is worth
            most.
        economics: A sentence with `{cost}` of acting, `{share}` of outcomes averted, and `{value}` of one.
        later: How it becomes known what happened.
        everybody: All of those to whom it may happen, in the singular: everybody.
        share: A clause with the `{share}` of judged rows to which it happened.
        named: What scored rows that reach the threshold do, as a clause: are named as likely to leave.
        heads: Heads of the list's first columns: whom it names, and where a list needs it, when and what of them.
        rows: What a row is and what follows from it, in sentences; empty where a row is an entity.
        worth: What must be known to read the value of a row; empty where nothing must.
        measured: How the further measures are told, where there are some.
    """

    title: str
    entity: str
    one: str
    many: str
    all: str
    who: str
    happens: str
    happened: str
    action: str
    whom: str
    listed: str
    economics: str
    later: str
    everybody: str
    share: str
    named: str
    heads: tuple[str, ...]
    rows: str = ""
    worth: str = ""
    measured: Measured | None = None

    def within(self, days: int | None) -> Wording:
        """The same with the horizon in its place; without a horizon nothing stands there."""
        told = "" if days is None else f" within {days} day{'' if days == 1 else 's'}"
        texts: dict[str, Any] = {name: value for name, value in vars(self).items() if isinstance(value, str)}
        return replace(self, **{name: text.replace("{within}", told) for name, text in texts.items()})


@dataclass(frozen=True)
class UseCase:
    """A prediction problem: what it reads, what a row is, and how features and labels are made.

    The functions of a use case name by their parameters the clean tables that they read; one named `spec` is conf's
    `features`.

    Attributes:
        name: Namespace, folder and registered model, `[a-z][a-z0-9_]*`.
        noun: What a row describes, in the plural; names the tables from `feature_` to `score_`.
        sources: Contracts of the landing tables that are ingested and checked, by table name.
        key: Columns that identify a row of features: the entity, then its time.
        features: Clean tables and a spec to one row per key.
        labels: Clean tables and a spec to key, target and `label` (0/1), labelled rows only.
        categorical: Feature columns with categories (text); all others but the key are numbers.
        segments: Feature columns whose groups are judged one by one.
        wording: How a report speaks of it.
        meaning: What a feature column says, by its name.
        target: Column of a label beside the key that tells what it speaks of, where a row has several.
        recurring: Whether each row of an entity counts by itself. If not, rows are states of the entity over time: a
            batch holds the population of a day, and an entity whose outcome was 1 is gone.
        references: Landing tables whose rows those of others name.
        measures: What decisions about held-out rows (key, target, label) are worth besides: a function of them, their
            probabilities, the threshold, what acting costs, what it averts, and how many can be acted on a day; gives
            segment, metric, value, n_rows and n_positives.
        outcomes: Landing table whose rows tell later what happened; it may never come. None where `labels` do.
        outcome_labels: Rows of that table to key, target and `label`.
    """

    name: str
    noun: str
    sources: Mapping[str, Table]
    key: tuple[str, str]
    features: Features
    labels: Labels
    categorical: tuple[str, ...]
    segments: tuple[str, ...]
    wording: Wording
    meaning: Callable[[str], str]
    target: str | None = None
    recurring: bool = False
    references: tuple[str, ...] = ()
    measures: Measures | None = None
    outcomes: str | None = None
    outcome_labels: Labels | None = None

    @property
    def gathers_outcomes(self) -> bool:
        """Whether labels are gathered from snapshots and from outcomes that come later."""
        return bool(self.outcomes) or not self.recurring


def inputs_of(function: Callable[..., Any]) -> dict[str, str]:
    """Datasets that a use case's function reads, by its parameters."""
    return {
        name: "params:features" if name == "spec" else f"clean_{name}"
        for name in inspect.signature(function).parameters
    }


def population_of(use_case: UseCase) -> dict[str, str]:
    """The input `population` of a node, where rows are states of entities over time."""
    return {} if use_case.recurring else {"population": "params:population"}


def no_population(use_case: UseCase) -> dict[str, None]:
    """The same argument, filled where each row counts by itself."""
    return {"population": None} if use_case.recurring else {}


def filled(function: Callable[..., Any], **values: Any) -> Callable[..., Any]:
    """A node's function with a use case's values filled in; name, docstring and types stay, for Kedro reads them."""
    return update_wrapper(partial(function, **values), function)


def per_use_case(stage: str, shape: Callable[[UseCase], Pipeline]) -> Pipeline:
    """One stage filled once per use case: nodes `<use case>.<stage>.<node>`, data `<use case>.<dataset>`."""
    from kedro.pipeline import Pipeline

    from lakehouse_ml.use_cases import USE_CASES

    cells = [
        Pipeline(
            Pipeline(shape(use_case), namespace=stage, prefix_datasets_with_namespace=False),
            namespace=use_case.name,
        )
        for use_case in USE_CASES
    ]
    return sum(cells, start=Pipeline([]))


def _differences(declared: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    missing = [f"column {name} is missing" for name in declared if name not in found]
    unexpected = [f"column {name} is not declared" for name in found if name not in declared]
    retyped = [
        f"column {name} is {found[name]}, declared {type_}"
        for name, type_ in declared.items()
        if name in found and found[name] != type_
    ]
    return missing + unexpected + retyped
