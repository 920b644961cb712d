"""Rules: what conf may say of them, and what each does for how many broken rows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lakehouse_ml.pipelines.data_quality.predicates import columns_of
from lakehouse_ml.pipelines.data_quality.rules import (
    GapRule,
    QualitySpec,
    ReferenceRule,
    RowRule,
    Rule,
    StuckRule,
    TableRules,
    judge_outcome,
)
from lakehouse_ml.use_cases.columns import DUPLICATE


def rule(action: str, **options: Any) -> RowRule:
    return RowRule.model_validate({"name": "size_is_positive", "predicate": "size > 0", "action": action, **options})


@pytest.mark.parametrize("action", ["warn", "drop", "fail"])
def test_a_rule_that_no_row_breaks_is_ok_whatever_its_action(action: str) -> None:
    assert judge_outcome(rule(action), 0, 10) == "ok"
    assert judge_outcome(rule(action), 0, 0) == "ok"


@pytest.mark.parametrize(("action", "outcome"), [("warn", "warned"), ("drop", "dropped"), ("fail", "stopped")])
def test_one_broken_row_has_its_action_where_nothing_is_tolerated(action: str, outcome: str) -> None:
    assert judge_outcome(rule(action), 1, 1_000_000) == outcome


@pytest.mark.parametrize(
    ("action", "within", "beyond"),
    [("warn", "ok", "warned"), ("fail", "dropped", "stopped"), ("drop", "dropped", "stopped")],
)
def test_a_share_is_tolerated_up_to_and_including_its_bound(action: str, within: str, beyond: str) -> None:
    tolerant = rule(action, tolerate=0.25)
    assert [judge_outcome(tolerant, n, 8) for n in (1, 2, 3)] == [within, within, beyond]


def test_a_drop_never_stops_unless_conf_says_what_it_tolerates() -> None:
    assert rule("drop").tolerate == 1.0
    assert judge_outcome(rule("drop"), 10, 10) == "dropped"
    assert judge_outcome(rule("drop", tolerate=0.0), 1, 10) == "stopped"


def test_warn_and_fail_tolerate_nothing_by_default() -> None:
    assert rule("warn").tolerate == rule("fail").tolerate == 0.0


def test_a_warning_keeps_the_row_and_the_other_actions_keep_it_out() -> None:
    assert [rule(action).stops for action in ("warn", "drop", "fail")] == [False, True, True]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 500), st.integers(0, 500), st.integers(0, 64), st.sampled_from(["warn", "drop", "fail"]))
def test_more_broken_rows_never_have_a_milder_outcome(rows: int, failed: int, tolerated: int, action: str) -> None:
    severity = ["ok", "dropped", "warned", "stopped"]
    tolerant = rule(action, tolerate=tolerated / 64)
    now, later = (severity.index(judge_outcome(tolerant, min(n, rows), rows)) for n in (failed, failed + 1))
    assert now <= later


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"name": "Size is positive"}, "name"),
        ({"action": "ignore"}, "action"),
        ({"tolerate": 1.01}, "tolerate"),
        ({"tolerate": -0.1}, "tolerate"),
        ({"predicat": "size > 0"}, "predicat"),
    ],
)
def test_a_rule_that_conf_spells_wrongly_is_refused_by_the_key(wrong: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        rule(**{"action": "warn", **wrong})
    assert [error["loc"][-1] for error in caught.value.errors()] == [key]


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="unique and not duplicate_key: size_is_positive"):
        TableRules(rules=(rule("warn"), rule("drop")))


def test_the_name_of_the_rule_on_duplicates_is_taken() -> None:
    with pytest.raises(ValidationError, match=f"unique and not {DUPLICATE}: {DUPLICATE}"):
        TableRules(rules=(rule("warn", name=DUPLICATE),))


@pytest.mark.parametrize("wrong", [{"examples": 0}, {"top_values": 0}, {"exampels": 3}])
def test_quality_without_examples_or_with_an_unknown_key_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        QualitySpec.model_validate({"tables": {}, **wrong})


def test_a_share_that_is_just_tolerated_does_not_stop() -> None:
    rule = RowRule(name="r", predicate="true", action="fail", tolerate=0.29)
    assert (judge_outcome(rule, 29, 100), judge_outcome(rule, 30, 100)) == ("dropped", "stopped")


GAP = {"name": "no_gaps", "action": "warn", "per": ["thing_id"], "order": "seen_at", "step_hours": 1}
KNOWN = {"name": "thing_is_known", "action": "drop", "refers_to": "things", "by": ["thing_id"]}
MOVES = {"name": "size_moves", "action": "warn", "per": ["thing_id"], "order": "seen_at", "moves": "size",
         "within_hours": 24}  # fmt: skip
POSITIVE = {"name": "size_is_positive", "action": "warn", "predicate": "size > 0"}


def quality_spec(*rules: Any) -> QualitySpec:
    return QualitySpec.model_validate({"tables": {"readings": {"rules": rules}}})


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        (POSITIVE, RowRule, "size > 0"),
        (KNOWN, ReferenceRule, "thing_id exists in things"),
        (KNOWN | {"by": ["thing_id", "colour"]}, ReferenceRule, "thing_id and colour exist together in things"),
        (GAP, GapRule, "seen_at is at most 1 h after the previous seen_at of its thing_id"),
        (MOVES, StuckRule, "size took a new value within 24 h before seen_at, for its thing_id"),
    ],
)
def test_the_kind_of_a_rule_is_told_by_its_keys_and_it_says_what_it_expects(
    options: dict[str, Any], kind: type[Rule], expected: str
) -> None:
    (rule,) = quality_spec(options).tables["readings"].rules
    assert (type(rule), rule.expected) == (kind, expected)


@pytest.mark.parametrize(
    ("wrong", "place", "message"),
    [
        (POSITIVE | {"refers_to": "things"}, (), "predicate and refers_to belong to different kinds of rules"),
        (GAP | {"moves": "size"}, (), "step_hours and moves belong to different kinds of rules"),
        ("size > 0", (), "A rule is keys with values"),
        ({"name": "size", "action": "warn"}, ("predicate",), "required"),
        (KNOWN | {"by": []}, ("by",), "at least 1 item"),
        (KNOWN | {"per": ["thing_id"]}, ("per",), "not permitted"),
        (GAP | {"step_hours": 0}, ("step_hours",), "greater than 0"),
        (MOVES | {"within_hours": -1}, ("within_hours",), "greater than 0"),
        ({key: MOVES[key] for key in MOVES if key != "order"}, ("order",), "required"),
    ],
)
def test_a_mistake_in_a_rule_of_any_kind_is_one_and_told_at_its_place(
    wrong: Any, place: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        quality_spec(POSITIVE, wrong)
    assert [error["loc"] for error in caught.value.errors()] == [("tables", "readings", "rules", 1, *place)]


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (POSITIVE, {"predicate": "size > 1"}), (KNOWN, {"by": ["colour"]}), (KNOWN, {"refers_to": "people"}),
        (GAP, {"step_hours": 2}), (MOVES, {"moves": "price"}), (MOVES, {"within_hours": 12}),
    ],
)  # fmt: skip
def test_a_changed_rule_of_any_kind_changes_the_text_by_which_a_run_sees_that_conf_has_changed(
    rule: dict[str, Any], change: dict[str, Any]
) -> None:
    assert str(quality_spec(rule)) == str(quality_spec(dict(rule)))
    assert str(quality_spec(rule)) != str(quality_spec(rule | change))


@pytest.mark.parametrize(
    ("predicate", "function"),
    [
        ("seen_at <= current_timestamp()", "current_timestamp"), ("seen_on <= CURRENT_DATE", "CURRENT_DATE"),
        ("seen_at <= now ( )", "now"), ("seen_at <= :now", ":now"),
    ],
)  # fmt: skip
def test_a_predicate_on_the_current_time_is_refused_with_the_column_to_use_instead(
    predicate: str, function: str
) -> None:
    with pytest.raises(ValidationError, match=f"{function} depends on the current time.*ingested_at"):
        quality_spec(POSITIVE | {"predicate": predicate})


@pytest.mark.parametrize(
    ("predicate", "reason"),
    [
        ("true --", "a comment can't be part of a predicate"), ("n /* x */ > 1", "a comment can't be part"),
        ("count(*) > 3", "about one row: aggregates and windows"),
        ("size(collect_list(n)) > 1", "aggregates and windows"),
        ("row_number() over (order by n) > 1", "aggregates and windows"),
        ("n > (select max(n) from other)", "a subquery can't be part"),
        ("exists(select 1 from csv.`/etc/passwd`)", "a subquery can't be part"),
        ("n in (select n from other)", "a subquery can't be part"), ("n > 1 union select true", "a subquery can't be"),
        ("rand() > 0.5", "rand does not depend on the row alone"), ("RAND(3) > n", "rand does not depend"),
        ("uuid() = colour", "uuid does not depend"),
        ("java_method('java.lang.System', 'exit', 1) = ''", "java_method does not depend"),
        ("input_file_name() = ''", "input_file_name does not depend"),
        ("unix_timestamp() > n", "current_timestamp does not depend"),
        ("cast('now' as date) > seen_at", "'now' as a time depends on the current time"),
        ("timestamp 'Today' > seen_at", "'Today' as a time depends on the current time"),
        ("n > 1; drop table x", "a predicate is exactly one expression"), ("", "exactly one"),
        ("n > 1) or (true", "not an expression of Spark SQL at"), ("drop table x", "Drop is a statement"),
        ("n = :limit", "has no parameters"),
    ],
)  # fmt: skip
def test_a_predicate_that_is_not_one_deterministic_expression_over_the_row_is_refused(
    predicate: str, reason: str
) -> None:
    with pytest.raises(ValidationError, match=re.escape(reason)):
        quality_spec(POSITIVE | {"predicate": predicate})


@pytest.mark.parametrize(
    "predicate",
    [
        "n between 1 and 3 or n is null", "colour in ('red', 'select', '-- none')", "colour rlike '^[a-z]+$'",
        "forall(parts, part -> part > 1)", "exists(parts, part -> part > 1)", "`Customer's age` > 1", "n <=> 3",
        "date_add(seen_at, 1) <= ingested_at", "cast(colour as int) > 1", "try_cast(colour as date) is not null",
        "case when n > 1 then colour = 'a' else true end", "colour like 'a%'", "size(split(colour, ',')) = 2",
        "months_between(ingested_at, seen_at) < 3", "my_own_function(n)", "seen_at + interval 1 day < ingested_at",
    ],
)  # fmt: skip
def test_ordinary_predicates_pass(predicate: str) -> None:
    assert rule("drop", predicate=predicate).predicate == predicate


def test_the_columns_of_a_predicate_are_those_of_the_row() -> None:
    assert columns_of("a.b > 1 and forall(parts, part -> part > n) and `A b` = 'c' and n > 2") == [
        "A b",
        "a",
        "n",
        "parts",
    ]


def test_a_predicate_on_the_time_at_which_a_row_was_read_is_none_that_asks_the_clock() -> None:
    for predicate in ("seen_at <= ingested_at", "now_known > 0", "colour = 'now'", "seen_at < timestamp '2030-01-01'"):
        assert quality_spec(POSITIVE | {"predicate": predicate})
