"""Quality rules as values: what a valid row satisfies, and what happens to the others."""

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

# Functions that return the current time, and a parameter that would stand for it.
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
        tolerate: Share of rows that may break the rule before `warn` warns, and before `fail` or `drop` stops the run
            (by default `drop` never stops it).
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    action: Literal["warn", "drop", "fail"]
    tolerate: float = Field(default=0.0, ge=0.0, le=1.0)

    @model_validator(mode="before")
    @classmethod
    def _let_drop_tolerate_all(cls, value: object) -> object:
        if isinstance(value, Mapping) and value.get("action") == "drop":
            return {"tolerate": 1.0, **value}
        return value

    @property
    @abstractmethod
    def expected(self) -> str:
        """What a valid row satisfies, in words that name the columns."""

    @property
    def stops(self) -> bool:
        """Whether breaking the rule too often stops the run."""
        return self.action != "warn"


class RowRule(Rule):
    """About a single row. A row for which the predicate is not true (NULL included) breaks it.

    Attributes:
        predicate: One deterministic expression of Spark SQL over the columns of a raw row: no subquery, aggregate,
            random number or comment. For times use `ingested_at`, when the row was read: a predicate on the current
            time would judge the same row differently on another day, and is refused.
    """

    predicate: str

    @field_validator("predicate")
    @classmethod
    def _check_row_predicate(cls, value: str) -> str:
        if match := _CLOCK.search(value):
            raise ValueError(
                f"{match[0].rstrip('( ')} depends on the current time: the same row would be judged differently "
                f"on another day. Compare with ingested_at, when the row was read"
            )
        check_predicate(value)
        return value

    @property
    def expected(self) -> str:
        """The predicate itself."""
        return self.predicate


class KeyRule(Rule):
    """About the key: of rows with the same key, all but the newest break it. Every table has this rule."""

    @property
    def expected(self) -> str:
        """That the key is unique."""
        return "the key is unique"


class ReferenceRule(Rule):
    """About another table: a row breaks it if no raw row there has its values, or one of them is NULL.

    Raw rows, not clean ones, because the rule finds ids that no file contains. A machine that was quarantined for its
    age is one fault there, and not a fault of each of its readings here.

    Attributes:
        refers_to: The other landing table; the use case must name it as a reference.
        by: Columns with the same names in both tables.
    """

    refers_to: str
    by: Columns

    @property
    def expected(self) -> str:
        """For example: machine_id exists in machines."""
        return f"{' and '.join(self.by)} {'exists' if len(self.by) == 1 else 'exist together'} in {self.refers_to}"


class GapRule(Rule):
    """About the previous row: a row breaks it if the previous row of its group is more than a step earlier.

    The first row of a group and duplicates cannot break it.

    Attributes:
        per: Columns that define a group.
        order: Time column that orders the rows of a group.
        step_hours: Maximum hours between two rows.
    """

    per: Columns
    order: str
    step_hours: Hours

    @property
    def previous(self) -> str:
        """Name of the time before the gap in an example."""
        return f"previous {self.order}"

    @property
    def expected(self) -> str:
        """For example: observed_at is at most 1 h after the previous observed_at of its machine_id."""
        return f"{self.order} is at most {self.step_hours:g} h after the {self.previous} of its {', '.join(self.per)}"


class StuckRule(Rule):
    """About a stuck sensor: a row breaks it if a column has had no new value for too long.

    Rows break it from `within_hours` after the last new value until the next one. A blank is no value, and the value
    before the blanks is not new after them. Before the first value, time counts from the first row of the group.

    Attributes:
        moves: The column that must change.
        within_hours: Maximum hours without a new value.
        per: Columns that define a group.
        order: Time column that orders the rows of a group.
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


# The key that only one kind of rule has.
_KINDS: dict[str, type[Rule]] = {
    "predicate": RowRule,
    "refers_to": ReferenceRule,
    "step_hours": GapRule,
    "moves": StuckRule,
}


def _parse_rule(value: object) -> object:
    """Parse a rule of conf by its kind. Errors then name the keys; those of a plain union do not."""
    if isinstance(value, Rule):
        return value
    if not isinstance(value, Mapping):
        raise PydanticCustomError("rule_type", "A rule is keys with values: name, predicate, action")
    kinds = [key for key in _KINDS if key in value]
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(kinds)} belong to different kinds of rules: a rule can have only one of them")
    return _KINDS[kinds[0] if kinds else "predicate"].model_validate(value)


AnyRule = Annotated[RowRule | ReferenceRule | GapRule | StuckRule, BeforeValidator(_parse_rule)]


class TableRules(Spec):
    """The rules of one table.

    Attributes:
        rules: Rules in the order of the report.
    """

    rules: tuple[AnyRule, ...] = ()

    @model_validator(mode="after")
    def _check_unique_names(self) -> TableRules:
        names = [rule.name for rule in self.rules]
        repeated = sorted({name for name in names if names.count(name) > 1 or name == DUPLICATE})
        if repeated:
            raise ValueError(f"rule names must be unique and not {DUPLICATE}: {', '.join(repeated)}")
        return self


class QualitySpec(Spec):
    """The rules of each landing table of a use case, and limits of the description of a column.

    Attributes:
        tables: Rules by name of the landing table.
        top_values: Number of most frequent values to list for a column.
        examples: Number of rows to show that break a rule.
    """

    tables: dict[str, TableRules]
    top_values: int = Field(default=5, ge=1, le=100)
    examples: int = Field(default=3, ge=1, le=20)


def judge_outcome(rule: Rule, failed: int, rows: int) -> Literal["ok", "warned", "dropped", "stopped"]:
    """The outcome of a rule, given how many of the rows broke it."""
    if failed == 0:
        return "ok"
    is_exceeded = failed / rows > rule.tolerate
    if rule.action == "warn":
        return "warned" if is_exceeded else "ok"
    return "stopped" if is_exceeded else "dropped"
