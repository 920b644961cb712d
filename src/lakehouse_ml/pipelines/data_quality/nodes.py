"""Nodes of quality: check each row once, describe columns, part clean from quarantined, stop on a broken promise."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakehouse_ml.errors import QualityError
from lakehouse_ml.pipelines.data_quality.checks import REPEATED, broken_by
from lakehouse_ml.pipelines.data_quality.rules import GapRule, KeyRule, QualitySpec, Rule, outcome
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
        raw: Rows with a key and the columns that ingestion adds.
        spec: Rules by table.
        table: Which table's rules apply.
        key: Columns of which no two rows may have the same values; of duplicates the newest file's row stays.
        references: Raw rows of other tables that rules may refer to, by name.

    Returns:
        The same rows with `quarantine_reasons` and `warnings`: names of the rules that each row breaks.

    Raises:
        QualityError: A rule names a table or a column that isn't there, or can't be evaluated.
    """
    rules = _rules(spec, table)
    frame, broken = broken_by(raw, rules, table, key, references)
    named = {name: F.when(condition, F.lit(name)) for name, condition in broken.items()}
    reasons = [*(named[rule.name] for rule in rules if rule.stops), F.when(F.col(REPEATED), F.lit(DUPLICATE))]
    warnings = [named[rule.name] for rule in rules if not rule.stops]
    return frame.select(*raw.columns, _names(reasons).alias(REASONS), _names(warnings).alias(WARNINGS))


def quarantine_rows(checked: DataFrame) -> DataFrame:
    """The rows that some rule keeps out, with their reasons. Columns: those of `checked` but `warnings`."""
    return checked.where(F.size(REASONS) > 0).drop(WARNINGS)


def describe_columns(checked: DataFrame, spec: QualitySpec, contract: Table) -> pd.DataFrame:
    """What each declared column holds.

    Returns:
        One row per column: column, type, n_rows, n_null, null_share, n_distinct (approximate), min, max, mean, p25,
        p50, p75 (numbers only, else NaN; of more than 100,000 rows those of an even sample), top_values (JSON of value
        and count, text only).
    """
    columns = [column for column in contract.columns if column.name in checked.columns]
    wanted = [F.count(F.lit(1)).alias("n_rows")]
    for column in columns:
        wanted += _statistics(column.name, column.type)
    found = collect(checked.agg(*wanted)).iloc[0].to_dict()
    numbers = [column.name for column in columns if column.type in _NUMBERS]
    found |= _quantiles(_sample(checked, int(found["n_rows"])), numbers)
    texts = [column.name for column in columns if column.type == "string" and column.name not in contract.key]
    tops = _top_values(checked, texts, spec.top_values)
    return pd.DataFrame([_described(column.name, column.type, found, tops) for column in columns])


def summarise_rules(checked: DataFrame, quarantined: DataFrame, spec: QualitySpec, table: str) -> pd.DataFrame:
    """What each rule found; `quarantined` is an input so that the refused rows are stored before anything stops.

    Returns:
        One row per rule: rule, predicate (of a rule of another kind, in words, what it expects), action, tolerate,
        n_rows, n_failed, failed_share, outcome, examples (JSON), and the whole table's n_clean and n_quarantined.
    """
    rules: list[Rule] = [*_rules(spec, table), KeyRule(name=DUPLICATE, action="drop")]
    failed = _failed_counts(checked)
    total = checked.count()
    out = quarantined.count()
    rows = []
    for rule in rules:
        n = failed.get(rule.name, 0)
        shown = _examples(checked, rule, spec.examples) if n else []
        rows.append(
            {"rule": rule.name, "predicate": rule.expected, "action": rule.action, "tolerate": rule.tolerate,
             "n_rows": total, "n_failed": n, "failed_share": n / total if total else 0.0,
             "outcome": outcome(rule, n, total), "examples": json.dumps(shown, default=str),
             "n_clean": total - out, "n_quarantined": out}
        )  # fmt: skip
    return pd.DataFrame(rows)


def release_rows(checked: DataFrame, rules: pd.DataFrame, table: str) -> DataFrame:
    """The rows that no rule keeps out, unless a rule stops the run. Columns: those of the raw table.

    Raises:
        QualityError: Says which rule, how many rows, and shows examples; what was clean before stays as it was.
    """
    stopped = rules[rules.outcome == "stopped"]
    if len(stopped):
        told = " ".join(_told(row) for row in stopped.to_dict("records"))
        raise QualityError(
            f"{table}: {told} Nothing downstream has seen this data; the refused rows are in quarantine_{table}."
        )
    return checked.where(F.size(REASONS) == 0).drop(REASONS, WARNINGS)


def _rules(spec: QualitySpec, table: str) -> tuple[Rule, ...]:
    return spec.tables[table].rules if table in spec.tables else ()


def _names(columns: list[Column]) -> Column:
    if not columns:
        return F.expr("cast(array() as array<string>)")
    return F.filter(F.array(*columns), lambda name: name.isNotNull())


def _statistics(name: str, kind: str) -> list[Column]:
    column = F.col(name)
    always = [
        F.count(F.when(column.isNull(), 1)).alias(f"{name}|n_null"),
        F.count_distinct(F.pmod(F.xxhash64(column.cast("string")), F.lit(_BUCKETS))).alias(f"{name}|n_buckets"),
    ]
    if kind not in _NUMBERS:
        return always
    number = _number(name)
    return [
        *always,
        F.min(number).alias(f"{name}|min"),
        F.max(number).alias(f"{name}|max"),
        F.avg(number).alias(f"{name}|mean"),
    ]


def _number(name: str) -> Column:
    """A column's numbers; NaN is none, for engines put it in different places."""
    number = F.col(name).cast("double")
    return F.when(~F.isnan(number), number)


