"""Rules as values: what a good row fulfils, and what happens to the others."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.pipelines.data_quality.predicates import check_predicate
from lakehouse_ml.use_cases.columns import DUPLICATE

# Functions that give another answer whenever they are asked, and the parameter that would stand for one.
_CLOCK = re.compile(
    r"\b(?:current_date|current_timestamp|localtimestamp)\b|\b(?:now|curdate)\s*\(|(?<![:\w]):now\b", re.IGNORECASE
)

Columns = Annotated[tuple[str, ...], Field(min_length=1)]
Hours = Annotated[float, Field(gt=0.0)]


class Rule(Spec, ABC):
    """One expectation, of any kind.

    Attributes:
        name: Says what is expected, `[a-z_]+`.
        action: `warn` keeps the row, `drop` quarantines it, `fail` quarantines it and stops the run.
        tolerate: Share of rows that may break the rule before its action is more than a note: for `warn` before it
            warns, for `fail` before it stops, for `drop` before it stops as well (by default a drop never stops).
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    action: Literal["warn", "drop", "fail"]
    tolerate: float = Field(default=0.0, ge=0.0, le=1.0)

    @model_validator(mode="before")
    @classmethod
    def _drop_tolerates_all(cls, given: object) -> object:
        if isinstance(given, Mapping) and given.get("action") == "drop":
            return {"tolerate": 1.0, **given}
        return given

    @property
    @abstractmethod
    def expected(self) -> str:
        """What a good row has, in words that name the columns."""

    @property
    def stops(self) -> bool:
        """Whether breaking it too often ends the run."""
        return self.action != "warn"


class RowRule(Rule):
    """About a row alone. A row for which the predicate isn't true (NULL included) breaks it.

    Attributes:
        predicate: One deterministic expression of Spark SQL over the columns of a raw row: no subquery, aggregate,
            random number or comment. Of the time it knows `ingested_at`, when the row was read: whoever asks the clock
            would judge the same row differently on another day, and is refused.
    """

    predicate: str

    @field_validator("predicate")
    @classmethod
    def _is_about_the_row(cls, value: str) -> str:
        if asked := _CLOCK.search(value):
            raise ValueError(
                f"{asked[0].rstrip('( ')} asks the clock, by which the same row is judged differently on another day; "
                f"compare with ingested_at, when the row was read"
            )
        check_predicate(value)
        return value

    @property
    def expected(self) -> str:
        """The predicate itself."""
        return self.predicate


class KeyRule(Rule):
    """About the key: of rows that have the same one, all but the newest break it. Every table has this rule."""

    @property
    def expected(self) -> str:
        """That the key is unique."""
        return "the key is unique"


class ReferenceRule(Rule):
    """About another table: a row breaks it if its values stand in no raw row there, or one of them is NULL.

    Raw rows, not clean ones: what the rule finds is an id that nobody has told of. A machine that is known but was
    kept out for its age is the fault of one row there, not of each of its readings here.

    Attributes:
        refers_to: The other landing table; one that the use case names as a reference.
        by: Columns that have the same names in both.
    """

    refers_to: str
    by: Columns

    @property
    def expected(self) -> str:
        """For example: machine_id stands in machines."""
        return f"{' and '.join(self.by)} {'stands' if len(self.by) == 1 else 'stand together'} in {self.refers_to}"


class GapRule(Rule):
    """About the row before: a row breaks it if the previous one of its group lies further back than a step.

    The first row of a group has none before it, and a duplicate no further one.

    Attributes:
        per: Columns that make a group.
        order: The time by which its rows follow each other.
        step_hours: How far apart they may be.
    """

    per: Columns
    order: str
    step_hours: Hours

    @property
    def previous(self) -> str:
        """What an example calls the time before the gap."""
        return f"previous {self.order}"

    @property
    def expected(self) -> str:
        """For example: observed_at is at most 1 h after the previous observed_at of its machine_id."""
        return f"{self.order} is at most {self.step_hours:g} h after the {self.previous} of its {', '.join(self.per)}"


class StuckRule(Rule):
    """About what came before: a row breaks it if a column took no new value for so long.

    So it does from `within_hours` after the last new value on, until the next one comes; a blank is no value, and one
    that was there before the blanks isn't new. Where there was none yet, time counts from the group's first row.

    Attributes:
        moves: The column.
        within_hours: After how long without a new value a row breaks the rule.
        per: Columns that make a group.
        order: The time by which its rows follow each other.
    """

    moves: str
    within_hours: Hours
    per: Columns
    order: str

    @property
    def expected(self) -> str:
        """For example: volt took a new value within 24 h before observed_at, for its machine_id."""
        hours = f"{self.within_hours:g} h"
        return f"{self.moves} took a new value within {hours} before {self.order}, for its {', '.join(self.per)}"


# What tells the kind of a rule: the one thing that no other kind has.
_KINDS: dict[str, type[Rule]] = {
    "predicate": RowRule, "refers_to": ReferenceRule, "step_hours": GapRule, "moves": StuckRule,
}  # fmt: skip


def _of_its_kind(value: object) -> object:
    """A rule from what conf says; its mistakes keep the places of their keys, which those of a plain union don't."""
    if isinstance(value, Rule):
        return value
    if not isinstance(value, Mapping):
        raise PydanticCustomError("rule_type", "A rule is keys with values: name, predicate, action")
    kinds = [key for key in _KINDS if key in value]
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(kinds)} are rules of their own, and one rule can have only one of them")
    return _KINDS[kinds[0] if kinds else "predicate"].model_validate(value)


AnyRule = Annotated[RowRule | ReferenceRule | GapRule | StuckRule, BeforeValidator(_of_its_kind)]


class TableRules(Spec):
    """The rules of one table.

    Attributes:
        rules: In the order in which they are reported.
    """

    rules: tuple[AnyRule, ...] = ()

    @model_validator(mode="after")
    def _named_once(self) -> TableRules:
        names = [rule.name for rule in self.rules]
        repeated = sorted({name for name in names if names.count(name) > 1 or name == DUPLICATE})
        if repeated:
            raise ValueError(f"rule names must be unique and not {DUPLICATE}: {', '.join(repeated)}")
        return self


class QualitySpec(Spec):
    """The rules of each landing table of a use case, and how much is said of a column.

    Attributes:
        tables: Rules by the name of the landing table.
        top_values: How many of a column's most frequent values are told.
        examples: How many rows that break a rule are shown.
    """

    tables: dict[str, TableRules]
    top_values: int = Field(default=5, ge=1, le=100)
    examples: int = Field(default=3, ge=1, le=20)


def outcome(rule: Rule, failed: int, rows: int) -> Literal["ok", "warned", "dropped", "stopped"]:
    """What a rule did, from how many of the rows broke it."""
    if failed == 0:
        return "ok"
    beyond = failed / rows > rule.tolerate
    if rule.action == "warn":
        return "warned" if beyond else "ok"
    return "stopped" if beyond else "dropped"
