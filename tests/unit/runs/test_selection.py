"""Names that a run selects are checked, with the nearest known one; use cases without data are left out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from kedro.pipeline import Node, Pipeline

from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.runs import selection
from lakehouse_ml.use_cases import USE_CASES


def same(x: Any) -> Any:
    return x


PIPELINE = Pipeline([Node(same, "x", "score_customers", name="score_rows", tags=["nightly"])], namespace="a.b")


@pytest.mark.parametrize(
    ("selected", "sentence"),
    [
        ({"node_names": ["score_row"]}, "--nodes: no node is named 'score_row'. Did you mean a.b.score_rows?"),
        ({"from_nodes": ["zzz"]}, "--from-nodes: no node is named 'zzz'. Known: a.b.score_rows."),
        ({"to_nodes": ["zzz"]}, "--to-nodes: no node is named 'zzz'. Known: a.b.score_rows."),
        ({"from_inputs": ["y"]}, "--from-inputs: no dataset is named 'y'. Known: a.b.score_customers, a.b.x."),
        (
            {"to_outputs": ["score_customer"]},
            "--to-outputs: no dataset is named 'score_customer'. Did you mean a.b.score_",
        ),
        ({"tags": ["nightlY"]}, "--tags: no tag is named 'nightlY'. Did you mean nightly?"),
        ({"namespaces": ["a.c"]}, "--namespaces: no namespace is named 'a.c'. Did you mean a.b?"),
    ],
)
def test_an_unknown_name_is_refused_with_its_option_and_the_nearest(selected: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LakehouseError) as refused:
        selection.check_selection(selected, PIPELINE)
    assert str(refused.value).startswith(sentence)


def test_known_names_pass() -> None:
    selected = {
        "node_names": ["a.b.score_rows"],
        "tags": ["nightly"],
        "namespaces": ["a", "a.b"],
        "from_nodes": None,
        "to_outputs": ["a.b.score_customers"],
    }
    selection.check_selection(selected, PIPELINE)


def catalog_conf(folder: Path) -> dict[str, Any]:
    """Landing tables of every use case, in a folder each, none of them optional but outcomes."""
    return {
        f"{use_case.name}.landing_{table}": {
            "type": "lakehouse_ml.datasets.landing_files.LandingFiles",
            "filepath": str(folder / use_case.name),
            "files": f"{table}*.csv",
            "manifest": str(folder / "lake" / use_case.name / f"manifest_{table}"),
            "optional": table == "outcomes",
        }
        for use_case in USE_CASES
        for table in use_case.sources
    }


def test_a_use_case_without_files_is_left_out_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "churn").mkdir()
    (tmp_path / "churn" / "customers.csv").touch()
    with caplog.at_level(logging.WARNING):
        assert selection.select_use_cases(catalog_conf(tmp_path), USE_CASES) == ["churn"]
    assert "Left out: predictive_maintenance, for no file of" in caplog.text


def test_without_any_files_nothing_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert selection.select_use_cases(catalog_conf(tmp_path), USE_CASES) == [use_case.name for use_case in USE_CASES]
    assert caplog.text == ""


def test_a_use_case_that_was_read_before_stays_without_its_files(tmp_path: Path) -> None:
    import pandas as pd

    from lakehouse_ml.datasets.delta_table import DeltaTable

    manifest = catalog_conf(tmp_path)["churn.landing_customers"]["manifest"]
    DeltaTable(filepath=manifest).save(pd.DataFrame({"source_file": ["a.csv"]}))
    assert selection.select_use_cases(catalog_conf(tmp_path), USE_CASES) == ["churn"]
