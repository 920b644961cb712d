"""Rules: what conf may say of them, and what each does for how many broken rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lakehouse_ml.pipelines.data_quality.rules import DUPLICATE, QualitySpec, Rule, TableRules, outcome


def rule(action: str, **given: Any) -> Rule:
    return Rule.model_validate({"name": "size_is_positive", "predicate": "size > 0", "action": action, **given})


@pytest.mark.parametrize("action", ["warn", "drop", "fail"])
def test_a_rule_that_no_row_breaks_is_ok_whatever_its_action(action: str) -> None:
    assert outcome(rule(action), 0, 10) == "ok"
    assert outcome(rule(action), 0, 0) == "ok"


@pytest.mark.parametrize(("action", "told"), [("warn", "warned"), ("drop", "dropped"), ("fail", "stopped")])
def test_one_broken_row_has_its_action_where_nothing_is_tolerated(action: str, told: str) -> None:
    assert outcome(rule(action), 1, 1_000_000) == told


@pytest.mark.parametrize(
    ("action", "within", "beyond"),
    [("warn", "ok", "warned"), ("fail", "dropped", "stopped"), ("drop", "dropped", "stopped")],
)
def test_a_share_is_tolerated_up_to_and_including_its_bound(action: str, within: str, beyond: str) -> None:
    tolerant = rule(action, tolerate=0.25)
    assert [outcome(tolerant, n, 8) for n in (1, 2, 3)] == [within, within, beyond]


def test_a_drop_never_stops_unless_conf_says_what_it_tolerates() -> None:
    assert rule("drop").tolerate == 1.0
    assert outcome(rule("drop"), 10, 10) == "dropped"
    assert outcome(rule("drop", tolerate=0.0), 1, 10) == "stopped"


def test_warn_and_fail_tolerate_nothing_by_default() -> None:
    assert rule("warn").tolerate == rule("fail").tolerate == 0.0


def test_a_warning_keeps_the_row_and_the_other_actions_keep_it_out() -> None:
    assert [rule(action).stops for action in ("warn", "drop", "fail")] == [False, True, True]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 500), st.integers(0, 500), st.integers(0, 64), st.sampled_from(["warn", "drop", "fail"]))
def test_more_broken_rows_never_have_a_milder_outcome(rows: int, failed: int, tolerated: int, action: str) -> None:
    severity = ["ok", "dropped", "warned", "stopped"]
    tolerant = rule(action, tolerate=tolerated / 64)
    now, later = (severity.index(outcome(tolerant, min(n, rows), rows)) for n in (failed, failed + 1))
    assert now <= later


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": "Size is positive"}, "name"),
        ({"action": "ignore"}, "action"),
        ({"tolerate": 1.01}, "tolerate"),
        ({"tolerate": -0.1}, "tolerate"),
        ({"predicat": "size > 0"}, "predicat"),
    ],
)
def test_a_rule_that_conf_spells_wrongly_is_refused_by_the_key(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        rule(**{"action": "warn", **wrong})
    assert [error["loc"][-1] for error in refused.value.errors()] == [told]


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
    rule = Rule(name="r", predicate="true", action="fail", tolerate=0.29)
    assert (outcome(rule, 29, 100), outcome(rule, 30, 100)) == ("dropped", "stopped")
