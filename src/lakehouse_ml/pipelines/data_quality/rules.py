"""Rules as values: an SQL predicate that a good row fulfils, and what happens to the others."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lakehouse_ml.spec import Spec

DUPLICATE = "duplicate_key"


class Rule(Spec):
    """One expectation. A row for which the predicate isn't true (NULL included) breaks it.

    Attributes:
        name: Says what is expected, `[a-z_]+`.
        predicate: Spark SQL over the columns of a raw row.
        action: `warn` keeps the row, `drop` quarantines it, `fail` quarantines it and stops the run.
        tolerate: Share of rows that may break the rule before its action is more than a note: for `warn` before it
            warns, for `fail` before it stops, for `drop` before it stops as well (by default a drop never stops).
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    predicate: str
    action: Literal["warn", "drop", "fail"]
    tolerate: float = Field(default=0.0, ge=0.0, le=1.0)

    @model_validator(mode="before")
    @classmethod
    def _drop_tolerates_all(cls, values: dict[str, object]) -> dict[str, object]:
        return {"tolerate": 1.0, **values} if values.get("action") == "drop" else values

    @property
    def stops(self) -> bool:
        """Whether breaking it too often ends the run."""
        return self.action != "warn"


class TableRules(Spec):
    """The rules of one table.

    Attributes:
        rules: In the order in which they are reported.
    """

    rules: tuple[Rule, ...] = ()

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
