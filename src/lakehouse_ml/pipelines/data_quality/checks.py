"""Each kind of rule as a column over the raw rows, true where a row breaks it; all of them in one pass.

Whatever needs more than the row itself is joined to it or computed over windows first, in columns whose names begin
with an underscore. Rows that follow each other are sorted once per group and order, however many rules look at them;
a table without such a rule isn't sorted at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from lakehouse_ml.errors import QualityError, first_line
from lakehouse_ml.pipelines.data_quality.rules import GapRule, ReferenceRule, RowRule, Rule, StuckRule

REPEATED = "_repeated"
_FALSE = False
_TRUE = True
_HOUR = 3_600_000_000
_NEWER = ("ingested_at", "source_file", "line_number")


def _with_repeated(raw: DataFrame, key: Sequence[str]) -> DataFrame:
    """Tell of each row whether a newer one has its key.

    Newer is what was read later, then the file that comes later by name, then the line further down. Keys are counted
    first, and only those that are there more than once looked at: ranking every row costs thirty times as much.

    Returns:
        The rows with `_repeated`, never NULL.
    """
    names = {name: f"_key_{name}" for name in key}
    again = raw.groupBy(*key).agg(F.count(F.lit(1)).alias("_n")).where("_n > 1")
    again = again.select(*(F.col(name).alias(other) for name, other in names.items()))
    same = [F.col(name).eqNullSafe(F.col(other)) for name, other in names.items()]
    place = F.struct(*_NEWER)
    newest = raw.join(again, same, "inner").groupBy(*names.values()).agg(F.max(place).alias("_newest"))
    repeated = F.coalesce(place < F.col("_newest"), F.lit(_FALSE))
    return raw.join(newest, same, "left").withColumn(REPEATED, repeated).select(*raw.columns, REPEATED)


def broken_by(
    raw: DataFrame, rules: Sequence[Rule], table: str, key: Sequence[str], references: Mapping[str, DataFrame]
) -> tuple[DataFrame, dict[str, Column]]:
    """Prepare the rows and say, by rule, where each is broken.

    Args:
        raw: Raw rows.
        rules: Of this table.
        table: Its name, for messages.
        key: Its key.
        references: Raw rows of other tables that rules may refer to, by name.

    Returns:
        The same rows with `_repeated` and further columns, and a boolean column over them for each rule's name.

    Raises:
        QualityError: A rule names a table or a column that isn't there, or can't be evaluated.
    """
    for rule in rules:
        _check(raw, rule, table, references)
    frame = _with_repeated(raw, key)
    broken: dict[str, Column] = {}
    for number, rule in enumerate(rules):
        if isinstance(rule, RowRule):
            broken[rule.name] = ~F.coalesce(F.expr(f"({rule.predicate})"), F.lit(_FALSE))
        elif isinstance(rule, ReferenceRule):
            flag = f"_known_{number}"
            frame = _with_known(frame, references[rule.refers_to], rule.by, flag)
            broken[rule.name] = F.col(flag).isNull()
    following = [rule for rule in rules if isinstance(rule, GapRule | StuckRule)]
    for number, group in enumerate(dict.fromkeys((rule.per, rule.order) for rule in following)):
        frame, found = _follow(frame, [rule for rule in following if (rule.per, rule.order) == group], number)
        broken |= found
    return frame, broken


def _follow(frame: DataFrame, rules: Sequence[GapRule | StuckRule], number: int) -> tuple[DataFrame, dict[str, Column]]:
    """Where the rules about rows of one group and order are broken: all by one sort of the rows."""
    per, order = rules[0].per, rules[0].order
    at = F.unix_micros(F.col(order).cast("timestamp"))
    rows = Window.partitionBy(*per).orderBy(order, REPEATED)
    before = f"_before_{number}"
    moving = dict.fromkeys(rule.moves for rule in rules if isinstance(rule, StuckRule))
    last = {column: f"_last_{number}_{column}" for column in moving}
    since = {column: f"_since_{number}_{column}" for column in moving}
    values = [_last_value(column, per, order).alias(last[column]) for column in moving]
    frame = frame.select("*", F.lag(at).over(rows).alias(before), *values)
    moves = [_last_move(column, last[column], before, at, rows).alias(since[column]) for column in moving]
    frame = frame.select("*", *moves)
    broken = {}
    for rule in rules:
        if isinstance(rule, GapRule):
            late = at - F.col(before) > rule.step_hours * _HOUR
        else:
            late = (at - F.col(since[rule.moves]) >= rule.within_hours * _HOUR) & ~F.col(REPEATED)
        broken[rule.name] = F.coalesce(late, F.lit(_FALSE))
    return frame, broken


def _last_value(column: str, per: Sequence[str], order: str) -> Column:
    """The last value before a row; those of duplicates and blanks are none.

    The function API of `lag` can't skip nulls. `last` can, but Sail's looks at every earlier row again as soon as a
    single one is null: a machine's year takes ten times as long.
    """
    group = ", ".join(f"`{name}`" for name in per)
    return F.expr(
        f"lag(case when not `{REPEATED}` then `{column}` end) ignore nulls "
        f"over (partition by {group} order by `{order}`, `{REPEATED}`)"
    )


def _last_move(column: str, last: str, before: str, at: Column, rows: WindowSpec) -> Column:
    """When the last new value came, up to a row; without any, when the group began."""
    new = F.col(column).isNotNull() & (F.col(last).isNull() | (F.col(column) != F.col(last)))
    moved = (new | F.col(before).isNull()) & ~F.col(REPEATED)
    return F.max(F.when(moved, at)).over(rows.rowsBetween(Window.unboundedPreceding, 0))


def _with_known(frame: DataFrame, other: DataFrame, on: Sequence[str], flag: str) -> DataFrame:
    names = {name: f"{flag}_{name}" for name in on}
    known = other.select(*(F.col(name).alias(key) for name, key in names.items())).distinct()
    known = known.withColumn(flag, F.lit(_TRUE))
    return frame.join(known, [F.col(name) == F.col(key) for name, key in names.items()], "left").drop(*names.values())


def _check(raw: DataFrame, rule: Rule, table: str, references: Mapping[str, DataFrame]) -> None:
    """Refuse what the engine could make no sense of, before any row is read."""
    if isinstance(rule, RowRule):
        _check_predicate(raw, rule, table)
    elif isinstance(rule, ReferenceRule):
        if rule.refers_to not in references:
            raise QualityError(
                f"Rule {rule.name} of {table} refers to {rule.refers_to}; tables that it may refer to: "
                f"{', '.join(references) or 'none'}. Correct the rule in conf."
            )
        _check_columns(raw, rule, table, rule.by)
        _check_columns(references[rule.refers_to], rule, rule.refers_to, rule.by)
    elif isinstance(rule, GapRule | StuckRule):
        moves = [rule.moves] if isinstance(rule, StuckRule) else []
        _check_columns(raw, rule, table, [*rule.per, rule.order, *moves])
        kind = dict(raw.dtypes)[rule.order]
        if kind not in ("timestamp", "timestamp_ntz", "date"):
            raise QualityError(f"Rule {rule.name} of {table} orders rows by {rule.order}, which is {kind}, not a time.")


def _check_columns(frame: DataFrame, rule: Rule, table: str, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise QualityError(
            f"Rule {rule.name} names {', '.join(missing)}, which {table} doesn't have: its columns are "
            f"{', '.join(frame.columns)}. Correct the rule in conf."
        )


def _check_predicate(raw: DataFrame, rule: RowRule, table: str) -> None:
    try:
        kind = dict(raw.select(F.expr(rule.predicate).alias("fulfilled")).dtypes)["fulfilled"]
    except Exception as error:
        told = f"Rule {rule.name} of {table} can't be evaluated ({rule.predicate}): {first_line(error)}"
        raise QualityError(told) from error
    if kind != "boolean":
        raise QualityError(f"Rule {rule.name} of {table} is {kind}, not true or false: {rule.predicate}")
