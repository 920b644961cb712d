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
    """Wines whose alcohol tells their quality, half of it but for chance; and the quality of each."""
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
            known = "" if number % 10 == 0 else quality
            soil = draw.choice(["clay", "it's", 'the "best"', "NA"])
            writer.writerow([f"W{number:04}", alcohol, draw.choice(["NA", number % 7]), soil, known])
    return truth


@pytest.mark.slow
def test_a_drafted_choice_among_classes_lives_from_a_csv_to_scores_and_back(tmp_path: Path) -> None:
    checkout = copied(tmp_path / "project")
    truth = write_wines(tmp_path / "wines.csv", 600)
    told = shown(".venv/bin/kedro use-case new wines --from ../wines.csv --key Wine --label Quality", checkout)
    assert "Quality has 3 classes, known of 540 rows" in told
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
    outcomes = checkout / "data/landing/wines/outcomes/2024-12-31.csv"
    outcomes.parent.mkdir()
    outcomes.write_text("Wine;Quality\nW0000;2nd\nW0010;O'kay\nW0020;rosé\n", encoding="utf-8")
    assert "outcomes: 2 clean, 1 quarantined" in shown("make run USE_CASE=wines", checkout)


@pytest.mark.slow
def test_a_draft_without_files_says_what_to_do(tmp_path: Path) -> None:
    checkout = copied(tmp_path / "project")
    write_wines(tmp_path / "wines.csv", 200)
    shown(".venv/bin/kedro use-case new wines --from ../wines.csv --key Wine --label Quality", checkout)
    (checkout / "data/landing/wines/wines.csv").unlink()
    said = shown("make run USE_CASE=wines 2>&1 || true", checkout)
    assert "wines has no generated sample yet. Put files into it" in said
    assert "Traceback" not in said


def test_the_list_of_use_cases_is_one_that_the_command_can_add_to() -> None:
    from lakehouse_ml.drafting.project import with_use_case

    listing = PROJECT / "src/lakehouse_ml/use_cases/__init__.py"
    assert "WINES)" in with_use_case(listing.read_text(encoding="utf-8"), "wines")
