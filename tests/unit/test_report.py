"""The report: every table told in words and pictures, on one page that needs nothing else and runs nothing."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from lakehouse_ml.models import ModelCard, Standing
from lakehouse_ml.pipelines.evaluation.metrics import METRICS, Economics, classification_metrics
from lakehouse_ml.report import charts, sections
from lakehouse_ml.report.page import render
from lakehouse_ml.report.sections import Material, Source, page
from lakehouse_ml.use_cases.churn import CHURN

HOSTILE = "<script>alert('x')</script> =1+1 $\\frac{1}{2}$"
RNG = np.random.default_rng(0)
N = 400
LABEL = (RNG.random(N) < 0.3).astype(int)
SURE = np.clip(0.25 + 0.4 * LABEL + RNG.normal(0, 0.15, N), 0.01, 0.99)
GUESS = np.clip(RNG.random(N), 0.01, 0.99)


def card() -> ModelCard:
    return ModelCard(
        estimator="logistic_regression", params={"C": 1.0}, categorical=("contract",), numeric=("tenure_months",),
        threshold=0.4, baseline={}, reference={}, unseen={},
        importance={"tenure_months": 0.2, "contract": 0.1}, metrics={},
    )  # fmt: skip


def files(n_lines: int = 500, refused: int = 0, name: str = "customers.csv") -> pd.DataFrame:
    return pd.DataFrame(
        [{"source_file": name, "file_sha256": "ab" * 32, "n_lines": n_lines, "n_quarantined": refused,
          "ingested_at": pd.Timestamp("2025-01-31T06:00Z")}]
    )  # fmt: skip


def rules(outcome: str = "ok", n_failed: int = 0, examples: tuple[dict[str, Any], ...] = ()) -> pd.DataFrame:
    return pd.DataFrame(
        [{"rule": "tenure_is_known", "predicate": "tenure_months between 0 and 1200", "outcome": outcome,
          "n_failed": n_failed, "failed_share": n_failed / 500, "n_rows": 500, "n_clean": 500 - n_failed,
          "n_quarantined": n_failed, "examples": json.dumps(list(examples))}]
    )  # fmt: skip


def columns() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"column": "tenure_months", "type": "int", "null_share": 0.0, "n_distinct": 72, "min": 0.0, "max": 72.0,
             "mean": 32.4, "p50": 29.0, "top_values": "[]"},
            {"column": "contract", "type": "string", "null_share": 0.1, "n_distinct": 3, "min": np.nan, "max": np.nan,
             "mean": np.nan, "p50": np.nan, "top_values": json.dumps([[HOSTILE, 3], [None, 1]])},
        ]
    )  # fmt: skip


def measured(*models: tuple[str, np.ndarray]) -> pd.DataFrame:
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
    return {"version": "2", "incumbent_version": incumbent, "decision": decision, "reason": f"Because {HOSTILE}.",
            "detectable": detectable}  # fmt: skip


NO_LINES = pd.DataFrame(columns=["source_file", "line_number", "line_text", "problems"])
SOURCE = Source(files(), NO_LINES, columns(), rules())
NO_SOURCE = Source(files().head(0), NO_LINES, columns().head(0), rules().head(0))
GIVEN = Material(
    words=CHURN.wording,
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
    metrics=measured(("candidate", SURE)),
    verdict=verdict(),
    standing=Standing("2", "2", "approve", "better"),
    economics=Economics(action_cost=20.0, averted_value=400.0, success_share=0.3),
    batch=("2025-01-31", 300, 60),
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


def read(given: Material = GIVEN) -> Outline:
    return Outline(render(page(given)))


def pictures(outline: Outline) -> list[str]:
    return [base64.b64decode((image["src"] or "").split(",", 1)[1]).decode() for image in outline.all("img")]


# --- one page, that needs nothing else and runs nothing


def test_the_page_needs_no_other_file_and_runs_nothing() -> None:
    outline = read()
    assert {"script", "link", "iframe", "object"} & {tag for tag, _ in outline.tags} == set()
    assert all((image["src"] or "").startswith("data:image/svg+xml;base64,") for image in outline.all("img"))
    assert all((link["href"] or "").startswith("#") for link in outline.all("a"))
    (policy,) = [tag["content"] for tag in outline.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_texts_from_data_are_shown_and_never_live() -> None:
    html = render(page(GIVEN))
    assert "<script" not in html
    assert "&lt;script&gt;alert(" in html
    assert HOSTILE in Outline(html).text
    assert all("<script" not in picture for picture in pictures(Outline(html)))


def test_every_picture_is_an_svg_with_colours_for_light_and_dark_and_words_for_who_cannot_see_it() -> None:
    outline = read()
    assert len(outline.all("img")) == 9
    assert all(len(image["alt"] or "") > 20 for image in outline.all("img"))
    assert len(outline.all("figcaption")) == len(outline.all("img"))
    for picture in pictures(outline):
        ElementTree.fromstring(picture)
        assert "prefers-color-scheme: dark" in picture
        assert not re.search(r"#0[0-9a-f]0[0-9a-f]0[0-9a-f]", picture)


def test_headings_links_and_tables_tell_their_structure() -> None:
    outline = read()
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {(link["href"] or "")[1:] for link in outline.all("a")} <= set(ids)
    assert len(outline.all("h1")) == 1
    assert len(outline.all("caption")) == len(outline.all("table"))
    assert all(head.get("scope") in ("col", "row") for head in outline.all("th"))
    assert outline.all("html")[0]["lang"] == "en"


def test_the_same_tables_give_the_same_page() -> None:
    assert render(page(GIVEN)) == render(page(GIVEN))


# --- what it says


def test_the_summary_says_in_words_what_was_read_found_decided_and_scored() -> None:
    told = read().text
    assert "500 rows of customers were read from 1 file: 500 are clean, 0 were set aside." in told
    assert re.search(r"Of customers who leave, the new model \(version 2\) finds \d+ of 100", told)
    assert "Version 2 was promoted to champion." in told
    assert "300 customers were scored as of 2025-01-31; 60 of them reach the threshold of" in told
    assert "Change since training: an alarm." in told


@pytest.mark.parametrize(
    ("decision", "champion", "expected"),
    [
        ("refuse", "1", "Version 2 was refused; version 1 stays champion."),
        ("refuse", None, "Version 2 was refused; nobody scores."),
        ("request", None, "Version 2 may be promoted as soon as somebody approves."),
    ],
)
def test_each_verdict_has_its_sentence(decision: str, champion: str | None, expected: str) -> None:
    told = read(replace(GIVEN, verdict=verdict(decision), standing=Standing(champion))).text
    assert expected in told


def test_lines_that_could_not_be_read_are_shown_with_what_is_wrong() -> None:
    line = {"source_file": "c.csv", "line_number": 7, "line_text": f"A;{HOSTILE}",
            "problems": [{"column": "tenure_months", "text": "x", "reason": "is no whole number"}]}  # fmt: skip
    source = replace(SOURCE, files=files(refused=1), refused=pd.DataFrame([line]))
    told = read(replace(GIVEN, sources={"customers": source})).text
    assert "tenure_months: is no whole number" in told
    assert "1 line of customers could not be read" in told
    assert f"A;{HOSTILE}" in told


def test_rows_that_break_a_rule_are_counted_shown_and_asked_about() -> None:
    example = {"customer_id": HOSTILE, "tenure_months": -4, "source_file": "c.csv", "line_number": 9}
    source = replace(SOURCE, rules=rules("dropped", 12, (example,)))
    told = read(replace(GIVEN, sources={"customers": source})).text
    assert "12 rows of customers break the rule tenure_is_known and are in quarantine_customers" in told
    assert "1 of 1 rules were broken" in told
    assert "examples of rows that break tenure_is_known" in told
    assert "-4" in told


def test_two_contenders_are_set_beside_each_other_with_the_smallest_gain_that_could_be_seen() -> None:
    contested = replace(
        GIVEN,
        holdout=holdout(GUESS),
        metrics=measured(("candidate", SURE), ("incumbent", GUESS)),
        verdict=verdict("approve", "1", 0.031),
    )
    outline = read(contested)
    assert "version 1, champion before" in outline.text
    assert "could have seen is about 0.031" in outline.text
    assert any("version 1 (before)" in picture for picture in pictures(outline))


def test_right_and_wrong_at_the_threshold_add_up_to_the_held_out_rows() -> None:
    told = read().text
    found, missed, false, right = (
        int(re.search(rf"(\d+) {word}", told).group(1))  # type: ignore[union-attr]
        for word in ("found\n", "missed", "false alarms", "rightly left alone")
    )
    assert (found + missed, false + right) == (LABEL.sum(), N - LABEL.sum())
    assert found == int((SURE[LABEL == 1] >= 0.4).sum())


def test_what_is_not_there_yet_is_said_and_nothing_breaks() -> None:
    bare = replace(
        GIVEN, holdout=holdout().head(0), metrics=GIVEN.metrics.head(0), batch=(None, 0, 0),
        actions=GIVEN.actions.head(0), drift=GIVEN.drift.head(0), drift_verdict=None, verdict=verdict("refuse"),
        standing=Standing(None),
    )  # fmt: skip
    told = read(bare).text
    for sentence in ("No file of outcomes has arrived", "Nothing is scored yet", "nothing can have changed",
                     "Without both outcomes there is nothing to draw"):  # fmt: skip
        assert sentence in told


def test_outcomes_that_came_later_are_told_batch_by_batch() -> None:
    live = pd.DataFrame([{"batch": "2024-12-31", "model_version": "1", "n_rows": 90, "n_positives": 20,
                          "precision": 0.5, "recall": 0.6, "f1": 0.55, "roc_auc": 0.8}])  # fmt: skip
    told = read(replace(GIVEN, live=live)).text
    assert "Live metrics" in told
    assert "0.550" in told
    assert "land those outcomes" not in told


# --- curves by hand


def test_the_gain_curve_counts_who_is_found_among_the_riskiest() -> None:
    label, probability = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.9, 0.8, 0.7, 0.1])
    xs, ys = sections._gain(label, probability)
    assert (xs.tolist(), ys.tolist()) == ([0, 0.25, 0.5, 0.75, 1], [0, 0.5, 0.5, 1, 1])


def test_the_value_curve_pays_for_every_action_and_earns_by_those_who_would_leave() -> None:
    money = Economics(action_cost=10.0, averted_value=100.0, success_share=0.5)
    shares, values = sections._value_curve(np.array([1.0, 0.0]), np.array([0.9, 0.1]), money)
    assert (shares.tolist(), values.tolist()) == ([0, 0.5, 1], [0, 20.0, 15.0])


def test_calibration_has_wilsons_interval() -> None:
    promised, _, low, high = sections._calibrated(np.repeat([1.0, 0.0], [20, 80]), np.repeat(0.2, 100))
    assert promised.tolist() == pytest.approx([0.2] * 10)
    # Wilson (1927) for 10 of 10: 0.7225 to 1.
    assert (low[0], high[0]) == (pytest.approx(0.7225, abs=1e-4), pytest.approx(1.0))


def test_a_long_line_is_thinned_to_what_can_be_seen_and_keeps_its_ends() -> None:
    xs = np.linspace(0, 1, 50_000)
    thin, _ = charts._thinned(xs, xs)
    assert len(thin) <= 200
    assert (thin[0], thin[-1]) == (0, 1)


def test_the_levels_of_drift_are_those_of_conf() -> None:
    said = read()
    assert "Below 0.07 is usual" in said.text
    assert any("0.21" in picture and "alarm" in picture for picture in pictures(said))


def test_a_batch_too_small_for_any_test_of_drift_is_told_without_a_picture_of_it() -> None:
    few = GIVEN.drift.assign(psi=np.nan, p_adjusted=np.nan, status="too_few_rows", reason="Too few.")
    verdict = {"status": "not_assessable", "reason": "No column could be tested."}
    said = read(replace(GIVEN, drift=few, drift_verdict=verdict))
    assert "No column could be tested." in said.text
    assert len(pictures(said)) == len(pictures(read())) - 1
