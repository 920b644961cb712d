"""Each rule as a boolean column over the raw rows, true where a row breaks it; all in one pass.

What a rule needs besides the row itself is joined or computed over windows first, in columns whose names begin with an
underscore. Rules about consecutive rows of one group and order share one sort; without such rules nothing is sorted.
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
_AGE_ORDER = ("ingested_at", "source_file", "line_number")


def _mark_repeated(raw: DataFrame, key: Sequence[str]) -> DataFrame:
    """Mark each row whose key a newer row has.

    The newer row is the one ingested later, then by file name, then by line number. Only keys that occur more than once
    are compared: ranking every row costs thirty times as much.

    Returns:
        The rows with `_repeated`, never NULL.
    """
    names = {name: f"_key_{name}" for name in key}
    duplicates = raw.groupBy(*key).agg(F.count(F.lit(1)).alias("_n")).where("_n > 1")
    duplicates = duplicates.select(*(F.col(name).alias(other) for name, other in names.items()))
    on = [F.col(name).eqNullSafe(F.col(other)) for name, other in names.items()]
    position = F.struct(*_AGE_ORDER)
    newest = raw.join(duplicates, on, "inner").groupBy(*names.values()).agg(F.max(position).alias("_newest"))
    repeated = F.coalesce(position < F.col("_newest"), F.lit(_FALSE))
    return raw.join(newest, on, "left").withColumn(REPEATED, repeated).select(*raw.columns, REPEATED)


def evaluate_rules(
    raw: DataFrame, rules: Sequence[Rule], table: str, key: Sequence[str], references: Mapping[str, DataFrame]
) -> tuple[DataFrame, dict[str, Column]]:
    """Prepare the rows, and build for each rule the column that marks the rows that break it.

    Args:
        raw: Raw rows.
        rules: Rules of the table.
        table: Name of the table, for messages.
        key: Key of the table.
        references: Raw rows of other tables that rules may refer to, by name.

    Returns:
        The same rows with `_repeated` and further columns, and a boolean column over them for each rule's name.

    Raises:
        QualityError: A rule names a missing table or column, or can't be evaluated.
    """
    for rule in rules:
        _check_rule(raw, rule, table, references)
    frame = _mark_repeated(raw, key)
    conditions: dict[str, Column] = {}
    for number, rule in enumerate(rules):
        if isinstance(rule, RowRule):
            conditions[rule.name] = ~F.coalesce(F.expr(f"({rule.predicate})"), F.lit(_FALSE))
        elif isinstance(rule, ReferenceRule):
            flag = f"_exists_{number}"
            frame = _mark_existing(frame, references[rule.refers_to], rule.by, flag)
            conditions[rule.name] = F.col(flag).isNull()
    sequence_rules = [rule for rule in rules if isinstance(rule, GapRule | StuckRule)]
    for number, group in enumerate(dict.fromkeys((rule.per, rule.order) for rule in sequence_rules)):
        same_order = [rule for rule in sequence_rules if (rule.per, rule.order) == group]
        frame, columns = _evaluate_sequence_rules(frame, same_order, number)
        conditions |= columns
    return frame, conditions


def _evaluate_sequence_rules(
    frame: DataFrame, rules: Sequence[GapRule | StuckRule], number: int
) -> tuple[DataFrame, dict[str, Column]]:
    """Evaluate the rules about consecutive rows of one group and order, by one sort of the rows."""
    per, order = rules[0].per, rules[0].order
    time = F.unix_micros(F.col(order).cast("timestamp"))
    rows = Window.partitionBy(*per).orderBy(order, REPEATED)
    previous = f"_before_{number}"
    moving = dict.fromkeys(rule.moves for rule in rules if isinstance(rule, StuckRule))
    last = {column: f"_last_{number}_{column}" for column in moving}
    since = {column: f"_since_{number}_{column}" for column in moving}
    values = [_last_value(column, per, order).alias(last[column]) for column in moving]
    frame = frame.select("*", F.lag(time).over(rows).alias(previous), *values)
    moves = [_last_change(column, last[column], previous, time, rows).alias(since[column]) for column in moving]
    frame = frame.select("*", *moves)
    conditions = {}
    for rule in rules:
        if isinstance(rule, GapRule):
            is_broken = time - F.col(previous) > rule.step_hours * _HOUR
        else:
            is_broken = (time - F.col(since[rule.moves]) >= rule.within_hours * _HOUR) & ~F.col(REPEATED)
        conditions[rule.name] = F.coalesce(is_broken, F.lit(_FALSE))
    return frame, conditions


def _last_value(column: str, per: Sequence[str], order: str) -> Column:
    """The last value before a row, without those of duplicates and blanks.

    `lag` of the function API can't skip nulls. `last` can, but Sail's scans every earlier row again as soon as one is
    null: a year of a machine takes ten times as long.
    """
    group = ", ".join(f"`{name}`" for name in per)
    return F.expr(
        f"lag(case when not `{REPEATED}` then `{column}` end) ignore nulls "
        f"over (partition by {group} order by `{order}`, `{REPEATED}`)"
    )


def _last_change(column: str, last: str, previous: str, time: Column, rows: WindowSpec) -> Column:
    """Time of the last new value up to a row; without any, the time of the first row of the group."""
    is_new = F.col(column).isNotNull() & (F.col(last).isNull() | (F.col(column) != F.col(last)))
    has_changed = (is_new | F.col(previous).isNull()) & ~F.col(REPEATED)
    return F.max(F.when(has_changed, time)).over(rows.rowsBetween(Window.unboundedPreceding, 0))


def _mark_existing(frame: DataFrame, reference: DataFrame, columns: Sequence[str], flag: str) -> DataFrame:
    names = {name: f"{flag}_{name}" for name in columns}
    existing = reference.select(*(F.col(name).alias(key) for name, key in names.items())).distinct()
    existing = existing.withColumn(flag, F.lit(_TRUE))
    on = [F.col(name) == F.col(key) for name, key in names.items()]
    return frame.join(existing, on, "left").drop(*names.values())


def _check_rule(raw: DataFrame, rule: Rule, table: str, references: Mapping[str, DataFrame]) -> None:
    """Refuse a rule that the engine could not evaluate, before any row is read."""
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
        kind = dict(raw.select(F.expr(rule.predicate).alias("is_valid")).dtypes)["is_valid"]
    except Exception as error:
        raise QualityError(
            f"Rule {rule.name} of {table} can't be evaluated ({rule.predicate}): {first_line(error)}"
        ) from error
    if kind != "boolean":
        raise QualityError(f"Rule {rule.name} of {table} is {kind}, not true or false: {rule.predicate}")
