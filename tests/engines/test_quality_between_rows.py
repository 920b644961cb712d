"""Rules about more than a row: other tables, the row before, and what moved since; times to come; duplicates."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import Window
from pyspark.sql import functions as F

from lakehouse_ml.errors import QualityError
from lakehouse_ml.pipelines.data_quality.nodes import check_rows, quarantine_rows, release_rows, summarise_rules
from lakehouse_ml.pipelines.data_quality.pipeline import shape
from lakehouse_ml.pipelines.data_quality.rules import QualitySpec
from lakehouse_ml.use_cases.churn import CHURN
from lakehouse_ml.use_cases.columns import AUDIT, DUPLICATE
from lakehouse_ml.use_cases.contracts import Column, Table

KEY = ("machine_id", "observed_at")
COLUMNS = (Column("observed_at", "timestamp"), Column("machine_id", "int"), Column("volt", "double"))
RAW = Table("raw_telemetry", "one row per machine and hour", KEY, (*COLUMNS, *AUDIT))
MACHINES = "machine_id int, model string"
START, READ = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)

KNOWN = {"name": "machine_is_known", "refers_to": "machines", "by": ["machine_id"], "action": "drop"}
GAP = {"name": "no_gaps", "per": ["machine_id"], "order": "observed_at", "step_hours": 1, "action": "warn"}
MOVES = {"name": "volt_moves", "per": ["machine_id"], "order": "observed_at", "moves": "volt", "within_hours": 3,
         "action": "warn"}  # fmt: skip
PAST = {"name": "is_past", "predicate": "observed_at <= ingested_at", "action": "drop"}


def spec(*rules: dict[str, Any]) -> QualitySpec:
    return QualitySpec.model_validate({"tables": {"telemetry": {"rules": rules}}})


def at(hours: float | None) -> datetime | None:
    return None if hours is None else START + timedelta(hours=hours)


def raw(spark: Any, *readings: tuple[Any, ...]) -> Any:
    """Readings as (machine, hours after the start, volt), each with these other columns; their lines begin at 2."""
    rows = []
    for line, (machine, hours, volt, *more) in enumerate(readings, 2):
        row = {
            "observed_at": at(hours),
            "machine_id": machine,
            "volt": volt,
            "snapshot_on": date(2024, 3, 31),
            "source_file": "a.csv",
            "file_sha256": "1",
            "line_number": line,
            "ingested_at": READ,
        }
        row |= more[0] if more else {}
        rows.append(tuple(row[name] for name in RAW.names))
    return spark.createDataFrame(rows, RAW.ddl)


def check(frame: Any, rules: QualitySpec, **references: Any) -> Any:
    return check_rows(frame, rules, table="telemetry", key=KEY, **references)


def judge(checked: Any, rules: QualitySpec) -> pd.DataFrame:
    return summarise_rules(checked, quarantine_rows(checked), rules, table="telemetry").set_index("rule", drop=False)


def breakers(checked: Any, rule: str) -> list[int]:
    """Lines that break a rule."""
    rows = checked.select("line_number", F.concat("quarantine_reasons", "warnings").alias("names")).collect()
    return sorted(row.line_number for row in rows if rule in row.names)


# Another table


def test_a_row_of_an_unknown_machine_is_kept_out_and_null_is_no_machine(spark: Any) -> None:
    machines = spark.createDataFrame([(1, "a"), (2, "b"), (2, "b"), (None, "c")], MACHINES)
    checked = check(raw(spark, (1, 0, 1.0), (3, 0, 1.0), (2, 0, 1.0), (None, 0, 1.0)), spec(KNOWN), machines=machines)
    assert sorted((row.line_number, row.quarantine_reasons) for row in checked.collect()) == [
        (2, []),
        (3, ["machine_is_known"]),
        (4, []),
        (5, ["machine_is_known"]),
    ]


def test_two_columns_refer_to_one_row_of_the_other_table(spark: Any) -> None:
    volts = spark.createDataFrame([(1, 5.0), (2, 6.0)], "machine_id int, volt double")
    rule = KNOWN | {"refers_to": "volts", "by": ["machine_id", "volt"]}
    assert breakers(
        check(raw(spark, (1, 0, 5.0), (1, 1, 6.0), (2, 0, 6.0)), spec(rule), volts=volts), rule["name"]
    ) == [3]


def test_two_rules_may_refer_to_two_tables(spark: Any) -> None:
    tables = {name: spark.createDataFrame([(n, "a")], MACHINES) for n, name in enumerate(("here", "there"), 1)}
    rules = [KNOWN | {"name": f"is_{name}", "refers_to": name} for name in tables]
    checked = check(raw(spark, (1, 0, 1.0), (2, 0, 1.0)), spec(*rules), **tables)
    assert [breakers(checked, rule["name"]) for rule in rules] == [[3], [2]]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (KNOWN | {"refers_to": "plants"}, "refers to plants; tables that it may refer to: machines"),
        (KNOWN | {"by": ["machineID"]}, "names machineID, which telemetry doesn't have"),
        (KNOWN | {"by": ["volt"]}, "names volt, which machines doesn't have: its columns are machine_id, model"),
        (GAP | {"per": ["plant"]}, "names plant, which telemetry doesn't have"),
        (GAP | {"order": "volt"}, "orders rows by volt, which is double, not a time"),
        (MOVES | {"moves": "current"}, "names current, which telemetry doesn't have"),
    ],
)
def test_a_rule_about_what_is_not_there_is_refused_in_one_sentence(
    spark: Any, rule: dict[str, Any], message: str
) -> None:
    machines = spark.createDataFrame([(1, "a")], MACHINES)
    with pytest.raises(QualityError, match=f"Rule {rule['name']} .*{message}"):
        check(raw(spark, (1, 0, 1.0)), spec(rule), machines=machines)


def test_each_check_gets_the_tables_that_a_use_case_shares_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def inputs() -> dict[str, list[str]]:
        nodes = [node for node in shape(CHURN).nodes if node.short_name.startswith("check")]
        return {node.short_name: sorted(node.inputs) for node in nodes}

    own_inputs = {name: ["params:data_quality", f"raw_{name}"] for name in ("customers", "outcomes")}
    assert inputs() == {f"check_{name}": tables for name, tables in own_inputs.items()}
    monkeypatch.setitem(CHURN.__dict__, "references", ("customers",))
    assert inputs() == {
        "check_customers": own_inputs["customers"],
        "check_outcomes": ["params:data_quality", "raw_customers", "raw_outcomes"],
    }


# Times to come


def test_a_row_in_the_future_at_reading_is_kept_out_however_late_it_is_checked(spark: Any) -> None:
    moment = (READ - START) / timedelta(hours=1)
    frame = raw(
        spark, (1, moment, 1.0), (1, moment + 0.001, 1.0), (2, moment + 1, 1.0, {"ingested_at": at(moment + 2)})
    )
    assert breakers(check(frame, spec(PAST)), "is_past") == [3]
    slack = PAST | {"predicate": "observed_at <= ingested_at + interval 1 hour"}
    assert breakers(check(frame, spec(slack)), "is_past") == []


def test_a_moment_in_conf_bounds_a_time(spark: Any) -> None:
    rule = PAST | {"predicate": "observed_at < timestamp '2024-03-01 02:00:00'"}
    assert breakers(check(raw(spark, (1, 1.9, 1.0), (1, 2, 1.0)), spec(rule)), "is_past") == [3]


# Gaps


def test_the_row_after_a_gap_breaks_the_rule_and_neither_a_first_row_nor_a_duplicate_does(spark: Any) -> None:
    frame = raw(
        spark,
        (1, 0, 1.0),
        (1, 1, 1.0),
        (1, 4, 1.0),
        (1, 4, 1.0),
        (2, 2, 1.0),
        (1, 5, 1.0),
        (2, 4.5, 1.0),
        (2, 5.5, 1.0),
        (None, 9, 1.0),
        (1, None, 1.0),
    )
    checked = check(frame, spec(GAP))
    # Of lines 4 and 5 the later one is the newer.
    assert breakers(checked, "no_gaps") == [5, 8]
    assert breakers(checked, DUPLICATE) == [4]


def test_an_example_of_a_gap_names_machine_and_both_ends_and_so_does_the_message_that_stops(spark: Any) -> None:
    rules = spec(GAP | {"action": "fail"})
    checked = check(raw(spark, (7, 0, 1.0), (7, 5, 1.0), (8, 4, 1.0), (7, -9, 1.0)), rules)
    summary = judge(checked, rules)
    (after, first) = json.loads(summary.examples["no_gaps"])
    assert (after["machine_id"], after["observed_at"], after["previous observed_at"]) == (
        7,
        "2024-03-01 00:00:00",
        "2024-02-29 15:00:00",
    )
    assert (first["machine_id"], first["observed_at"], first["previous observed_at"]) == (
        7,
        "2024-03-01 05:00:00",
        "2024-03-01 00:00:00",
    )
    with pytest.raises(QualityError) as error:
        release_rows(checked, summary, "telemetry")
    assert (
        "rule no_gaps (observed_at is at most 1 h after the previous observed_at of its machine_id) is broken by 2 of 4"
    ) in str(error.value)
    assert (
        "a.csv line 3 (observed_at '2024-03-01 05:00:00', machine_id 7, previous observed_at '2024-03-01 00:00:00')"
    ) in str(error.value)


# Stuck sensors


@pytest.mark.parametrize(
    ("volts", "stuck"),
    [
        ([1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 3.0], [4, 5]),
        ([1.0, 1.0, 1.0, 1.0], [3]),
        ([None, None, None, None, 1.0], [3]),
        ([1.0, None, None, None, 1.0, 2.0], [3, 4]),
        ([1.0, None, 2.0, None, 2.0, 3.0], []),
        ([1.0, 2.0, 1.0, 2.0, 1.0], []),
    ],
    ids=["constant", "from the start", "never a value", "blank, then as before", "moves with blanks", "two values"],
)
def test_a_stuck_sensor_is_reported_until_it_moves(spark: Any, volts: list[float | None], stuck: list[int]) -> None:
    readings = [(machine, hours, volt) for hours, volt in enumerate(volts) for machine in (1, 2)]
    checked = check(raw(spark, *readings), spec(MOVES))
    # Machines 1 and 2 take turns, hour by hour, from line 2 on.
    assert breakers(checked, "volt_moves") == sorted(line for hour in stuck for line in (2 * hour + 2, 2 * hour + 3))


def test_the_value_of_a_duplicate_moves_nothing(spark: Any) -> None:
    older = {"ingested_at": READ - timedelta(days=1)}
    readings = [(1, hours, 5.0) for hours in range(5)] + [(1, 2, 9.0, older)]
    assert breakers(check(raw(spark, *readings), spec(MOVES)), "volt_moves") == [5, 6]


def test_rules_of_every_kind_are_judged_together_and_no_row_is_lost(spark: Any) -> None:
    machines = spark.createDataFrame([(1, "a")], MACHINES)
    slow = MOVES | {"name": "volt_moves_in_a_day", "within_hours": 24}
    rules = spec(KNOWN, PAST, GAP, MOVES, slow, GAP | {"name": "no_gaps_at_all", "per": ["source_file"]})
    frame = raw(spark, *[(1, hours, 5.0) for hours in (0, 1, 2, 3, 30)], (2, 15, 1.0), (1, 3, 5.0))
    checked = check(frame, rules, machines=machines)
    assert checked.columns == [*RAW.names, "quarantine_reasons", "warnings"]
    summary = judge(checked, rules)
    assert summary.n_failed.to_dict() == {
        "machine_is_known": 1,
        "is_past": 0,
        "no_gaps": 1,
        "volt_moves": 2,
        "volt_moves_in_a_day": 1,
        "no_gaps_at_all": 2,
        DUPLICATE: 1,
    }
    clean = release_rows(checked, summary, "telemetry")
    RAW.validate(clean)
    assert (clean.count(), quarantine_rows(checked).count(), checked.count()) == (5, 2, 7)


# Duplicates


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2, None]), st.sampled_from([0, 1, None]), st.just(1.0),
            st.fixed_dictionaries({"source_file": st.sampled_from(["a.csv", "b.csv"]),
                                   "ingested_at": st.sampled_from([READ, READ + timedelta(days=1)])}),
        ),
        min_size=1, max_size=15,
    )
)  # fmt: skip
def test_the_same_rows_are_duplicates_as_by_ranking_every_row(spark: Any, readings: list[tuple[Any, ...]]) -> None:
    frame = raw(spark, *readings)
    newest = Window.partitionBy(*KEY).orderBy(F.desc("ingested_at"), F.desc("source_file"), F.desc("line_number"))
    ranked = frame.withColumn("rank", F.row_number().over(newest)).where("rank > 1").collect()
    assert breakers(check(frame, spec()), DUPLICATE) == sorted(row.line_number for row in ranked)
