"""The report: every table told in words and pictures, on one page that needs nothing else and runs nothing."""

from __future__ import annotations

import base64
import json
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from lakehouse_ml.modelling.card import ModelCard, RegistryStatus
from lakehouse_ml.modelling.economics import Economics
from lakehouse_ml.modelling.metrics import METRICS, classification_metrics
from lakehouse_ml.report import cautions, charts, curves, formatting
from lakehouse_ml.report.data import ReportData, ScoredBatch, Source
from lakehouse_ml.report.page import Page, Section, render
from lakehouse_ml.report.sections import build_page
from lakehouse_ml.storage.landing import IngestionSpec, is_simulated
from lakehouse_ml.use_cases.churn import CHURN
from lakehouse_ml.use_cases.predictive_maintenance import PREDICTIVE_MAINTENANCE

HOSTILE = "<script>alert('x')</script> =1+1 $\\frac{1}{2}$"
RNG = np.random.default_rng(0)
N = 400
LABEL = (RNG.random(N) < 0.3).astype(int)
SURE = np.clip(0.25 + 0.4 * LABEL + RNG.normal(0, 0.15, N), 0.01, 0.99)
GUESS = np.clip(RNG.random(N), 0.01, 0.99)


def card() -> ModelCard:
    return ModelCard(
        library="sklearn",
        estimator="logistic_regression",
        params={"C": 1.0},
        categorical=("contract",),
        numeric=("tenure_months",),
        threshold=0.4,
        baseline={},
        reference={},
        unseen={},
        importance={"tenure_months": 0.2, "contract": 0.1},
        metrics={},
    )


def files(n_lines: int = 500, refused: int = 0, name: str = "customers.csv") -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "source_file": name,
                "file_sha256": "ab" * 32,
                "n_lines": n_lines,
                "n_quarantined": refused,
                "ingested_at": pd.Timestamp("2025-01-31T06:00Z"),
            }
        ]
    )


def rules(outcome: str = "ok", n_failed: int = 0, examples: tuple[dict[str, Any], ...] = ()) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "rule": "tenure_is_known",
                "predicate": "tenure_months between 0 and 1200",
                "outcome": outcome,
                "n_failed": n_failed,
                "failed_share": n_failed / 500,
                "n_rows": 500,
                "n_clean": 500 - n_failed,
                "n_quarantined": n_failed,
                "examples": json.dumps(list(examples)),
            }
        ]
    )


def columns() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "column": "tenure_months",
                "type": "int",
                "null_share": 0.0,
                "n_distinct": 72,
                "min": 0.0,
                "max": 72.0,
                "mean": 32.4,
                "p50": 29.0,
                "top_values": "[]",
            },
            {
                "column": "contract",
                "type": "string",
                "null_share": 0.1,
                "n_distinct": 3,
                "min": np.nan,
                "max": np.nan,
                "mean": np.nan,
                "p50": np.nan,
                "top_values": json.dumps([[HOSTILE, 3], [None, 1]]),
            },
        ]
    )


def make_metrics(*models: tuple[str, np.ndarray]) -> pd.DataFrame:
    rows = []
    for model, probability in models:
        values = classification_metrics(LABEL, probability, 0.4) | {"expected_value": 12.5}
        for segment in ("all", f"contract={HOSTILE}"):
            for metric, value in values.items():
                band = (value - 0.05, value + 0.05) if metric in METRICS and segment == "all" else (np.nan, np.nan)
                rows.append((model, segment, metric, value, *band, N, int(LABEL.sum())))
    names = ["model", "segment", "metric", "value", "low", "high", "n_rows", "n_positives"]
    return pd.DataFrame(rows, columns=names)


def holdout(incumbent: np.ndarray | float = np.nan) -> pd.DataFrame:
    return pd.DataFrame({"label": LABEL, "candidate_probability": SURE, "incumbent_probability": incumbent})


def verdict(decision: str = "approve", incumbent: str = "", detectable: float = np.nan) -> dict[str, Any]:
    return {
        "version": "2",
        "incumbent_version": incumbent,
        "decision": decision,
        "reason": f"Because {HOSTILE}.",
        "detectable": detectable,
    }


