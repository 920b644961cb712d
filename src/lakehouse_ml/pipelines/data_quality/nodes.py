"""Nodes of quality: check each row once, describe columns, split clean from quarantined rows, stop on a failed rule."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakehouse_ml.errors import QualityError
from lakehouse_ml.pipelines.data_quality.checks import REPEATED, evaluate_rules
from lakehouse_ml.pipelines.data_quality.rules import GapRule, KeyRule, QualitySpec, Rule, judge_outcome
from lakehouse_ml.storage.writes import collect
from lakehouse_ml.use_cases.columns import DUPLICATE, REASONS
from lakehouse_ml.use_cases.contracts import Table

WARNINGS = "warnings"
_NUMBERS = ("int", "bigint", "double", "float")
_QUANTILES = (0.25, 0.5, 0.75)
_SAMPLE = 100_000
_BUCKETS = 2**20


def check_rows(raw: DataFrame, spec: QualitySpec, table: str, key: Sequence[str], **references: DataFrame) -> DataFrame:
    """Evaluate every rule for every row, once.

    Args:
        raw: Rows with a key and the audit columns of ingestion.
        spec: Rules by table.
        table: The table whose rules apply.
        key: Columns that identify a row. Of duplicates the row of the newest file stays.
        references: Raw rows of other tables that rules may refer to, by name.

    Returns:
        The same rows with `quarantine_reasons` and `warnings`: names of the rules that each row breaks.

    Raises:
        QualityError: A rule names a missing table or column, or can't be evaluated.
    """
    rules = _rules(spec, table)
    frame, conditions = evaluate_rules(raw, rules, table, key, references)
    rule_names = {name: F.when(condition, F.lit(name)) for name, condition in conditions.items()}
    reasons = [*(rule_names[rule.name] for rule in rules if rule.stops), F.when(F.col(REPEATED), F.lit(DUPLICATE))]
    warnings = [rule_names[rule.name] for rule in rules if not rule.stops]
    return frame.select(*raw.columns, _collect_names(reasons).alias(REASONS), _collect_names(warnings).alias(WARNINGS))


def quarantine_rows(checked: DataFrame) -> DataFrame:
    """Quarantine the rows that a rule refuses, with their reasons.

    Returns:
        The columns of `checked` without `warnings`.
    """
    return checked.where(F.size(REASONS) > 0).drop(WARNINGS)


def describe_columns(checked: DataFrame, spec: QualitySpec, contract: Table) -> pd.DataFrame:
    """Describe the values of each declared column.

    Returns:
        One row per column: column, type, n_rows, n_null, null_share, n_distinct (approximate), min, max, mean, p25,
        p50, p75 (numbers only, else NaN; quantiles of an even sample if there are more than 100,000 rows), top_values
        (JSON of value and count, text only).
    """
    columns = [column for column in contract.columns if column.name in checked.columns]
    aggregates = [F.count(F.lit(1)).alias("n_rows")]
    for column in columns:
        aggregates += _statistics(column.name, column.type)
    statistics = collect(checked.agg(*aggregates)).iloc[0].to_dict()
    numbers = [column.name for column in columns if column.type in _NUMBERS]
    statistics |= _quantiles(_sample(checked, int(statistics["n_rows"])), numbers)
    texts = [column.name for column in columns if column.type == "string" and column.name not in contract.key]
    tops = _top_values(checked, texts, spec.top_values)
    return pd.DataFrame([_describe_column(column.name, column.type, statistics, tops) for column in columns])


def summarise_rules(checked: DataFrame, quarantined: DataFrame, spec: QualitySpec, table: str) -> pd.DataFrame:
    """Summarise the result of each rule.

    `quarantined` is an input so that the refused rows are stored before the run stops.

    Returns:
        One row per rule: rule, predicate (for other kinds of rules, what they expect, in words), action, tolerate,
        n_rows, n_failed, failed_share, outcome, examples (JSON), and n_clean and n_quarantined of the whole table.
    """
    rules: list[Rule] = [*_rules(spec, table), KeyRule(name=DUPLICATE, action="drop")]
    n_failed_by_rule = _count_failed(checked)
    n_rows = checked.count()
    n_quarantined = quarantined.count()
    rows = []
    for rule in rules:
        n_failed = n_failed_by_rule.get(rule.name, 0)
        examples = _collect_examples(checked, rule, spec.examples) if n_failed else []
        rows.append(
            {
                "rule": rule.name,
                "predicate": rule.expected,
                "action": rule.action,
                "tolerate": rule.tolerate,
                "n_rows": n_rows,
                "n_failed": n_failed,
                "failed_share": n_failed / n_rows if n_rows else 0.0,
                "outcome": judge_outcome(rule, n_failed, n_rows),
                "examples": json.dumps(examples, default=str),
                "n_clean": n_rows - n_quarantined,
                "n_quarantined": n_quarantined,
            }
        )
    return pd.DataFrame(rows)


def release_rows(checked: DataFrame, rules: pd.DataFrame, table: str) -> DataFrame:
    """Release the rows that no rule refuses, unless a rule stops the run.

    Returns:
        The columns of the raw table.

    Raises:
        QualityError: Names the rule, the number of rows and examples. The clean table stays as it was.
    """
    stopped = rules[rules.outcome == "stopped"]
    if len(stopped):
        violations = " ".join(_describe_violation(row) for row in stopped.to_dict("records"))
        raise QualityError(
            f"{table}: {violations} No later step has used this data; the refused rows are in quarantine_{table}."
        )
    return checked.where(F.size(REASONS) == 0).drop(REASONS, WARNINGS)


def _rules(spec: QualitySpec, table: str) -> tuple[Rule, ...]:
    return spec.tables[table].rules if table in spec.tables else ()


def _collect_names(columns: list[Column]) -> Column:
    if not columns:
        return F.expr("cast(array() as array<string>)")
    return F.filter(F.array(*columns), lambda name: name.isNotNull())


def _statistics(name: str, kind: str) -> list[Column]:
    column = F.col(name)
    shared = [
        F.count(F.when(column.isNull(), 1)).alias(f"{name}|n_null"),
        F.count_distinct(F.pmod(F.xxhash64(column.cast("string")), F.lit(_BUCKETS))).alias(f"{name}|n_buckets"),
    ]
    if kind not in _NUMBERS:
        return shared
    number = _number(name)
    return [
        *shared,
        F.min(number).alias(f"{name}|min"),
        F.max(number).alias(f"{name}|max"),
        F.avg(number).alias(f"{name}|mean"),
    ]


def _number(name: str) -> Column:
    """A numeric column with NaN as NULL, because engines sort NaN differently."""
    number = F.col(name).cast("double")
    return F.when(~F.isnan(number), number)


def _n_distinct(buckets: int, nulls: int) -> int:
    """Estimate the number of distinct values by linear counting (Whang, 1990); engines' own sketches differ.

    NULL has a bucket of its own.
    """
    empty = max(1.0 - buckets / _BUCKETS, 0.5 / _BUCKETS)
    return round(-_BUCKETS * math.log(empty)) - (1 if nulls else 0)


def _sample(checked: DataFrame, rows: int) -> DataFrame:
    """All rows or, if there are too many, an even sample by hash, the same on every engine."""
    if rows <= _SAMPLE:
        return checked
    bucket = F.pmod(F.xxhash64("source_file", "line_number"), F.lit(_BUCKETS))
    return checked.where(bucket < F.lit(int(_BUCKETS * _SAMPLE / rows)))


def _quantiles(rows: DataFrame, names: Sequence[str]) -> dict[str, float]:
    if not names:
        return {}
    aggregates = [
        F.percentile(_number(name), F.lit(q)).alias(f"{name}|p{int(q * 100)}") for name in names for q in _QUANTILES
    ]
    quantiles: dict[str, float] = collect(rows.agg(*aggregates)).iloc[0].to_dict()
    return quantiles


def _top_values(checked: DataFrame, names: Sequence[str], limit: int) -> dict[str, list[list[object]]]:
    if not names:
        return {}
    pairs = ", ".join(f"named_struct('name', '{name}', 'value', `{name}`)" for name in names)
    counts = (
        checked.select(F.explode(F.expr(f"array({pairs})")).alias("pair"))
        .groupBy(F.col("pair.name").alias("name"), F.col("pair.value").alias("value"))
        .agg(F.count(F.lit(1)).alias("n"))
    )
    ranking = Window.partitionBy("name").orderBy(F.desc("n"), F.asc("value"))
    rows = collect(counts.withColumn("rank", F.row_number().over(ranking)).where(F.col("rank") <= limit))
    tops: dict[str, list[list[object]]] = {}
    for row in rows.sort_values(["name", "rank"]).itertuples():
        tops.setdefault(row.name, []).append([row.value, int(row.n)])
    return tops


def _describe_column(
    name: str, kind: str, statistics: dict[str, float], tops: dict[str, list[list[object]]]
) -> dict[str, object]:
    rows, nulls = int(statistics["n_rows"]), int(statistics[f"{name}|n_null"])
    numbers = {
        statistic: float(statistics[key])
        if (key := f"{name}|{statistic}") in statistics and statistics[key] is not None
        else float("nan")
        for statistic in ("min", "max", "mean", *(f"p{int(q * 100)}" for q in _QUANTILES))
    }
    return {
        "column": name,
        "type": kind,
        "n_rows": rows,
        "n_null": nulls,
        "null_share": nulls / rows if rows else 0.0,
        "n_distinct": _n_distinct(int(statistics[f"{name}|n_buckets"]), nulls),
        **numbers,
        "top_values": json.dumps(tops.get(name, [])),
    }


def _count_failed(checked: DataFrame) -> dict[str, int]:
    rule_names = checked.select(F.explode(F.concat(REASONS, WARNINGS)).alias("rule"))
    counts = collect(rule_names.groupBy("rule").agg(F.count(F.lit(1)).alias("n")))
    return {str(rule): int(n) for rule, n in zip(counts["rule"], counts["n"], strict=True)}


def _collect_examples(checked: DataFrame, rule: Rule, limit: int) -> list[dict[str, object]]:
    is_broken = F.array_contains(F.concat(REASONS, WARNINGS), F.lit(rule.name))
    examples = checked.where(is_broken).orderBy("source_file", "line_number").limit(limit)
    examples = _add_previous_time(checked, examples, rule) if isinstance(rule, GapRule) else examples
    # As text, because pandas has no time beyond the year 2262, which a mistyped digit can give.
    times = {name: F.col(name).cast("string") for name, kind in examples.dtypes if kind == "timestamp"}
    rows = collect(examples.withColumns(times))
    rows = rows.sort_values(["source_file", "line_number"])
    rows = rows.drop(columns=[REASONS, WARNINGS, "file_sha256", "ingested_at"])
    return [{name: None if pd.isna(value) else value for name, value in row.items()} for row in rows.to_dict("records")]


def _add_previous_time(checked: DataFrame, examples: DataFrame, rule: GapRule) -> DataFrame:
    """Add the time at which each gap began, in the column that `rule.expected` names."""
    ends = examples.select(
        *(F.col(name).alias(f"_{name}") for name in rule.per), F.col(rule.order).alias("_end")
    ).distinct()
    on = [F.col(name).eqNullSafe(F.col(f"_{name}")) for name in rule.per]
    earlier = checked.join(ends, [*on, F.col(rule.order) < F.col("_end")], "inner")
    began = earlier.groupBy(*(f"_{name}" for name in rule.per), "_end").agg(F.max(rule.order).alias(rule.previous))
    with_start = examples.join(began, [*on, F.col(rule.order) == F.col("_end")], "left")
    return with_start.select(*checked.columns, rule.previous)


def _describe_violation(row: dict[str, object]) -> str:
    predicate = str(row["predicate"])
    places = "; ".join(_describe_example(example, predicate) for example in json.loads(str(row["examples"])))
    return (
        f"rule {row['rule']} ({predicate}) is broken by {row['n_failed']} of {row['n_rows']} rows "
        f"({row['failed_share']:.1%}, tolerated: {row['tolerate']:.1%}), for example {places}. Correct the file, or "
        f"the rule in conf."
    )


def _describe_example(example: dict[str, object], predicate: str) -> str:
    """File and line of an example, and the values that the rule is about."""
    values = [f"{name} {value!r}" for name, value in example.items() if re.search(rf"\b{name}\b", predicate)]
    return f"{example['source_file']} line {example['line_number']} ({', '.join(values)})"
