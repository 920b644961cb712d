"""Quality: every row judged once by every rule, parted without loss, described, and stopped where a promise broke."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime
from math import isnan
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse_ml.errors import QualityError
from lakehouse_ml.pipelines.data_quality import nodes
from lakehouse_ml.pipelines.data_quality.nodes import (
    check_rows,
    describe_columns,
    quarantine_rows,
    release_rows,
    summarise_rules,
)
from lakehouse_ml.pipelines.data_quality.rules import QualitySpec
from lakehouse_ml.use_cases.columns import AUDIT, DUPLICATE
from lakehouse_ml.use_cases.contracts import Column, Table

KEY = ("thing_id", "snapshot_on")
LANDING = Table(
    "landing_things",
    "one row per thing and snapshot",
    KEY,
    (Column("thing_id", "string", nullable=False), Column("size", "int"), Column("price", "double"),
     Column("colour", "string")),
)  # fmt: skip
RAW = LANDING.extended("raw_things", "one row per record that parsed", *AUDIT)
DAY = date(2024, 3, 31)
FIRST, SECOND = datetime(2024, 4, 1, tzinfo=UTC), datetime(2024, 4, 2, tzinfo=UTC)


def spec(*rules: dict[str, Any], **params: Any) -> QualitySpec:
    return QualitySpec.model_validate({"tables": {"things": {"rules": rules}}, **params})


SIZE = {"name": "size_is_positive", "predicate": "size > 0"}
COLOUR = {"name": "colour_is_known", "predicate": "colour in ('red', 'blue')"}
CHEAP = {"name": "cheap", "predicate": "price < 10"}


def raw(spark: Any, *rows: dict[str, Any]) -> Any:
    """Raw rows with these differences; by default each is a sound thing of its own."""
    complete = [
        {
            "thing_id": f"T{n}",
            "size": 1,
            "price": 1.0,
            "colour": "red",
            "snapshot_on": DAY,
            "source_file": "a.csv",
            "file_sha256": "1",
            "line_number": n,
            "ingested_at": FIRST,
        }
        | row
        for n, row in enumerate(rows, 2)
    ]
    return spark.createDataFrame([tuple(row[name] for name in RAW.names) for row in complete], RAW.ddl)


def check(frame: Any, rules: QualitySpec) -> Any:
    return check_rows(frame, rules, table="things", key=KEY)


def judge(checked: Any, rules: QualitySpec) -> pd.DataFrame:
    return summarise_rules(checked, quarantine_rows(checked), rules, table="things").set_index("rule", drop=False)


def lines(frame: Any) -> list[int]:
    return sorted(row.line_number for row in frame.select("line_number").collect())


def reasons(checked: Any) -> dict[int, tuple[list[str], list[str]]]:
    """What each line breaks: reasons for quarantine, and warnings."""
    return {row.line_number: (row.quarantine_reasons, row.warnings) for row in checked.collect()}


def test_each_row_lists_every_rule_that_it_breaks_and_null_breaks_a_rule(spark: Any) -> None:
    rules = spec(SIZE | {"action": "drop"}, COLOUR | {"action": "fail"}, CHEAP | {"action": "warn"})
    rows = [{}, {"size": 0}, {"size": None, "colour": "pink"}, {"price": 99.0}, {"price": None, "colour": None}]
    assert reasons(check(raw(spark, *rows), rules)) == {
        2: ([], []),
        3: (["size_is_positive"], []),
        4: (["size_is_positive", "colour_is_known"], []),
        5: ([], ["cheap"]),
        6: (["colour_is_known"], ["cheap"]),
    }


def test_warn_keeps_a_row_and_drop_and_fail_keep_it_out(spark: Any) -> None:
    for action, clean_lines in (("warn", [2, 3]), ("drop", [2]), ("fail", [2])):
        rules = spec(SIZE | {"action": action, "tolerate": 1.0})
        checked = check(raw(spark, {}, {"size": -1}), rules)
        assert lines(release_rows(checked, judge(checked, rules), "things")) == clean_lines
        assert sorted(clean_lines + lines(quarantine_rows(checked))) == [2, 3]


def test_without_rules_only_duplicates_are_kept_out(spark: Any) -> None:
    rules = spec()
    checked = check(raw(spark, {"size": None}, {"colour": None}), rules)
    assert reasons(checked) == {2: ([], []), 3: ([], [])}
    assert judge(checked, rules).outcome.to_dict() == {DUPLICATE: "ok"}


def test_clean_rows_are_raw_rows_as_they_were_and_quarantined_ones_say_why(spark: Any) -> None:
    rules = spec(SIZE | {"action": "drop"}, CHEAP | {"action": "warn"})
    frame = raw(spark, {}, {"size": -1}, {"price": 99.0})
    checked = check(frame, rules)
    clean = release_rows(checked, judge(checked, rules), "things")
    RAW.validate(clean)
    assert clean.orderBy("line_number").collect() == frame.where("line_number <> 3").orderBy("line_number").collect()
    quarantined = quarantine_rows(checked)
    assert quarantined.columns == [*RAW.names, "quarantine_reasons"]
    assert [(row.line_number, row.quarantine_reasons) for row in quarantined.collect()] == [(3, ["size_is_positive"])]


# Duplicates


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"ingested_at": FIRST, "source_file": "b.csv"}, {"ingested_at": SECOND, "source_file": "a.csv"}),
        ({"source_file": "2024-03.csv", "line_number": 9}, {"source_file": "2024-04.csv", "line_number": 3}),
        ({"line_number": 3}, {"line_number": 4}),
    ],
    ids=["read later", "read together, named later", "one file, further down"],
)
def test_the_row_of_the_newest_file_stays_of_duplicates(
    spark: Any, older: dict[str, Any], newer: dict[str, Any]
) -> None:
    pair = [older | {"thing_id": "T", "colour": "red"}, newer | {"thing_id": "T", "colour": "blue"}]
    for rows in (pair, pair[::-1]):
        checked = check(raw(spark, *rows), spec())
        reasons = {row.colour: row.quarantine_reasons for row in checked.collect()}
        assert reasons == {"red": [DUPLICATE], "blue": []}


def test_the_same_thing_on_another_day_is_a_newer_state_and_no_duplicate(spark: Any) -> None:
    later = {"thing_id": "T", "snapshot_on": date(2024, 4, 30)}
    assert reasons(check(raw(spark, {"thing_id": "T"}, later), spec())) == {2: ([], []), 3: ([], [])}


def test_all_duplicates_but_one_are_counted_and_none_stops_the_run(spark: Any) -> None:
    rules = spec(SIZE | {"action": "fail"})
    checked = check(raw(spark, *[{"thing_id": "T"}] * 3, {}), rules)
    summary = judge(checked, rules)
    assert summary.loc[DUPLICATE, ["action", "n_failed", "outcome"]].tolist() == ["drop", 2, "dropped"]
    assert lines(release_rows(checked, summary, "things")) == [4, 5]


# What each rule found


def test_the_summary_of_the_rules_by_hand(spark: Any) -> None:
    rules = spec(
        SIZE | {"action": "warn", "tolerate": 0.5},
        COLOUR | {"action": "drop"},
        CHEAP | {"action": "warn"},
        {"name": "known", "predicate": "thing_id is not null", "action": "fail"},
        examples=1,
    )
    rows = [{}, {"size": 0}, {"colour": "pink", "size": 0}, {"price": 10.0, "colour": None}]
    summary = judge(check(raw(spark, *rows), rules), rules)
    columns = ["action", "tolerate", "n_rows", "n_failed", "failed_share", "outcome", "n_clean", "n_quarantined"]
    assert {rule: summary.loc[rule, columns].tolist() for rule in summary.index} == {
        "size_is_positive": ["warn", 0.5, 4, 2, 0.5, "ok", 2, 2],
        "colour_is_known": ["drop", 1.0, 4, 2, 0.5, "dropped", 2, 2],
        "cheap": ["warn", 0.0, 4, 1, 0.25, "warned", 2, 2],
        "known": ["fail", 0.0, 4, 0, 0.0, "ok", 2, 2],
        DUPLICATE: ["drop", 1.0, 4, 0, 0.0, "ok", 2, 2],
    }
    assert summary.predicate["size_is_positive"] == "size > 0"
    assert json.loads(summary.examples["known"]) == []
    (example,) = json.loads(summary.examples["colour_is_known"])
    assert example == {
        "thing_id": "T4",
        "size": 0,
        "price": 1.0,
        "colour": "pink",
        "snapshot_on": "2024-03-31",
        "source_file": "a.csv",
        "line_number": 4,
    }


def test_a_table_without_rows_breaks_no_rule(spark: Any) -> None:
    rules = spec(SIZE | {"action": "fail"})
    checked = check(raw(spark, {}).limit(0), rules)
    summary = judge(checked, rules)
    assert summary[["n_rows", "n_failed", "failed_share", "n_clean", "n_quarantined"]].to_numpy().sum() == 0
    assert set(summary.outcome) == {"ok"}
    assert lines(release_rows(checked, summary, "things")) == []


# Stopping


def test_a_broken_promise_says_which_rule_how_many_rows_and_three_examples(spark: Any) -> None:
    rules = spec(SIZE | {"action": "fail", "tolerate": 0.1}, COLOUR | {"action": "drop"})
    checked = check(raw(spark, {}, *[{"size": -n, "source_file": "b.csv"} for n in (7, 8, 9, 10)]), rules)
    with pytest.raises(QualityError) as stopped:
        release_rows(checked, judge(checked, rules), "things")
    message = str(stopped.value)
    assert "things: rule size_is_positive (size > 0) is broken by 4 of 5 rows (80.0%, tolerated: 10.0%)" in message
    assert "for example b.csv line 3 (size -7); b.csv line 4 (size -8); b.csv line 5 (size -9)." in message
    assert [f"(size {size})" in message for size in (-7, -8, -9, -10)] == [True, True, True, False]
    assert "No later step has used this data; the refused rows are in quarantine_things." in message
    assert "colour_is_known" not in message


def test_every_rule_that_stops_is_reported(spark: Any) -> None:
    rules = spec(SIZE | {"action": "fail"}, COLOUR | {"action": "drop", "tolerate": 0.4})
    checked = check(raw(spark, {"size": 0}, {"colour": "pink"}), rules)
    with pytest.raises(
        QualityError, match=r"size_is_positive .* by 1 of 2 .*colour_is_known .* by 1 of 2 rows \(50\.0%"
    ):
        release_rows(checked, judge(checked, rules), "things")


def test_tolerated_rows_do_not_stop_the_run_and_are_still_kept_out(spark: Any) -> None:
    rules = spec(SIZE | {"action": "fail", "tolerate": 0.5})
    checked = check(raw(spark, {}, {"size": None}), rules)
    summary = judge(checked, rules)
    assert summary.outcome["size_is_positive"] == "dropped"
    assert lines(release_rows(checked, summary, "things")) == [2]


def test_the_refused_rows_and_the_summary_are_there_before_the_run_stops(spark: Any) -> None:
    rules = spec(SIZE | {"action": "fail"})
    checked = check(raw(spark, {}, {"size": -1}), rules)
    quarantined = quarantine_rows(checked)
    summary = summarise_rules(checked, quarantined, rules, table="things")
    assert lines(quarantined) == [3]
    assert summary.outcome.tolist() == ["stopped", "ok"]
    with pytest.raises(QualityError):
        release_rows(checked, summary, "things")


def test_in_the_pipeline_judging_waits_for_the_quarantine_and_release_waits_for_the_judgement() -> None:
    from lakehouse_ml.pipelines.data_quality.pipeline import shape
    from lakehouse_ml.use_cases.churn import CHURN

    nodes = {node.short_name: node for node in shape(CHURN).nodes}
    for table in CHURN.sources:
        assert f"quarantine_{table}" in nodes[f"summarise_{table}"].inputs
        assert f"metrics_rules_{table}" in nodes[f"release_{table}"].inputs
        others = [node for name, node in nodes.items() if name != f"release_{table}"]
        assert all(f"clean_{table}" not in node.outputs for node in others)


# clean + quarantine = input

PREDICATES = {
    "size > 0": lambda row: row["size"] is not None and row["size"] > 0,
    "size is null or size between -1 and 1": lambda row: row["size"] is None or -1 <= row["size"] <= 1,
    "colour <> 'pink'": lambda row: row["colour"] is not None and row["colour"] != "pink",
    "price < size": lambda row: None not in (row["price"], row["size"]) and row["price"] < row["size"],
}
things = st.fixed_dictionaries(
    {
        "thing_id": st.sampled_from("ABC"),
        "size": st.none() | st.integers(-2, 2),
        "price": st.none() | st.sampled_from([-1.5, 0.0, 1.5]),
        "colour": st.sampled_from(["red", "pink", None]),
        "source_file": st.sampled_from(["a.csv", "b.csv"]),
        "ingested_at": st.sampled_from([FIRST, SECOND]),
    }
)
actions = st.fixed_dictionaries({predicate: st.sampled_from(["warn", "drop", "fail"]) for predicate in PREDICATES})


def expected_reasons(rows: list[dict[str, Any]], acting: dict[str, str]) -> dict[int, list[str]]:
    """By plain Python, what keeps each line out; lines are numbered from 2."""
    newest: dict[str, int] = {}
    for line, row in enumerate(rows, 2):
        rank = (row["ingested_at"], row["source_file"], line)
        newest_line = newest.get(row["thing_id"])
        if newest_line is None or rank > (
            rows[newest_line - 2]["ingested_at"],
            rows[newest_line - 2]["source_file"],
            newest_line,
        ):
            newest[row["thing_id"]] = line
    return {
        line: [
            f"rule_{n}"
            for n, (predicate, holds) in enumerate(PREDICATES.items())
            if acting[predicate] != "warn" and not holds(row)
        ]
        + ([] if newest[row["thing_id"]] == line else [DUPLICATE])
        for line, row in enumerate(rows, 2)
    }


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.lists(things, min_size=1, max_size=8), actions)
def test_clean_and_quarantine_are_together_the_input_and_each_row_is_where_it_belongs(
    spark: Any, rows: list[dict[str, Any]], acting: dict[str, str]
) -> None:
    rules = spec(
        *({"name": f"rule_{n}", "predicate": p, "action": acting[p], "tolerate": 1.0} for n, p in enumerate(PREDICATES))
    )
    expected = expected_reasons(rows, acting)
    checked = check(raw(spark, *rows), rules)
    quarantined = {row.line_number: row.quarantine_reasons for row in quarantine_rows(checked).collect()}
    assert quarantined == {line: why for line, why in expected.items() if why}
    summary = judge(checked, rules)
    clean = lines(release_rows(checked, summary, "things"))
    assert sorted([*clean, *quarantined]) == list(expected)
    assert (summary.n_clean[DUPLICATE], summary.n_quarantined[DUPLICATE]) == (len(clean), len(quarantined))
    counted = Counter(name for why in expected.values() for name in why)
    stopping = [rule.name for rule in rules.tables["things"].rules if rule.stops]
    assert summary.n_failed[[*stopping, DUPLICATE]].to_dict() == {
        name: counted[name] for name in [*stopping, DUPLICATE]
    }


# The profile of the columns


def test_the_profile_of_each_column_by_hand(spark: Any) -> None:
    rows = [
        {"thing_id": name, "size": size, "price": price, "colour": colour}
        for name, size, price, colour in [
            ("A", 5, 0.5, "red"),
            ("B", 1, None, "blue"),
            ("C", 3, 1.5, "red"),
            ("D", 2, None, None),
            ("E", 4, None, "blue"),
            ("F", None, 1.0, "red"),
            ("G", None, None, "green"),
            ("H", None, None, None),
        ]
    ]
    profile = describe_columns(check(raw(spark, *rows), spec()), spec(top_values=2), LANDING).set_index("column")
    assert list(profile.index) == list(LANDING.names)
    assert profile[["n_rows", "n_null", "null_share", "n_distinct"]].to_numpy().tolist() == [
        [8, 0, 0.0, 8],
        [8, 3, 0.375, 5],
        [8, 5, 0.625, 3],
        [8, 2, 0.25, 3],
    ]
    statistics = profile[["min", "p50", "max", "mean"]]
    assert statistics.loc[["size", "price"]].to_numpy().tolist() == [[1, 3, 5, 3], [0.5, 1.0, 1.5, 1.0]]
    assert profile.loc[["thing_id", "colour"], ["min", "p25", "p50", "p75", "max", "mean"]].isna().all(axis=None)
    assert [json.loads(values) for values in profile.top_values] == [[], [], [], [["red", 3], [None, 2]]]


def test_quartiles_are_those_of_the_values_to_a_hundredth_of_their_range(spark: Any) -> None:
    frame = spark.range(1001).selectExpr("'T' as thing_id", "cast(1000 - id as int) as size")
    profile = describe_columns(frame, spec(), LANDING).set_index("column")
    assert profile.loc["size", ["p25", "p50", "p75"]].tolist() == pytest.approx([250, 500, 750], abs=10)


def test_the_quantiles_of_many_rows_are_those_of_an_even_sample(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_SAMPLE", 2_000)
    frame = raw(spark, *({"size": n % 1_000, "colour": f"c{n % 4_000}"} for n in range(20_000)))
    profile = describe_columns(check(frame, spec()), spec(), contract=LANDING).set_index("column")
    assert profile.loc["size", ["p25", "p50", "p75"]].tolist() == pytest.approx([250, 500, 750], abs=40)
    assert profile.loc["size", "p50"] != 499.5
    assert profile.loc[["thing_id", "colour", "size"], "n_distinct"].tolist() == pytest.approx(
        [20_000, 4_000, 1_000], rel=0.01
    )


def test_equally_frequent_values_are_listed_by_the_alphabet_and_null_is_one_of_them(spark: Any) -> None:
    rows = [{"colour": colour} for colour in ("red", "blue", None, "blue", "red", None, "green")]
    profile = describe_columns(check(raw(spark, *rows), spec()), spec(top_values=3), LANDING).set_index("column")
    assert json.loads(profile.top_values["colour"]) == [[None, 2], ["blue", 2], ["red", 2]]


def test_rows_that_are_kept_out_are_described_as_well(spark: Any) -> None:
    rules = spec(SIZE | {"action": "drop"})
    profile = describe_columns(check(raw(spark, {"size": -5}, {}), rules), rules, LANDING).set_index("column")
    assert profile.loc["size", ["n_rows", "min", "max"]].tolist() == [2, -5, 1]


def test_a_table_without_rows_is_described_without_numbers(spark: Any) -> None:
    profile = describe_columns(check(raw(spark, {}).limit(0), spec()), spec(), LANDING).set_index("column")
    assert profile[["n_rows", "n_null", "null_share", "n_distinct"]].to_numpy().sum() == 0
    assert all(isnan(profile.loc["size", name]) for name in ("min", "max", "mean", "p25", "p50", "p75"))


@pytest.mark.parametrize(
    ("predicate", "message"),
    [
        ("no_such_column > 1", "no_such_column"),
        ("no_function(amount)", "can't be evaluated"),
        ("amount + 1", "not true or false"),
    ],
)
def test_a_predicate_that_means_nothing_is_refused_by_the_rules_name(spark: Any, predicate: str, message: str) -> None:
    frame = spark.createDataFrame([(1, 2.0)], "id int, amount double")
    spec = QualitySpec.model_validate(
        {"tables": {"t": {"rules": [{"name": "odd", "predicate": predicate, "action": "drop"}]}}}
    )
    with pytest.raises(QualityError, match="odd of t") as caught:
        check_rows(frame, spec, "t", ("id",))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
