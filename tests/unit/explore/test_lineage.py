"""A score is traced to the files that it was made of, through every version between."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DataCatalog

from lakehouse_ml.datasets.clock import Clock
from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.datasets.landing_files import LandingFiles
from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.explore.lineage import trace_table
from lakehouse_ml.storage.provenance import attach_provenance, describe, set_run
from lakehouse_ml.storage.writes import ReplaceBatch


@pytest.fixture
def cellar(tmp_path: Path) -> DataCatalog:
    """Two files came one after the other; after each, all wines were tasted anew and those of its day scored."""
    names = ("raw_wine", "clean_wine", "score_wine", "manifest")
    tables = {name: DeltaTable(filepath=str(tmp_path / name), frame="pandas") for name in names}
    landing = LandingFiles(filepath=str(tmp_path / "landing"), manifest=str(tmp_path / "manifest"))
    catalog = DataCatalog({**tables, "landing_wine": landing, "clock": Clock()})
    set_run("run-1", "0123456789abcdef0123456789abcdef01234567-dirty")
    for number, day in enumerate(("monday", "tuesday")):
        file = f"{day}.csv"
        save_output(catalog, "keep", ["landing_wine", "clock"], "raw_wine", part(file, number))
        save_output(catalog, "clean", ["raw_wine"], "clean_wine", pd.DataFrame({"n": range(number + 1)}))
        save_output(catalog, "score", ["clean_wine", "params:score"], "score_wine", part(day, number))
        read = {"source_file": [file], "file_sha256": [day * 9], "landing": ["/landing"]}
        tables["manifest"].save(pd.DataFrame(read))
    set_run(None, None)
    return catalog


def part(name: str, number: int) -> ReplaceBatch:
    return ReplaceBatch(pd.DataFrame({"part": [name], "n": [number]}), "part", (name,))


def save_output(catalog: DataCatalog, node: str, inputs: list[str], output: str, data: object) -> None:
    """Save as the runner lets a node save; what has no token is a parameter or a folder."""
    tokens = {name: catalog[name].token() if hasattr(catalog.get(name), "_path") else "" for name in inputs}
    with attach_provenance(describe(node, {name: token or "x" * (name != "clock") for name, token in tokens.items()})):
        catalog.save(output, data)


def trace_without_times(catalog: DataCatalog, name: str, at: str | None = None) -> list[str]:
    """Lines without the time at which they were made."""
    return [
        line if " UTC" not in line else line[: line.index("made ") + 4] + line[line.index(" UTC") + 4 :]
        for line in trace_table(catalog, name, at)
    ]


BY = "run run-1, git 0123456789abcdef0123456789abcdef01234567-dirty"


def test_a_batch_of_scores_is_walked_back_to_its_files(cellar: DataCatalog) -> None:
    assert trace_without_times(cellar, "score_wine", "monday") == [
        "score_wine v0, batch monday",
        f"  v0 made, by score, {BY}",
        "    holds monday",
        "    with parameters score",
        "    of clean_wine v0",
        f"      v0 made, by clean, {BY}",
        "        of raw_wine v0",
        f"          v0 made, by keep, {BY}",
        "            of file monday.csv of /landing",
    ]


def test_a_table_of_many_batches_is_walked_back_through_all_that_are_in_it(cellar: DataCatalog) -> None:
    lines = trace_without_times(cellar, "score_wine")
    assert [line.strip() for line in lines if " file " in line] == [
        "of file tuesday.csv of /landing, SHA-256 tuesdaytuesdaytu… as it was read last",
        "of file monday.csv of /landing",
    ]
    assert "    of clean_wine v1" in lines
    assert "    of clean_wine v0" in lines


def test_an_older_version_names_nothing_that_came_later(cellar: DataCatalog) -> None:
    assert [line for line in trace_without_times(cellar, "raw_wine", "0") if "tuesday" in line or "v1" in line] == []


def test_what_was_told_once_is_not_told_again(cellar: DataCatalog) -> None:
    save_output(cellar, "score", ["clean_wine", "params:score"], "score_wine", part("sunday", 9))
    lines = trace_without_times(cellar, "score_wine")
    assert lines.count("    of clean_wine v1") == 1
    assert lines.count("    of clean_wine v1, see above") == 1


def test_a_restored_version_is_of_what_it_was_made_of(cellar: DataCatalog) -> None:
    cellar.get("clean_wine").restore(0)  # type: ignore[union-attr]
    assert trace_without_times(cellar, "clean_wine")[1:3] == [f"  v0 made, by clean, {BY}", "    of raw_wine v0"]


def test_a_table_that_was_made_anew_is_not_taken_for_the_one_that_was_read(cellar: DataCatalog) -> None:
    import shutil

    table = cellar["clean_wine"]
    shutil.rmtree(table.address)
    table.save(pd.DataFrame({"n": [7]}))
    assert "      of a table that was removed since" in trace_without_times(cellar, "score_wine")
    assert trace_without_times(cellar, "clean_wine")[1] == "  v0 made, by somebody who didn't say of what"


@pytest.mark.parametrize(("name", "at"), [("score_wine", "sunday"), ("score_wine", "7")])
def test_what_is_not_there_is_named_beside_what_is(cellar: DataCatalog, name: str, at: str) -> None:
    with pytest.raises(LakehouseError, match=rf"has no \w+ {at}; its newest version is 1, which holds monday, tuesday"):
        list(trace_table(cellar, name, at))


@pytest.mark.parametrize("name", ["clock", "score_beer"])
def test_what_is_no_table_is_refused_by_name(cellar: DataCatalog, name: str) -> None:
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(Path(__file__).resolve().parents[3])
    with pytest.raises(LakehouseError, match=f"This lake has no table named '{name}'. There are none."):
        list(trace_table(cellar, name))
