"""Drafted use cases live as those that were written by hand: here one of classes, with a file that arrives later."""

from __future__ import annotations

import csv
import random
import shutil
from pathlib import Path

import pytest
from checkouts import PROJECT, copied, shown
from deltalake import DeltaTable

# What the page of docs drafts has two outcomes: tests/e2e/test_pages.py runs it.
CLASSES = {"Très bon": "tres_bon", "O'kay": "o_kay", "2nd": "2nd"}


def write_wines(path: Path, n: int) -> dict[str, str]:
    """Wines whose alcohol predicts their quality, half of it by chance; and the quality of each."""
    draw = random.Random(0)
    truth = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["Wine", "alcohol %", "order", "soil", "Quality"])
        for number in range(n):
            quality = draw.choice(list(CLASSES))
            truth[f"W{number:04}"] = CLASSES[quality]
            alcohol = round(draw.gauss(10 + 2 * list(CLASSES).index(quality), 0.5), 2)
            outcome = "" if number % 10 == 0 else quality
            soil = draw.choice(["clay", "it's", 'the "best"', "NA"])
            writer.writerow([f"W{number:04}", alcohol, draw.choice(["NA", number % 7]), soil, outcome])
    return truth


@pytest.mark.slow
def test_a_drafted_choice_among_classes_lives_from_a_csv_to_scores_and_back(tmp_path: Path) -> None:
    checkout = copied(tmp_path / "project")
    truth = write_wines(tmp_path / "wines.csv", 600)
    output = shown(".venv/bin/kedro use-case new wines --from ../wines.csv --key Wine --label Quality", checkout)
    assert "Quality has 3 classes, known of 540 rows" in output
    # What the linters have found of the other files is known; from nothing it is most of this test.
    if (PROJECT / ".mypy_cache").is_dir():
        shutil.copytree(PROJECT / ".mypy_cache", checkout / ".mypy_cache")
    assert shown(".venv/bin/mypy", checkout).startswith("Success")
    assert "champion  version 1" in shown("make run USE_CASE=wines", checkout)
    scores = DeltaTable(checkout / "data/07_model_output/wines/score_rows").to_pyarrow_table().to_pandas()
    assert len(scores) == 600
    right = scores["outcome"] == scores["wine"].map(truth)
    assert right.mean() > 0.8
    each = scores[[f"probability_{name}" for name in CLASSES.values()]]
    assert (each.idxmax(axis=1) == "probability_" + scores["outcome"]).all()
    for edited, message in {
        "runs/summary.py": "every step was skipped",
        "use_cases/churn/features.py": "every step was skipped",
        "use_cases/wines/features.py": "no model was fitted",
    }.items():
        with (checkout / "src/lakehouse_ml" / edited).open("a", encoding="utf-8") as source:
            source.write("# a comment\n")
        assert message in shown("make run USE_CASE=wines", checkout), edited
    outcomes = checkout / "data/landing/wines/outcomes/2024-12-31.csv"
    outcomes.parent.mkdir()
    outcomes.write_text("Wine;Quality\nW0000;2nd\nW0010;O'kay\nW0020;rosé\n", encoding="utf-8")
    assert "outcomes: 2 clean, 1 quarantined" in shown("make run USE_CASE=wines", checkout)


def write_visits(path: Path, n: int) -> dict[str, float]:
    """Visits as strangers export them: no id, amounts in euros, odd cells, and labels that are code somewhere else.

    Returns:
        The amount of each row, by file and line; rows without one are left out.
    """
    draw = random.Random(1)
    spent = {}
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["", "Spent", "On", "Bought"])
        for number in range(n):
            amount = round(draw.gauss(1500, 400), 2)
            text = f"{amount:,.2f} €".translate(str.maketrans(",.", ".,"))
            bought = "${globals:lake}" if amount + draw.gauss(0, 200) > 1700 else "now (later)"
            odd = {3: "unknown", 5: "?", 7: ""}.get(number)
            if odd is None:
                spent[f"visits.csv:{number + 2}"] = amount
            outcome = "N/A" if number % 10 == 0 else bought
            writer.writerow([number, text if odd is None else odd, f"{number % 28 + 1:02}.01.2024", outcome])
        writer.writerow(["a line", "too short"])
    return spent


@pytest.mark.slow
def test_a_strangers_table_without_an_id_lands_as_its_draft_said(tmp_path: Path) -> None:
    checkout = copied(tmp_path / "project")
    spent = write_visits(tmp_path / "visits.csv", 600)
    output = shown(
        ".venv/bin/kedro use-case new visits2 --from ../visits.csv --label Bought --positive '${globals:lake}'",
        checkout,
    )
    for sentence in (
        "1 of 601 records will be refused when the file lands: line 602 has 2 fields instead of 4.",
        "Bought is unknown in 60 rows: 60 say 'N/A'",
        "file and line are the key: row_id, such as visits.csv:2.",
        "Spent: 597 of 598 values are numbers; 'unknown' in line 5 is read as missing.",
        "Left out: column_1 numbers the rows of the file.",
    ):
        assert sentence in output
    outcomes = checkout / "data/landing/visits2/outcomes/2024-12-31.csv"
    outcomes.parent.mkdir()
    rows = [f"visits.csv:{line};${{globals:lake}}" for line in (2, 22, 32, 42, 52)]
    outcomes.write_text("\n".join(["row_id;Bought", *rows, "visits.csv:12;n/a", ""]), encoding="utf-8")
    summary = shown("make run USE_CASE=visits2", checkout)
    assert "rows: 601 rows in 1 file, 1 of them refused" in summary
    assert "champion  version 1" in summary
    features = DeltaTable(checkout / "data/04_feature/visits2/feature_rows").to_pyarrow_table().to_pandas()
    assert features.set_index("row_id")["spent"].dropna().to_dict() == spent
    assert len(features) == 600
    labels = DeltaTable(checkout / "data/04_feature/visits2/label_rows").to_pyarrow_table().to_pandas()
    assert len(labels) == 545
    assert labels.set_index("row_id").label["visits.csv:2"] == 1


@pytest.mark.slow
def test_a_draft_without_files_says_what_to_do(tmp_path: Path) -> None:
    checkout = copied(tmp_path / "project")
    write_wines(tmp_path / "wines.csv", 200)
    shown(".venv/bin/kedro use-case new wines --from ../wines.csv --key Wine --label Quality", checkout)
    (checkout / "data/landing/wines/wines.csv").unlink()
    output = shown("make run USE_CASE=wines 2>&1 || true", checkout)
    assert "wines has no generated sample yet. Put files into it" in output
    assert "Traceback" not in output


def test_the_list_of_use_cases_is_one_that_the_command_can_add_to() -> None:
    from lakehouse_ml.tooling.drafting.project import add_to_listing

    listing = PROJECT / "src/lakehouse_ml/use_cases/__init__.py"
    assert "WINES)" in add_to_listing(listing.read_text(encoding="utf-8"), "wines")