NO_LINES = pd.DataFrame(columns=["source_file", "line_number", "line_text", "problems"])
SOURCE = Source(files(), NO_LINES, columns(), rules())
NO_SOURCE = Source(files().head(0), NO_LINES, columns().head(0), rules().head(0))
GIVEN = ReportData(
    words=CHURN.wording.within(30),
    horizon_days=30,
    list_file="07_model_output/churn/actions.csv",
    most_actions=2,
    made_at=datetime(2025, 1, 31, 6, 30, tzinfo=UTC),
    sources={"customers": SOURCE, "outcomes": NO_SOURCE},
    meaning=CHURN.meaning,
    version="2",
    card=card(),
    trials=pd.DataFrame(
        [{"trial": 1, "estimator": "logistic_regression", "params": '{"C": 1.0}', "threshold": 0.4, "chosen": True,
          "fit_seconds": 0.5, "f1": 0.6, "roc_auc": 0.8, "average_precision": 0.65}]
    ),
    holdout=holdout(),
    metrics=make_metrics(("candidate", SURE)),
    verdict=verdict(),
    standing=RegistryStatus("2", "2", "approve", "better"),
    economics=Economics(action_cost=20.0, averted_value=400.0, success_share=0.3),
    batch=ScoredBatch("2025-01-31", 300, 60, 300, 150, 4500.0, 0.31),
    actions=pd.DataFrame(
        {"customer_id": ["A1", HOSTILE], "rank": [1, 2], "probability": [0.9, 0.8], "expected_gain": [88.0, 76.0],
         "main_reason": [f"contract = {HOSTILE}", None], "model_version": ["2", "2"]}
    )[["customer_id", "rank", "probability", "expected_gain", "main_reason", "model_version"]],
    drift=pd.DataFrame(
        {"column": ["tenure_months", "contract", "score"], "psi": [0.25, 0.01, np.nan],
         "p_adjusted": [0.0, 0.7, np.nan],
         "status": ["drift", "stable", "too_few_rows"], "reason": ["It moved.", "It did not.", "Too few."]}
    ),
    drift_levels=(0.07, 0.21),
    drift_verdict={"status": "drift", "reason": "One column moved."},
    live=pd.DataFrame(columns=["batch"]),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def drawn_pictures() -> Iterator[dict[bytes, str]]:
    """Drawing takes nearly all of a page's time: a picture of the same values is drawn once for all tests."""
    pictures_by_key: dict[bytes, str] = {}

    def once(draw: Callable[..., str]) -> Callable[..., str]:
        def drawn(*values: Any, **how: Any) -> str:
            key = pickle.dumps((draw.__name__, values, how))
            return (
                pictures_by_key[key]
                if key in pictures_by_key
                else pictures_by_key.setdefault(key, draw(*values, **how))
            )

        return drawn

    with pytest.MonkeyPatch.context() as patch:
        for name in ("ranked_bars", "levels", "curves", "calibration", "two_histograms", "over_time"):
            patch.setattr(charts, name, once(getattr(charts, name)))
        yield pictures_by_key


class Outline(HTMLParser):
    """What a program that reads the page aloud would find."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._silent = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._silent = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._silent else data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def render_outline(data: ReportData = GIVEN) -> Outline:
    return Outline(render(build_page(data)))


def pictures(outline: Outline) -> list[str]:
    return [base64.b64decode((image["src"] or "").split(",", 1)[1]).decode() for image in outline.all("img")]


# --- one page, that needs nothing else and runs nothing


def test_the_page_needs_no_other_file_and_runs_nothing() -> None:
    outline = render_outline()
    assert {"script", "link", "iframe", "object"} & {tag for tag, _ in outline.tags} == set()
    assert all((image["src"] or "").startswith("data:image/svg+xml;base64,") for image in outline.all("img"))
    assert all((link["href"] or "").startswith("#") for link in outline.all("a"))
    (policy,) = [tag["content"] for tag in outline.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_texts_from_data_are_shown_and_never_live() -> None:
    html = render(build_page(GIVEN))
    assert "<script" not in html
    assert "&lt;script&gt;alert(" in html
    assert HOSTILE in Outline(html).text
    assert all("<script" not in picture for picture in pictures(Outline(html)))


def test_every_picture_is_an_svg_with_colours_for_light_and_dark_and_words_for_who_cannot_see_it() -> None:
    outline = render_outline()
    assert len(outline.all("img")) == 9
    assert all(len(image["alt"] or "") > 20 for image in outline.all("img"))
    assert len(outline.all("figcaption")) == len(outline.all("img"))
    for picture in pictures(outline):
        ElementTree.fromstring(picture)
        assert "prefers-color-scheme: dark" in picture
        assert not re.search(r"#0[0-9a-f]0[0-9a-f]0[0-9a-f]", picture)


def test_headings_links_and_tables_tell_their_structure() -> None:
    outline = render_outline()
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {(link["href"] or "")[1:] for link in outline.all("a")} <= set(ids)
    assert len(outline.all("h1")) == 1
    assert len(outline.all("caption")) == len(outline.all("table"))
    assert all(head.get("scope") in ("col", "row") for head in outline.all("th"))
    assert outline.all("html")[0]["lang"] == "en"


def test_the_same_tables_give_the_same_page(drawn_pictures: dict[bytes, str]) -> None:
    first = render(build_page(GIVEN))
    drawn_pictures.clear()
    assert render(build_page(GIVEN)) == first


# --- what it says


def test_the_summary_says_in_words_what_was_read_found_decided_and_scored() -> None:
    text = render_outline().text
    assert "500 rows of customers were read from 1 file: 500 are clean, 0 were set aside." in text
    assert re.search(r"The new model \(version 2\) finds \d+ of 100 customers who left within 30 days", text)
    assert "Version 2 was promoted to champion." in text
    # The threshold is that of the version that scored, not the candidate's.
    assert "300 customers were scored as of 2025-01-31; 60 of them reach the threshold of 0.31" in text
    assert "Change since training: an alarm." in text


@pytest.mark.parametrize(
    ("decision", "champion", "expected"),
    [
        ("refuse", "1", "Version 2 was refused; version 1 stays champion."),
        ("refuse", None, "Version 2 was refused; nobody scores."),
        ("request", None, "Version 2 may be promoted as soon as somebody approves."),
    ],
)
def test_each_verdict_has_its_sentence(decision: str, champion: str | None, expected: str) -> None:
    text = render_outline(replace(GIVEN, verdict=verdict(decision), standing=RegistryStatus(champion))).text
    assert expected in text


def test_lines_that_could_not_be_read_are_shown_with_what_is_wrong() -> None:
    line = {
        "source_file": "c.csv",
        "line_number": 7,
        "line_text": f"A;{HOSTILE}",
        "problems": [{"column": "tenure_months", "text": "x", "reason": "is no whole number"}],
    }
    source = replace(SOURCE, files=files(refused=1), refused=pd.DataFrame([line]))
    text = render_outline(replace(GIVEN, sources={"customers": source})).text
    assert "tenure_months: is no whole number" in text
    assert "1 line of customers could not be read" in text
    assert f"A;{HOSTILE}" in text


def test_rows_that_break_a_rule_are_counted_shown_and_asked_about() -> None:
    example = {"customer_id": HOSTILE, "tenure_months": -4, "source_file": "c.csv", "line_number": 9}
    source = replace(SOURCE, rules=rules("dropped", 12, (example,)))
    text = render_outline(replace(GIVEN, sources={"customers": source})).text
    assert "12 rows of customers break the rule tenure_is_known and are in quarantine_customers" in text
    assert "1 of 1 rules set rows aside" in text
    assert "examples of rows that break tenure_is_known" in text
    assert "-4" in text


def test_two_contenders_are_set_beside_each_other_with_the_smallest_gain_that_could_be_seen() -> None:
    contested = replace(
        GIVEN,
        holdout=holdout(GUESS),
        metrics=make_metrics(("candidate", SURE), ("incumbent", GUESS)),
        verdict=verdict("approve", "1", 0.031),
    )
    outline = render_outline(contested)
    assert "version 1, champion before" in outline.text
    assert "could have seen is about 0.031" in outline.text
    assert any("version 1 (before)" in picture for picture in pictures(outline))


def test_right_and_wrong_at_the_threshold_add_up_to_the_held_out_rows() -> None:
    text = render_outline().text
    hits, misses, false_alarms, true_negatives = (
        int(re.search(rf"(\d+) {word}", text).group(1))
        for word in ("found\n", "missed", "false alarms", "rightly left alone")
    )
    assert (hits + misses, false_alarms + true_negatives) == (LABEL.sum(), N - LABEL.sum())
    assert hits == int((SURE[LABEL == 1] >= 0.4).sum())


def test_what_is_not_there_yet_is_said_and_nothing_breaks() -> None:
    bare = replace(
        GIVEN,
        holdout=holdout().head(0),
        metrics=GIVEN.metrics.head(0),
        batch=ScoredBatch(None, 0, 0, 0),
        actions=GIVEN.actions.head(0),
        drift=GIVEN.drift.head(0),
        drift_verdict=None,
        verdict=verdict("refuse"),
        standing=RegistryStatus(None),
    )
    text = render_outline(bare).text
    for sentence in (
        "No file of outcomes has arrived",
        "Nothing is scored yet",
        "nothing can have changed",
        "Without both outcomes there is nothing to draw",
    ):
        assert sentence in text


def test_outcomes_that_came_later_are_told_batch_by_batch() -> None:
    live = pd.DataFrame(
        [
            {
                "batch": "2024-12-31",
                "model_version": "1",
                "n_rows": 90,
                "n_positives": 20,
                "precision": 0.5,
                "recall": 0.6,
                "f1": 0.55,
                "roc_auc": 0.8,
            }
        ]
    )
    text = render_outline(replace(GIVEN, live=live)).text
    assert "Live metrics" in text
    assert "0.550" in text
    assert "land those outcomes" not in text


# --- real performance, and what outcomes say of themselves

PERFORMANCE = {
    "model_version": "1", "first_batch": "2024-12-31", "last_batch": "2024-12-31", "status": "worse", "n_rows": 900,
    "n_positives": 100, "n_hits": 11, "n_named": 200, "recall_low": 0.062, "recall_high": 0.186,
    "expected_recall": 0.79, "expected_precision": 0.5, "roc_auc": 0.43, "expected_roc_auc": 0.85, "worse_in": "recall",
}  # fmt: skip


def performing(**changed: Any) -> Page:
    return build_page(replace(GIVEN, performance=PERFORMANCE | changed))


def test_outcomes_that_contradict_the_hold_out_come_first_in_red_and_in_the_steps() -> None:
    page = performing()
    assert page.summary[0].startswith(
        "Real outcomes contradict the hold-out (recall worse beyond chance). Of 100 customers who left within 30 days "
        "after 2024-12-31, version 1 had named 11; 79 were expected from the hold-out (95 % interval of the observed: "
        "6 to 19)."
    )
    tile = page.tiles[0]
    assert (tile.label, tile.value, tile.tone) == ("Real performance", "worse than expected", "bad")
    assert tile.note == "named 11 of 100, expected 79"
    assert page.steps[0].startswith("The real outcomes are worse than the hold-out predicted.")


def test_outcomes_as_expected_lead_too_without_an_alarm() -> None:
    page = performing(status="as_expected", n_hits=77, recall_low=0.68, recall_high=0.84, worse_in="")
    assert page.summary[0].startswith("Real outcomes agree with the hold-out. Of 100 customers who left within 30")
    assert page.tiles[0].tone == "good"
    assert "worse" not in " ".join(page.steps)


def test_few_outcomes_are_said_to_be_few_and_not_judged() -> None:
    page = performing(status="few", n_rows=40, n_positives=3, n_hits=1)
    assert page.summary[0].endswith("That is too few to compare with the hold-out.")
    assert (page.tiles[0].value, page.tiles[0].tone) == ("too few outcomes", "neutral")


def test_without_outcomes_nothing_is_said_of_real_performance() -> None:
    assert "Real performance" not in [tile.label for tile in build_page(GIVEN).tiles]
    assert build_page(GIVEN).summary[0].startswith("500 rows of customers were read")


def test_there_is_one_answer_to_whom_to_call() -> None:
    whom = (
        "The offer list, 07_model_output/churn/actions.csv, names 2 customers, best first; it is worth 164.00 in "
        "total. An offer is expected to pay for 150 of the 300 (50%), worth 4,500.00; the list ends at 2, `actions` in "
        "parameters.yml."
    )
    page = build_page(GIVEN)
    assert sum(whom in text for text in page.summary) == 1
    assert "Offer list: 2 customers, in 07_model_output/churn/actions.csv, best first." in page.steps
    scores = next(part for part in page.sections if part.key == "scores")
    assert any("The threshold doesn't decide who is on it" in text for text in scores.sentences)
    assert any("are named as likely to leave within 30 days, by 2025-03-02" in text for text in page.summary)


def test_a_list_with_everybody_for_whom_it_pays_says_so_and_an_empty_one_why() -> None:
    everybody = replace(GIVEN, batch=ScoredBatch("2025-01-31", 300, 60, 300, 2, 164.0))
    assert any(
        "An offer is not expected to pay for any other customer." in text for text in build_page(everybody).summary
    )
    nobody = replace(GIVEN, actions=GIVEN.actions.head(0))
    assert any(
        "The offer list is empty: an offer is not expected to pay for any customer." in text
        for text in build_page(nobody).summary
    )


def test_outcomes_of_several_days_are_not_called_so_many_customers() -> None:
    several = GIVEN.holdout.assign(customer_id=[f"C{n // 4}" for n in range(N)])[
        ["customer_id", *GIVEN.holdout.columns]
    ]
    assert any(
        "Measured on 400 outcomes of 100 customers that it never saw" in text
        for text in build_page(replace(GIVEN, holdout=several)).summary
    )
    assert any("Measured on 400 customers that it never saw" in text for text in build_page(GIVEN).summary)


LABELS = pd.DataFrame(
    [{"day": day, "n_snapshot": 0, "n_outcomes": 50, "n_labels": 47, "n_positives": 9, "n_contradicted": 0,
      "n_unknown": unknown, "n_returned": 1} for day, unknown in (("2024-11-30", 3), ("2024-12-31", 0))]
)  # fmt: skip


@pytest.mark.parametrize(
    ("judged", "learned", "new"),
    [
        ("2025-01-01", "2024-12-31", False),
        ("2025-01-31T06:30Z", "2024-12-31", True),
        ("2025-01-01", "2024-11-30", True),
    ],
    ids=["judged before", "judged now", "newer outcomes are known"],
)  # fmt: skip
def test_a_run_without_a_new_outcome_had_nothing_new_to_learn_from(judged: str, learned: str, new: bool) -> None:
    at = pd.Timestamp(judged).tz_localize("UTC") if "Z" not in judged else pd.Timestamp(judged)
    card_ = replace(GIVEN.card, unseen={"learned_until": learned})
    page = build_page(replace(GIVEN, labels=LABELS, card=card_, verdict=verdict() | {"judged_at": at}))
    sentence = "There was nothing new to learn from: no outcome of a day after 2024-12-31 is known."
    assert (sentence in page.summary) is not new


def test_outcomes_are_counted_by_day_and_what_is_wrong_with_them_is_a_step() -> None:
    page = build_page(replace(GIVEN, labels=LABELS))
    assert any(step.startswith("3 outcomes belong to no customer of that day (2024-11-30: 3)") for step in page.steps)
    assert any(
        step.startswith("2 customers who left within 30 days appear in a later file again") for step in page.steps
    )
    grid = next(part for part in page.sections if part.key == "outcomes").grids[-1]
    assert grid.rows[0] == ("2024-12-31", "0", "50", "47", "9", "0", "0", "1")


def test_a_batch_in_the_future_is_a_step() -> None:
    page = build_page(replace(GIVEN, batch=ScoredBatch("2052-01-31", 300, 60, 300)))
    assert page.steps[0].startswith("The batch 2052-01-31 lies in the future.")
    assert "future" not in " ".join(build_page(GIVEN).steps)


def test_the_trend_shows_every_batch_with_what_is_known_of_it() -> None:
    scored = pd.DataFrame({"batch": ["2024-11-30", "2024-12-31"], "n_rows": [100, 200], "n_named": [10, 30]})
    drifts = pd.DataFrame({"batch": ["2024-11-30"], "status": ["not_assessable"]})
    live = batches("2024-11-30", n_named=10, n_hits=6)
    data = replace(GIVEN, batches=scored, drift_verdicts=drifts, live=live)
    newest, first = next(part for part in build_page(data).sections if part.key == "trend").grids[0].rows
    assert newest == ("2024-12-31", "200", "30", "15.0%", "not measured", "–", "–", "–", "–", "–", "–")
    assert first == ("2024-11-30", "100", "10", "10.0%", "not assessable", "100", "20", "6", "0.300", "0.600", "0.800")


def test_of_many_batches_the_trend_shows_the_newest_and_folds_the_rest() -> None:
    days = [f"2025-01-{day:02}" for day in range(1, 31)]
    scored = pd.DataFrame({"batch": days, "n_rows": 100, "n_named": 10})
    newest, rest = next(p for p in build_page(replace(GIVEN, batches=scored)).sections if p.key == "trend").grids
    assert (newest.rows[0][0], newest.folded, rest.rows[-1][0], rest.folded) == (days[-1], False, days[0], True)


def batches(*days: str, version: str = "1", **changed: Any) -> pd.DataFrame:
    row = {
        "model_version": version,
        "n_rows": 100,
        "n_positives": 20,
        "accuracy": 0.85,
        "precision": 0.5,
        "recall": 0.6,
        "f1": 0.55,
        "roc_auc": 0.8,
    }
    return pd.DataFrame([{"batch": day, **row, **changed} for day in days])


def outcomes(live: pd.DataFrame) -> Section:
    return next(s for s in build_page(replace(GIVEN, live=live)).sections if s.key == "outcomes")


def test_a_single_batch_is_no_course_of_time_and_two_are_drawn() -> None:
    assert not outcomes(batches("2025-01-01")).pictures
    (picture,) = outcomes(batches("2025-01-01", "2025-01-02")).pictures
    assert "2 batches, 2025-01-01 to 2025-01-02" in picture.alt
    assert "All scored by version 1." in picture.caption


def test_batches_of_several_versions_are_told_apart_in_picture_and_words() -> None:
    live = pd.concat([batches("2025-01-01", "2025-01-02"), batches("2025-01-03", "2025-01-04", version="2")])
    (picture,) = outcomes(live).pictures
    assert "F1, version 1" in picture.svg
    assert "F1, version 2" in picture.svg
    assert "versions 1 and 2" in picture.caption


def test_batches_are_drawn_in_time_whatever_their_order() -> None:
    days = ("2025-01-03", "2025-01-01", "2025-01-02")
    rows = outcomes(batches(*days)).grids[0].rows
    assert [row[0] for row in rows] == sorted(days)
    shuffled, ordered = (outcomes(batches(*order)).pictures[0].svg for order in (days, sorted(days)))
    assert shuffled == ordered


def test_a_line_is_broken_where_a_day_is_missing_and_not_where_batches_lie_a_month_apart() -> None:
    daily = [date(2025, 1, day) for day in (1, 2, 3, 6, 7)]
    xs, ys = charts._break_gaps(daily, np.arange(5.0), charts._usual_step(daily))
    assert np.isnan(ys).tolist() == [False, False, False, True, False, False]
    assert np.isfinite(xs).all()
    monthly = [date(2025, month, 28) for month in (1, 2, 3)]
    assert np.isfinite(charts._break_gaps(monthly, np.arange(3.0), charts._usual_step(monthly))[1]).all()


def test_what_can_not_be_measured_is_a_gap_in_the_picture_and_a_dash_in_the_tables() -> None:
    nothing = dict.fromkeys(("precision", "recall", "f1", "roc_auc"), np.nan)
    live = pd.concat(
        [
            batches("2025-01-01", n_positives=0, n_named=3, n_hits=0, **nothing),
            batches("2025-01-02"),
            batches("2025-01-03", n_named=0, n_hits=0, precision=np.nan, recall=0.0, f1=0.0),
        ]
    )
    section = outcomes(live)
    assert [row[4:] for row in section.grids[0].rows[::2]] == [("–", "–", "–", "–"), ("–", "0.000", "0.000", "0.800")]
    assert "precision from 0.500 to 0.500" in section.pictures[0].alt
    seen = replace(GIVEN, live=live, batches=pd.DataFrame({"batch": ["2025-01-01"], "n_rows": [90], "n_named": [3]}))
    (trend,) = [section for section in build_page(seen).sections if section.key == "trend"]
    assert trend.grids[0].rows[0][-3:] == ("–", "–", "–")


def test_a_hold_out_on_which_nothing_can_be_measured_has_dashes_and_no_numbers_in_words() -> None:
    nothing = ("precision", "recall", "f1", "roc_auc", "average_precision")
    metrics = GIVEN.metrics.assign(value=GIVEN.metrics["value"].mask(GIVEN.metrics["metric"].isin(nothing)))
    page = build_page(replace(GIVEN, metrics=metrics))
    assert {tile.label: tile.value for tile in page.tiles}["F1 on unseen rows"] == "–"
    judgement, segments = (next(s for s in page.sections if s.key == key) for key in ("judgement", "segments"))
    assert {row[0]: row[1] for row in judgement.grids[0].rows}["recall"] == "–"
    assert segments.grids[0].rows[0][3:7] == ("–", "–", "–", "–")
    assert "nan" not in render(page).lower().replace("financ", "")
    silent = GIVEN.metrics.assign(value=GIVEN.metrics["value"].mask(GIVEN.metrics["metric"] == "precision"))
    assert any("; it names none. Measured on" in text for text in build_page(replace(GIVEN, metrics=silent)).summary)


def test_of_many_batches_the_newest_stand_open_and_the_others_are_folded() -> None:
    days = [f"2025-01-{day:02}" for day in range(1, 31)]
    newest, others = outcomes(batches(*days)).grids
    assert (newest.rows[-1][0], newest.folded) == ("2025-01-30", False)
    assert len(newest.rows) + len(others.rows) == 30
    assert others.folded


# --- a use case whose rows are predictions, and that measures more


def make_further_metrics(model: str, **changed: float) -> pd.DataFrame:
    metric_section = PREDICTIVE_MAINTENANCE.wording.metric_section
    assert metric_section
    values = {
        "cost_n_failures": 47.0,
        "hours_ahead_seen_share": 0.957,
        "hours_ahead_median_at_least": 21.0,
        "hours_ahead_quantile_10_at_least": 18.0,
        "cost_cost_of_decisions": 4400.0,
        "cost_cost_of_nothing": 94000.0,
    } | changed
    rows = [(model, row.segment, row.metric, values.get(row.name, 1.0)) for row in metric_section.metrics]
    table = pd.DataFrame(rows, columns=["model", "segment", "metric", "value"])
    return table.assign(low=np.nan, high=np.nan, n_rows=N, n_positives=int(LABEL.sum()))


AT = pd.Timestamp("2025-01-31T21:00Z")
MACHINES = replace(
    GIVEN,
    words=PREDICTIVE_MAINTENANCE.wording.within(None),
    horizon_days=None,
    sources=dict.fromkeys(PREDICTIVE_MAINTENANCE.sources, SOURCE),
    metrics=pd.concat([make_metrics(("candidate", SURE)), make_further_metrics("candidate")], ignore_index=True),
    batch=ScoredBatch("2025-01-31", 800, 20, 100),
    actions=pd.DataFrame(
        {"machine_id": [62], "predicted_at": [AT], "component": ["comp2"], "rank": [1], "probability": [0.9],
         "expected_gain": [1800.0], "main_reason": ["volt_mean_24h = 190"], "model_version": ["2"]}
    ),
)  # fmt: skip


def section(key: str, data: ReportData = MACHINES) -> Section:
    return next(s for s in build_page(data).sections if s.key == key)


def test_what_a_use_case_measures_besides_is_told_in_its_words() -> None:
    measures = section("further")
    assert measures.title == "In visits and failures"
    assert any(
        "Of 47 failures on unseen days, 95.7% were seen, a median of at least 21 h ahead, and nine of "
        "ten at least 18 h ahead." in sentence
        for sentence in measures.sentences
    )
    assert ("Cost of doing nothing", "94,000.00") in measures.grids[0].rows
    assert "Failures seen" in [tile.label for tile in build_page(MACHINES).tiles]
    assert "further" not in [s.key for s in build_page(GIVEN).sections]


def test_the_champion_before_stands_beside_the_candidate_there_too() -> None:
    both = pd.concat(
        [MACHINES.metrics, make_further_metrics("incumbent", cost_cost_of_decisions=6600.0)], ignore_index=True
    )
    grid = section("further", replace(MACHINES, metrics=both, verdict=verdict(incumbent="1"))).grids[0]
    assert grid.columns == ("", "version 2", "version 1, champion before")
    assert ("Cost of missed failures and needless visits", "4,400.00", "6,600.00") in grid.rows


def test_a_sentence_whose_value_is_unknown_is_left_out() -> None:
    unseen = pd.concat(
        [make_metrics(("candidate", SURE)), make_further_metrics("candidate", hours_ahead_median_at_least=np.nan)]
    )
    data = replace(MACHINES, metrics=unseen.reset_index(drop=True))
    assert not any("nan" in sentence or "{" in sentence for sentence in section("further", data).sentences)
    assert ("Time ahead that half of the seen failures reach", "unknown") in section("further", data).grids[0].rows


def test_only_groups_of_rows_are_shown_as_groups() -> None:
    assert [row[0] for row in section("segments").grids[0].rows] == [f"contract: {HOSTILE}".replace("=", ": ")]


def test_the_list_of_actions_names_machine_time_and_component() -> None:
    grid = section("scores").grids[0]
    assert grid.columns[:4] == ("rank", "machine", "when (UTC)", "component")
    assert grid.rows[0][:4] == ("1", "62", "2025-01-31 21:00", "comp2")


def test_predictions_are_told_with_the_number_of_machines_that_they_are_of() -> None:
    text = render_outline(MACHINES).text
    assert "800 predictions of 100 machines were scored as of 2025-01-31; 20 of them reach" in text
    assert "names 1 machine, best first" in text
    assert "of 300 customers" not in render_outline().text


def test_what_is_asked_of_the_model_is_none_of_the_features_that_it_looks_at() -> None:
    card = replace(GIVEN.card, label_dimension="contract", label_values=("a", "b"))
    features = section("features", replace(MACHINES, card=card))
    assert "contract" in [row[0] for row in section("features").grids[0].rows]
    assert "contract" not in [row[0] for row in features.grids[0].rows]
    assert "contract" not in features.pictures[0].svg


def test_names_from_conf_are_set_as_such_and_no_day_or_time_is_broken_into_lines() -> None:
    landed = replace(SOURCE, files=files(name="customers_2025-01-31.csv"))
    html = render(build_page(replace(MACHINES, sources={**MACHINES.sources, "errors": landed})))
    assert "<code>capacity</code> in parameters.yml" in html
    assert "`" not in render_outline(MACHINES).text
    assert '<span class="moment">2025-01-31 21:00</span>' in html
    assert 'of 100 machines as of <span class="moment">2025-01-31</span>' in html
    assert ">customers_2025-01-31.csv<" in html


def test_of_many_files_those_with_refused_lines_and_the_newest_are_shown() -> None:
    many = pd.concat(
        [files(name=f"{day:03}.csv").assign(ingested_at=AT + pd.Timedelta(days=day)) for day in range(120)],
        ignore_index=True,
    )
    many.loc[3, "n_quarantined"] = 2
    grid = section("data", replace(MACHINES, sources={"telemetry": replace(SOURCE, files=many)})).grids[0]
    assert [row[0] for row in grid.rows][:3] == ["003.csv", "119.csv", "118.csv"]
    assert (grid.caption, len(grid.rows)) == ("Files of telemetry: 10 of 120", 10)


def test_of_many_tables_those_that_are_clean_share_a_sentence_and_fold_their_rules() -> None:
    sources = dict(MACHINES.sources) | {"errors": replace(SOURCE, rules=rules("dropped", 12))}
    data = replace(MACHINES, sources=sources)
    folded = {grid.caption: grid.folded for grid in section("quality", data).grids}
    assert folded["Rules for telemetry"]
    assert not folded["Rules for errors"]
    assert "telemetry, maintenance, failures and machines: all 2,000 rows are clean" in render_outline(data).text
    assert "All other rows that were read are clean: 500 of telemetry, 500 of maintenance" in render_outline(data).text


def test_examples_of_a_rule_about_the_key_show_the_whole_key() -> None:
    example = {
        "observed_at": "2025-01-01 04:00",
        "machine_id": 62,
        "volt": 1.5,
        "source_file": "c.csv",
        "line_number": 9,
    }
    broken = rules("dropped", 12, (example,)).assign(rule="duplicate_key", predicate="the key is unique")
    source = replace(SOURCE, rules=broken, key=("machine_id", "observed_at"))
    grids = section("quality", replace(MACHINES, sources={"telemetry": source})).grids
    shown = next(grid for grid in grids if "examples" in grid.caption)
    assert shown.columns == ("file", "line", "observed_at", "machine_id")


def test_a_few_rows_of_very_many_are_not_rounded_to_none() -> None:
    assert [formatting.format_small_share(share) for share in (0.0, 0.00009, 0.01)] == ["0.0%", "< 0.1%", "1.0%"]


def test_a_rare_outcome_is_calibrated_by_tenths_of_the_probability() -> None:
    label, probability = np.repeat([1.0, 0.0], [20, 980]), np.repeat([0.95, 0.01], [20, 980])
    promised, share, _, _ = curves.compute_calibration(label, probability)
    assert promised.tolist() == pytest.approx([0.01, 0.95])
    assert share.tolist() == [0.0, 1.0]


def test_a_bend_that_few_of_very_many_points_make_is_kept() -> None:
    xs = np.concatenate([np.linspace(0, 1, 300), np.ones(70_000)])
    ys = np.concatenate([np.linspace(1, 0.5, 300), np.linspace(0.5, 0, 70_000)])
    thin, _ = charts._thin(xs, ys)
    assert ((thin > 0.1) & (thin < 0.9)).sum() > 50


# --- curves by hand


def test_the_gain_curve_counts_who_is_found_among_the_riskiest() -> None:
    label, probability = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.9, 0.8, 0.7, 0.1])
    xs, ys = curves.compute_gain(label, probability)
    assert (xs.tolist(), ys.tolist()) == ([0, 0.25, 0.5, 0.75, 1], [0, 0.5, 0.5, 1, 1])


def test_the_value_curve_pays_for_every_action_and_earns_by_those_who_would_leave() -> None:
    money = Economics(action_cost=10.0, averted_value=100.0, success_share=0.5)
    shares, values = curves.compute_value(np.array([1.0, 0.0]), np.array([0.9, 0.1]), money)
    assert (shares.tolist(), values.tolist()) == ([0, 0.5, 1], [0, 20.0, 15.0])


_MONEY = Economics(action_cost=10.0, averted_value=100.0, success_share=0.5)


@pytest.mark.parametrize("curve", [
    curves.compute_gain, curves.compute_calibration, lambda label, p: curves.compute_value(label, p, _MONEY),
], ids=["gain", "calibration", "value"])  # fmt: skip
def test_in_which_order_equally_probable_rows_are_stored_is_not_seen(curve: Any) -> None:
    label, probability = np.repeat([1.0, 0.0], [12, 28]), np.array([0.7, 0.7, 0.2, 0.2] * 10)
    backwards = curve(label[::-1], probability[::-1])
    for one, other in zip(curve(label, probability), backwards, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_calibration_has_wilsons_interval() -> None:
    promised, _, low, high = curves.compute_calibration(np.repeat([1.0, 0.0], [20, 80]), np.linspace(0.2, 0.2001, 100))
    assert promised.tolist() == pytest.approx([0.2] * 10, abs=1e-3)
    # Wilson (1927) for 10 of 10: 0.7225 to 1.
    assert (low[0], high[0]) == (pytest.approx(0.7225, abs=1e-4), pytest.approx(1.0))


def test_a_long_line_is_thinned_to_what_can_be_seen_and_keeps_its_ends() -> None:
    xs = np.linspace(0, 1, 50_000)
    thin, _ = charts._thin(xs, xs)
    assert len(thin) <= 200
    assert (thin[0], thin[-1]) == (0, 1)


def test_a_batch_too_small_for_any_test_of_drift_is_told_without_a_picture() -> None:
    page = build_page(replace(GIVEN, drift=GIVEN.drift.assign(psi=np.nan, status="too_few_rows")))
    (section,) = [section for section in page.sections if section.key == "drift"]
    assert not section.pictures
    assert len(section.grids[0].rows) == 3


def test_levels_beside_much_longer_bars_are_named_in_rows_of_their_own() -> None:
    def heights(longest: float) -> list[float]:
        svg = charts.levels(["a", "b"], [longest, 0.1], {"warning": 0.1, "alarm": 0.2}, "PSI")
        return [float(at) for at in re.findall(r'y="([\d.]+)"[^>]*>(?:warning|alarm) ', svg)]

    together, apart = heights(0.3), heights(1.0)
    assert len(together) == len(apart) == 2
    assert together[0] == together[1]
    assert abs(apart[0] - apart[1]) > 10


def test_the_legend_of_two_groups_lies_on_the_side_of_the_threshold_without_its_line() -> None:
    def side(mark: float) -> float:
        svg = charts.two_histograms({"stayed": np.full(5, 0.1), "left": np.full(5, 0.9)}, mark, "probability")
        (x,) = re.findall(r'x="([\d.]+)"[^>]*>stayed', svg)
        return float(x)

    assert side(0.7) < side(0.3)


def test_the_levels_of_drift_are_those_of_conf() -> None:
    said = render_outline()
    assert "Below 0.07 is usual" in said.text
    assert any("0.21" in picture and "alarm" in picture for picture in pictures(said))


def test_a_batch_too_small_for_any_test_of_drift_is_told_without_a_picture_of_it() -> None:
    few = GIVEN.drift.assign(psi=np.nan, p_adjusted=np.nan, status="too_few_rows", reason="Too few.")
    verdict = {"status": "not_assessable", "reason": "No column could be tested."}
    said = render_outline(replace(GIVEN, drift=few, drift_verdict=verdict))
    assert "No column could be tested." in said.text
    assert len(pictures(said)) == len(pictures(render_outline())) - 1


# --- what must be known before the numbers are believed


def make_source(*names: str) -> Source:
    return replace(SOURCE, files=pd.concat([files(name=name) for name in names], ignore_index=True))


def test_simulated_files_are_said_to_be_simulated_first_of_all_and_so_is_a_part_of_them() -> None:
    whole = build_page(
        replace(GIVEN, sources={"customers": make_source("customers_simulated.csv"), "outcomes": NO_SOURCE})
    )
    assert whole.summary[0].startswith("All data are simulated (file names that end in `_simulated` say so)")
    part = build_page(replace(GIVEN, sources={"customers": make_source("a/c_simulated.csv", "c_2025-01-31.csv")}))
    assert "simulated (file names that end in `_simulated` say so): 1 of 2 files of customers." in part.summary[0]
    assert not any("simulated" in text for text in build_page(GIVEN).summary)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("customers_simulated.csv", True),
        ("telemetry/telemetry_2015-01-01_simulated.parquet", True),
        ("customers_simulated.csv.gz", True),
        ("customers_simulated", True),
        ("customers.csv", False),
        ("customers_simulated/customers.csv", False),
        ("simulated_2025-01-31.csv", False),
    ],
)
def test_a_file_is_simulated_if_its_name_ends_so(name: str, expected: bool) -> None:
    assert is_simulated(name) is expected


def ingestion() -> IngestionSpec:
    return IngestionSpec(
        snapshot_pattern=r"(\d{4}-\d{2}-\d{2})",
        snapshot_default=date(2024, 12, 31),
        missing_words=(),
        tolerated_refused_share=0.2,
    )


def test_the_day_of_a_file_without_a_date_is_conf_s_and_the_day_of_machines_is_their_own() -> None:
    def day(use_case: Any, **names: str) -> str | None:
        return cautions.assumed_day(use_case, {table: files(name=name) for table, name in names.items()}, ingestion())

    assert day(CHURN, customers="customers.csv") == "2024-12-31"
    assert day(CHURN, customers="customers_2024-12-31.csv", outcomes="outcomes.csv") is None
    assert day(PREDICTIVE_MAINTENANCE, machines="machines.csv", telemetry="telemetry.csv") is None


def test_a_batch_whose_day_no_file_tells_is_never_as_of_that_day() -> None:
    data = replace(GIVEN, assumed_day="2025-01-31", drift_verdict=None)
    text = render_outline(data).text
    assert "300 customers were scored in batch 2025-01-31; 60 of them" in text
    assert "The day of batch 2025-01-31 is not known: its file has no date in its name, so snapshot_default" in text
    assert {tile.label: tile.note for tile in build_page(data).tiles}["Scored"] == "batch 2025-01-31, day unknown"
    assert "as of 2025-01-31" not in text
    assert "2025-03-02" not in text  # the end of a horizon that begins on that day
    assert "as of 2025-01-31" in render_outline(replace(GIVEN, assumed_day="2024-12-31")).text


def perfect(n_positives: int, **changed: float) -> pd.DataFrame:
    metrics = GIVEN.metrics.assign(n_positives=n_positives)
    return metrics.assign(
        value=[changed.get(name, value) for name, value in zip(metrics["metric"], metrics["value"], strict=True)]
    )


def test_perfect_scores_carry_a_caution_with_what_to_check() -> None:
    page = build_page(replace(GIVEN, metrics=perfect(7, roc_auc=0.99996, average_precision=1.0)))
    (caution,) = [text for text in page.summary if "don't rely on it yet" in text]
    assert caution == (
        "ROC-AUC and average precision of 1.000 on 7 customers who left within 30 days: don't rely on it yet. So few "
        "cases may be told apart by chance; wait for more. A column may hold the outcome already (a leak): check that "
        "each of the strongest features (tenure_months, contract) was known before the outcome, and that no row "
        "appears twice under different keys."
    )
    assert caution in list(page.steps)
    many = build_page(replace(GIVEN, metrics=perfect(300, f1=1.0))).summary
    assert any(text.startswith("F1 of 1.000 on 300 customers") and "by chance" not in text for text in many)
    assert not any("don't rely" in text for text in build_page(GIVEN).summary)


def test_a_batch_that_is_not_assessable_says_why_at_once_and_codes_are_words() -> None:
    few = GIVEN.drift.assign(psi=np.nan, p_adjusted=np.nan, status="too_few_rows", reason="Too few.")
    verdict = {"status": "not_assessable", "reason": "0 of 2 columns were tested; score: too few rows."}
    drifts = pd.DataFrame({"batch": ["2025-01-31"], "status": ["not_assessable"]})
    scored = pd.DataFrame({"batch": ["2025-01-31"], "n_rows": [300], "n_named": [60]})
    data = replace(GIVEN, drift=few, drift_verdict=verdict, drift_verdicts=drifts, batches=scored)
    text = render_outline(data).text
    assert "Change since training: not assessable. 0 of 2 columns were tested" in text
    assert not re.search(r"too_few_rows|not_assessable|missing_column|new_column", text)
    (section,) = [section for section in build_page(data).sections if section.key == "drift"]
    assert [row[1:4] for row in section.grids[0].rows] == [("–", "–", "too few rows")] * 3
    assert "whose customer was still present" in section.sentences[1]
