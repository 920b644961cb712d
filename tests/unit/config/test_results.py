"""Names of tables of results, and of what goes with them."""

from __future__ import annotations

import pytest

from lakehouse_ml.config import results

USUAL = "score_{table}"
NOUNS = ("customers", "machines")


@pytest.mark.parametrize("name", ["trial_october", "t", "trial_2", "predictions", "a" * 100, USUAL])
def test_a_name_of_small_letters_digits_and_underscores_can_be_a_table_s(name: str) -> None:
    assert results.fault(name, USUAL, NOUNS) is None


@pytest.mark.parametrize(
    "name",
    ["Trial", "trial-1", "trial 1", "1st", "_trial", "", "../trial", "trial/a", "größe", "trial\n", "trial_{table}",
     "a" * 101, 2015, None, True, ["trial"]],
)  # fmt: skip
def test_any_other_is_refused_with_what_is_allowed(name: object) -> None:
    message = results.fault(name, USUAL, NOUNS)
    assert message
    assert "lower-case letters, digits and underscores only" in message


@pytest.mark.parametrize("name", ["score_customers", "score_machines", "score_actions", "score"])
def test_tables_of_conf_s_own_results_are_refused_and_so_is_one_whose_actions_would_be_theirs(name: str) -> None:
    assert "choose another one" in (results.fault(name, USUAL, NOUNS) or "")


def test_a_table_cannot_have_the_name_of_another_one_s_actions() -> None:
    assert results.actions_of("trial") == "trial_actions"
    assert "lists of actions" in (results.fault("trial_actions", USUAL, NOUNS) or "")
    assert "lists of actions" in (results.fault_of_usual("trial_actions") or "")


def test_conf_s_own_name_may_hold_the_noun_once() -> None:
    assert [results.fault_of_usual(name) for name in (USUAL, "{table}", "predictions")] == [None, None, None]
    assert results.fault_of_usual("{table}_{table}")
    assert results.fault_of_usual("{noun}")


def test_conf_s_table_has_list_and_reports_in_the_usual_place_whatever_its_name_is() -> None:
    for usual, actions in ((USUAL, "score_actions"), ("predictions", "predictions_actions")):
        assert results.actions_of(usual) == actions
        assert results.list_of(usual, usual) == "actions.csv"
        assert results.reports_of(usual, usual) == ""
        assert results.list_of("trial", usual) == "trial_actions.csv"
        assert results.reports_of("trial", usual) == "/of_trial"