def _n_distinct(buckets: int, nulls: int) -> int:
    """How many values fill so many of the buckets (Whang, 1990); each engine's own sketch would say something else.

    NULL has a bucket as well.
    """
    empty = max(1.0 - buckets / _BUCKETS, 0.5 / _BUCKETS)
    return round(-_BUCKETS * math.log(empty)) - (1 if nulls else 0)


def _sample(checked: DataFrame, rows: int) -> DataFrame:
    """All rows or, of too many, an even sample by hash, the same one on every engine."""
    if rows <= _SAMPLE:
        return checked
    place = F.pmod(F.xxhash64("source_file", "line_number"), F.lit(_BUCKETS))
    return checked.where(place < F.lit(int(_BUCKETS * _SAMPLE / rows)))


def _quantiles(rows: DataFrame, names: Sequence[str]) -> dict[str, float]:
    if not names:
        return {}
    wanted = [
        F.percentile(_number(name), F.lit(q)).alias(f"{name}|p{int(q * 100)}") for name in names for q in _QUANTILES
    ]
    found: dict[str, float] = collect(rows.agg(*wanted)).iloc[0].to_dict()
    return found


def _top_values(checked: DataFrame, names: Sequence[str], most: int) -> dict[str, list[list[object]]]:
    if not names:
        return {}
    pairs = ", ".join(f"named_struct('name', '{name}', 'value', `{name}`)" for name in names)
    counted = (
        checked.select(F.explode(F.expr(f"array({pairs})")).alias("pair"))
        .groupBy(F.col("pair.name").alias("name"), F.col("pair.value").alias("value"))
        .agg(F.count(F.lit(1)).alias("n"))
    )
    first = Window.partitionBy("name").orderBy(F.desc("n"), F.asc("value"))
    rows = collect(counted.withColumn("rank", F.row_number().over(first)).where(F.col("rank") <= most))
    tops: dict[str, list[list[object]]] = {}
    for row in rows.sort_values(["name", "rank"]).itertuples():
        tops.setdefault(row.name, []).append([row.value, int(row.n)])
    return tops


def _described(name: str, kind: str, found: dict[str, float], tops: dict[str, list[list[object]]]) -> dict[str, object]:
    rows, nulls = int(found["n_rows"]), int(found[f"{name}|n_null"])
    numbers = {
        statistic: float(found[key])
        if (key := f"{name}|{statistic}") in found and found[key] is not None
        else float("nan")
        for statistic in ("min", "max", "mean", *(f"p{int(q * 100)}" for q in _QUANTILES))
    }
    return {
        "column": name,
        "type": kind,
        "n_rows": rows,
        "n_null": nulls,
        "null_share": nulls / rows if rows else 0.0,
        "n_distinct": _n_distinct(int(found[f"{name}|n_buckets"]), nulls),
        **numbers,
        "top_values": json.dumps(tops.get(name, [])),
    }


def _failed_counts(checked: DataFrame) -> dict[str, int]:
    broken = checked.select(F.explode(F.concat(REASONS, WARNINGS)).alias("rule"))
    counted = collect(broken.groupBy("rule").agg(F.count(F.lit(1)).alias("n")))
    return {str(rule): int(n) for rule, n in zip(counted["rule"], counted["n"], strict=True)}


def _examples(checked: DataFrame, rule: Rule, most: int) -> list[dict[str, object]]:
    held = F.array_contains(F.concat(REASONS, WARNINGS), F.lit(rule.name))
    shown = checked.where(held).orderBy("source_file", "line_number").limit(most)
    shown = _with_previous(checked, shown, rule) if isinstance(rule, GapRule) else shown
    # As text: a moment beyond the year 2262, which a mistyped digit makes, is none in memory.
    moments = {name: F.col(name).cast("string") for name, kind in shown.dtypes if kind == "timestamp"}
    rows = collect(shown.withColumns(moments))
    rows = rows.sort_values(["source_file", "line_number"])
    rows = rows.drop(columns=[REASONS, WARNINGS, "file_sha256", "ingested_at"])
    return [{name: None if pd.isna(value) else value for name, value in row.items()} for row in rows.to_dict("records")]


def _with_previous(checked: DataFrame, shown: DataFrame, rule: GapRule) -> DataFrame:
    """Examples of gaps with the time at which each began: a column that `rule.expected` names."""
    ends = shown.select(
        *(F.col(name).alias(f"_{name}") for name in rule.per), F.col(rule.order).alias("_end")
    ).distinct()
    same = [F.col(name).eqNullSafe(F.col(f"_{name}")) for name in rule.per]
    earlier = checked.join(ends, [*same, F.col(rule.order) < F.col("_end")], "inner")
    began = earlier.groupBy(*(f"_{name}" for name in rule.per), "_end").agg(F.max(rule.order).alias(rule.previous))
    joined = shown.join(began, [*same, F.col(rule.order) == F.col("_end")], "left")
    return joined.select(*checked.columns, rule.previous)


def _told(row: dict[str, object]) -> str:
    predicate = str(row["predicate"])
    places = "; ".join(_place(example, predicate) for example in json.loads(str(row["examples"])))
    return (
        f"rule {row['rule']} ({predicate}) is broken by {row['n_failed']} of {row['n_rows']} rows, "
        f"{row['failed_share']:.1%}, tolerated are {row['tolerate']:.1%}; for example {places}. Correct the file, "
        f"or the rule in conf."
    )


def _place(example: dict[str, object], predicate: str) -> str:
    """Where an example stands, and the values that the rule is about."""
    values = [f"{name} {value!r}" for name, value in example.items() if re.search(rf"\b{name}\b", predicate)]
    return f"{example['source_file']} line {example['line_number']} ({', '.join(values)})"
