"""What every stored table promises, whoever hands it the rows: the engine or a pandas frame."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import deltalake
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from kedro.io import DatasetError

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.errors import TableError, find
from lakehouse_ml.storage.delta.delta_rs import DeltaRsWriter, stream_batches
from lakehouse_ml.storage.delta.writers import Layout, WritePlan, normalise_schema
from lakehouse_ml.storage.provenance import Provenance, attach_provenance
from lakehouse_ml.storage.writes import IdempotentAppend, ReplaceBatch
from lakehouse_ml.use_cases.contracts import Column, Table

Row = tuple[str | None, int | None, float | None]

NAMES = ["part", "id", "value"]
DDL = "part string, id bigint, value double"
TYPES = pa.schema([("part", pa.string()), ("id", pa.int64()), ("value", pa.float64())])
EVERY_TYPE = (
    "k string, at timestamp, day date, n int, big bigint, x double, ok boolean, price decimal(10,2), "
    "tags array<string>, reasons array<struct<feature:string,value:string,effect:double>>, "
    "place struct<row:int,name:string>"
)


@dataclass(frozen=True)
class Lake:
    """Tables under a folder, written and read by one kind of frame."""

    kind: Literal["spark", "pandas", "schema"]
    folder: Path
    spark: Any

    def table(self, name: str = "table", **how: Any) -> DeltaTable:
        if self.kind == "schema":
            return DeltaTable(filepath=f"spark_catalog.{self.folder.name}.{name}", kind="schema", **how)
        return DeltaTable(filepath=str(self.folder / name), frame=self.kind, **how)

    def frame(self, *rows: Row) -> Any:
        if self.kind != "pandas":
            return of_engine(self.spark, *rows)
        return pd.DataFrame(list(rows), columns=NAMES).astype({"id": "Int64", "value": "float64"})

    def remove(self, table: DeltaTable) -> None:
        if self.kind == "schema":
            self.spark.sql(f"DROP TABLE {table.address}")
        else:
            shutil.rmtree(table.address)

    def batch(self, *rows: Row, values: tuple[str, ...]) -> ReplaceBatch:
        return ReplaceBatch(self.frame(*rows), "part", values)


def of_engine(spark: Any, *rows: Row) -> Any:
    """Rows that a JVM has at hand: of a list of tuples each use would ask a Python worker for them."""
    columns = [pa.array([row[at] for row in rows], field.type) for at, field in enumerate(TYPES)]
    return spark.createDataFrame(pa.Table.from_arrays(columns, schema=TYPES), DDL)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """On Sail delta-rs commits, to paths; Apache Spark commits itself, to paths and under names of its catalog."""
    if "lake" in metafunc.fixturenames:
        kinds = {"sail": ["spark", "pandas"], "spark": ["spark", "schema"]}[metafunc.config.getoption("engine")]
        metafunc.parametrize("lake", kinds, indirect=True)


@pytest.fixture
def lake(request: pytest.FixtureRequest, spark: Any, tmp_path: Path) -> Iterator[Lake]:
    new_lake = Lake(request.param, tmp_path, spark)
    if new_lake.kind != "schema":
        yield new_lake
        return
    named = re.sub(r"\W", "_", tmp_path.name)
    spark.sql(f"CREATE SCHEMA {named} LOCATION '{tmp_path}'")
    yield replace(new_lake, folder=tmp_path.with_name(named))
    spark.sql(f"DROP SCHEMA {named} CASCADE")


@pytest.fixture
def numbers(tmp_path: Path) -> DeltaTable:
    """A table of one column, two versions old."""
    table = DeltaTable(filepath=str(tmp_path / "numbers"), frame="pandas")
    table.save(pd.DataFrame({"n": [1]}))
    table.save(pd.DataFrame({"n": [2]}))
    return table


def stored(table: DeltaTable) -> list[Row]:
    """All rows, in order; nothing is None, however the frame spells it."""
    loaded = table.load()
    if hasattr(loaded, "collect"):
        rows = [tuple(row) for row in loaded.collect()]
    else:
        rows = list(loaded.astype(object).where(loaded.notna(), None).itertuples(index=False, name=None))
    return sorted(rows, key=lambda row: [(value is not None, value) for value in row])


def refused(act: Callable[..., object], *arguments: Any) -> str:
    """The sentence in which an attempt ends."""
    with pytest.raises((DatasetError, TableError)) as caught:
        act(*arguments)
    sentence = find(caught.value)
    assert isinstance(sentence, TableError)
    return str(sentence)


def made_with(fingerprint: str, table: DeltaTable, data: Any) -> None:
    """Save as the runner lets a node save."""
    with attach_provenance(Provenance("node", {}, fingerprint)):
        table.save(data)


# --- overwrite and append


def test_overwriting_leaves_the_new_rows_only(lake: Lake) -> None:
    table = lake.table()
    table.save(lake.frame(("a", 1, 1.0), ("b", 2, None)))
    assert stored(table) == [("a", 1, 1.0), ("b", 2, None)]

    table.save(lake.frame(("c", 3, 3.0)))

    assert stored(table) == [("c", 3, 3.0)]


def test_an_overwritten_table_may_get_other_columns(lake: Lake, spark: Any) -> None:
    table = lake.table()
    table.save(lake.frame(("a", 1, 1.0)))

    table.save(pd.DataFrame({"id": ["x"], "extra": [True]}))

    assert stored(table) == [("x", True)]


def test_appending_keeps_what_was_there(lake: Lake) -> None:
    table = lake.table(mode="append")

    table.save(lake.frame(("a", 1, 1.0)))
    table.save(lake.frame(("a", 1, 1.0)))

    assert stored(table) == [("a", 1, 1.0), ("a", 1, 1.0)]


def test_a_frame_without_rows_keeps_its_columns(lake: Lake) -> None:
    table = lake.table()

    table.save(lake.frame())

    assert stored(table) == []
    assert list(table.load().columns) == NAMES


# --- replacing a batch


def test_a_batch_takes_the_place_of_its_own_rows_and_of_no_others(lake: Lake) -> None:
    table = lake.table()
    table.save(lake.batch(("a", 1, 1.0), ("a", 2, 2.0), values=("a",)))
    table.save(lake.batch(("b", 3, 3.0), values=("b",)))

    table.save(lake.batch(("a", 9, None), values=("a",)))

    assert stored(table) == [("a", 9, None), ("b", 3, 3.0)]


def test_a_batch_written_twice_is_there_once(lake: Lake) -> None:
    table = lake.table()
    for _ in range(2):
        table.save(lake.batch(("a", 1, 1.0), ("b", 2, 2.0), values=("a", "b")))

    assert stored(table) == [("a", 1, 1.0), ("b", 2, 2.0)]


@pytest.mark.parametrize("stranger", ["b", None])
def test_rows_outside_the_batch_are_refused_and_nothing_is_written(lake: Lake, stranger: str | None) -> None:
    table = lake.table()
    table.save(lake.batch(("a", 1, 1.0), values=("a",)))
    token_before = table.token()

    sentence = refused(table.save, lake.batch(("a", 5, 5.0), (stranger, 6, 6.0), values=("a",)))

    assert sentence.startswith("1 rows lie outside the batch part IN ('a')")
    assert (table.token(), stored(table)) == (token_before, [("a", 1, 1.0)])


def test_rows_outside_a_first_batch_are_refused_too(lake: Lake) -> None:
    table = lake.table()

    refused(table.save, lake.batch(("b", 1, 1.0), values=("a",)))

    assert not table.exists()


def test_a_batch_whose_rows_all_lack_its_column_is_refused_in_a_sentence(lake: Lake) -> None:
    table = lake.table()

    assert refused(table.save, lake.batch((None, 1, 1.0), values=("a",))).startswith("1 rows lie outside")


def test_an_empty_batch_with_values_removes_their_rows(lake: Lake) -> None:
    table = lake.table()
    table.save(lake.frame(("a", 1, 1.0), ("b", 2, 2.0), ("c", 3, 3.0)))

    table.save(lake.batch(values=("a", "c")))

    assert stored(table) == [("b", 2, 2.0)]


def test_a_batch_without_values_leaves_every_row_as_it_is(lake: Lake) -> None:
    table = lake.table()
    table.save(lake.batch(("a", 1, 1.0), values=("a",)))

    table.save(lake.batch(values=()))

    assert stored(table) == [("a", 1, 1.0)]


def test_a_batch_without_values_creates_a_missing_table(lake: Lake) -> None:
    table = lake.table()

    table.save(lake.batch(values=()))

    assert table.exists()
    assert stored(table) == []
    assert list(table.load().columns) == NAMES


def test_a_batch_without_a_frame_creates_nothing(lake: Lake) -> None:
    table = lake.table()

    table.save(ReplaceBatch(None, "part", ()))

    assert not table.exists()


def test_quotes_in_a_batch_name_are_text(lake: Lake) -> None:
    table = lake.table()
    table.save(lake.batch(("O'Neill.csv", 1, 1.0), values=("O'Neill.csv",)))
    table.save(lake.batch(("x') OR ('1'='1", 2, 2.0), values=("x') OR ('1'='1",)))

    table.save(lake.batch(("O'Neill.csv", 3, 3.0), values=("O'Neill.csv",)))

    assert stored(table) == [("O'Neill.csv", 3, 3.0), ("x') OR ('1'='1", 2, 2.0)]


def test_a_computation_that_fails_midway_leaves_the_table_as_it_was(
    lake: Lake, spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = lake.table()
    table.save(lake.batch(("a", 1, 1.0), values=("a",)))
    token_before = table.token()
    (lake.folder / "staging").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(lake.folder / "staging"))
    broken = spark.range(100).selectExpr("'a' AS part", "id", "IF(id < 99, 1.0D, raise_error('broken')) AS value")

    with pytest.raises(DatasetError, match="broken"):
        table.save(ReplaceBatch(broken, "part", ("a",)))

    assert (table.token(), stored(table)) == (token_before, [("a", 1, 1.0)])
    assert list((lake.folder / "staging").iterdir()) == []


@pytest.mark.parametrize(("format", "groups"), [("ipc", 2), ("parquet", 4)])
def test_rows_are_not_read_ahead_of_the_writer(tmp_path: Path, format: str, groups: int) -> None:
    values = pa.table({"value": pa.array(range(65_536), pa.float64())})
    for number in range(4):
        pads.write_dataset(
            [values] * 25,
            tmp_path,
            format=format,
            schema=values.schema,
            basename_template=f"{number}-{{i}}",
            max_rows_per_group=65_536,
            existing_data_behavior="overwrite_or_ignore",
        )
    rows = pads.dataset(tmp_path, format=format)
    allocated_before = pa.total_allocated_bytes()

    n_rows = 0
    allocated = []
    for batch in stream_batches(rows, rows.schema):
        n_rows += batch.num_rows
        time.sleep(0.005)
        allocated.append(pa.total_allocated_bytes() - allocated_before)

    assert n_rows == 100 * values.num_rows
    # Of the hundred groups the one that is written, and what Parquet decodes it from.
    assert max(allocated) < groups * values.nbytes


# --- other columns than the table's


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        pytest.param([*NAMES, "extra"], ("a", 5, 5.0, "new"), id="a column more"),
        pytest.param(["part", "id"], ("a", 5), id="a column less"),
        pytest.param(["part", "id", "worth"], ("a", 5, 5.0), id="a renamed column"),
        pytest.param(NAMES, ("a", "five", 5.0), id="text for a number"),
        pytest.param(NAMES, ("a", 5.5, 5.0), id="a fraction for a whole number"),
    ],
)
@pytest.mark.parametrize("mode", ["replace", "append", "merge"])
def test_other_columns_are_refused_in_a_sentence_and_nothing_is_written(
    tmp_path: Path, mode: str, columns: list[str], row: tuple[Any, ...]
) -> None:
    how = {"append": {"mode": "append"}, "merge": {"mode": "merge", "keys": ["part"]}}.get(mode, {})
    table = DeltaTable(filepath=str(tmp_path / "table"), frame="pandas", **how)
    table.save(pd.DataFrame([("a", 1, 1.0)], columns=NAMES))
    rows = pd.DataFrame([row], columns=columns)
    token_before = table.token()

    sentence = refused(table.save, ReplaceBatch(rows, "part", ("a",)) if mode == "replace" else rows)

    assert str(tmp_path / "table") in sentence
    assert "LAKE=" in sentence
    assert (table.token(), stored(table)) == (token_before, [("a", 1, 1.0)])


def test_columns_in_another_order_go_where_they_belong(lake: Lake) -> None:
    table = lake.table()
    table.save(lake.batch(("a", 1, 1.0), values=("a",)))
    turned = lake.frame(("a", 2, 3.0))[["value", "part", "id"]]

    table.save(ReplaceBatch(turned, "part", ("a",)))

    assert stored(table) == [("a", 2, 3.0)]


# --- merge


def test_merging_updates_equal_keys_and_inserts_the_others(lake: Lake) -> None:
    table = lake.table(mode="merge", keys=["part", "id"])
    table.save(lake.frame(("a", 1, 1.0), ("a", 2, 2.0)))

    table.save(lake.frame(("a", 2, 20.0), ("b", 2, 30.0)))

    assert stored(table) == [("a", 1, 1.0), ("a", 2, 20.0), ("b", 2, 30.0)]


def test_null_keys_are_equal_when_rows_are_merged(lake: Lake) -> None:
    table = lake.table(mode="merge", keys=["part", "id"])
    table.save(lake.frame((None, 1, 1.0), ("a", None, 2.0), (None, None, 3.0)))

    table.save(lake.frame((None, 1, 10.0), ("a", None, 20.0), (None, None, 30.0)))

    assert stored(table) == [(None, None, 30.0), (None, 1, 10.0), ("a", None, 20.0)]


@pytest.mark.parametrize("key", ["a", None])
@pytest.mark.parametrize("exists", [True, False])
def test_rows_that_repeat_a_key_are_refused_before_a_merge(lake: Lake, key: str | None, exists: bool) -> None:
    table = lake.table(mode="merge", keys=["part"])
    if exists:
        table.save(lake.frame(("b", 0, 0.0)))
    token_before = table.token()

    sentence = refused(table.save, lake.frame((key, 1, 1.0), (key, 2, 2.0)))

    assert sentence.startswith("1 rows for ")
    assert "repeat the key (part)" in sentence
    assert table.token() == token_before


def test_merging_without_keys_is_refused_before_anything_runs() -> None:
    assert "needs `keys`" in refused(lambda: DeltaTable(filepath="somewhere", mode="merge"))


# --- versions


def test_a_pinned_version_is_loaded_and_can_not_be_written(lake: Lake) -> None:
    lake.table().save(lake.frame(("a", 1, 1.0)))
    first = lake.table().token()
    lake.table().save(lake.frame(("b", 2, 2.0)))
    pinned = lake.table(at_version=0)

    assert stored(pinned) == [("a", 1, 1.0)]
    assert pinned.token() == first
    assert "pinned to version 0" in refused(pinned.save, lake.frame(("c", 3, 3.0)))
    assert stored(lake.table()) == [("b", 2, 2.0)]


def test_a_version_that_was_never_written_is_a_sentence(numbers: DeltaTable) -> None:
    assert "can't be read" in refused(DeltaTable(filepath=numbers.address, at_version=7, frame="pandas").load)


def test_a_loaded_frame_stays_at_its_version_while_the_table_moves_on(spark: Any, tmp_path: Path) -> None:
    table = DeltaTable(filepath=str(tmp_path / "table"))
    table.save(of_engine(spark, ("old", 1, 1.0)))
    loaded = table.load()

    table.save(loaded.selectExpr("'new' AS part", "id + 1 AS id", "value"))

    assert [tuple(row) for row in loaded.collect()] == [("old", 1, 1.0)]
    assert stored(table) == [("new", 2, 1.0)]


def test_the_token_changes_with_each_commit_and_with_nothing_else(lake: Lake) -> None:
    table = lake.table()
    assert table.token() is None
    table.save(lake.frame(("a", 1, 1.0)))
    first = table.token()

    table.load()
    refused(table.save, lake.batch(("b", 1, 1.0), values=("a",)))
    assert table.token() == lake.table().token() == first

    table.save(lake.frame(("a", 1, 1.0)))
    assert table.token() != first


def test_a_table_that_was_deleted_and_created_again_has_another_token(lake: Lake) -> None:
    table = lake.table()
    table.save(lake.frame(("a", 1, 1.0)))
    token_before = table.token()

    lake.remove(table)
    table.save(lake.frame(("b", 2, 2.0)))

    assert table.token() != token_before


# --- what is no table


def test_only_a_table_exists(numbers: DeltaTable, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "rows.parquet").write_bytes(b"PAR1")
    (tmp_path / "begun" / "_delta_log").mkdir(parents=True)

    assert numbers.exists()
    assert not any(DeltaTable(filepath=str(tmp_path / name)).exists() for name in ("nothing", "folder", "begun"))


@pytest.mark.parametrize("act", ["load", "count"])
def test_a_missing_table_is_a_sentence_that_says_what_to_run(tmp_path: Path, act: str) -> None:
    table = DeltaTable(filepath=str(tmp_path / "missing"), frame="pandas")
    acts = {"load": table.load, "count": lambda: table.count_rows("batch", "2024-01-31")}

    assert refused(acts[act]) == f"There is no table at {tmp_path / 'missing'} yet: run the stage that writes it first."
    assert (table.token(), table.has_fingerprint("any")) == (None, False)


def test_a_damaged_log_is_one_line_that_names_the_table(numbers: DeltaTable) -> None:
    log = Path(numbers.address) / "_delta_log" / "00000000000000000001.json"
    log.write_text("{cut off")

    for act in (numbers.load, numbers.token):
        sentence = refused(act)
        assert sentence.startswith(f"The table at {numbers.address} is damaged and can't be read")
        assert "\n" not in sentence


def test_a_file_in_the_place_of_a_table_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    table = DeltaTable(filepath=str(tmp_path / "file"), frame="pandas")

    for act in (table.exists, table.token, table.load, lambda: table.save(pd.DataFrame({"n": [1]}))):
        assert str(tmp_path / "file") in refused(act)


@pytest.mark.parametrize(
    ("version", "feature", "configuration", "reason"),
    [
        pytest.param(2, None, {"delta.columnMapping.mode": "name"}, "column mapping", id="by version"),
        pytest.param(3, "columnMapping", {"delta.columnMapping.mode": "name"}, "columnMapping", id="by feature"),
        pytest.param(3, "deletionVectors", {"delta.enableDeletionVectors": "true"}, "deletionVectors", id="vectors"),
    ],
)
def test_a_table_that_would_be_misread_is_refused(
    numbers: DeltaTable, version: int, feature: str | None, configuration: dict[str, str], reason: str
) -> None:
    features = {"readerFeatures": [feature], "writerFeatures": [feature]} if feature else {}
    written_otherwise(
        numbers, {"minReaderVersion": version, "minWriterVersion": version + 4, **features}, configuration
    )

    assert refused(numbers.load) == f"The table at {numbers.address} uses {reason}, which this engine would misread."


def written_otherwise(
    table: DeltaTable, protocol: dict[str, Any], configuration: dict[str, str], *, mapped: bool = True
) -> None:
    """Change the log as if another writer had made the table."""
    log = Path(table.address) / "_delta_log" / "00000000000000000000.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        if "protocol" in action:
            action["protocol"] = protocol
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            for number, field in enumerate(schema["fields"] if mapped else [], 1):
                field["metadata"] = {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": "col-1"}
            action["metaData"] |= {"schemaString": json.dumps(schema), "configuration": configuration}
    log.write_text("\n".join(map(json.dumps, actions)))


# --- provenance


def test_a_commit_says_which_node_made_it_of_what(lake: Lake) -> None:
    provenance = Provenance("churn.scoring.score", {"churn.features": "v3", "params:x": "{}"}, "f00d")
    table = lake.table()
    with attach_provenance(provenance):
        table.save(lake.batch(("a", 1, 1.0), values=("a",)))

    commit = json.loads(opened(table).history(1)[0]["userMetadata"])

    assert commit == {
        "node": "churn.scoring.score",
        "inputs": {"churn.features": "v3", "params:x": "{}"},
        "fingerprint": "f00d",
        "scope": ["a"],
    }


@pytest.mark.parametrize("mode", ["overwrite", "append", "merge"])
def test_a_table_holds_the_fingerprint_of_its_newest_commit(lake: Lake, mode: Any) -> None:
    table = lake.table(mode=mode, keys=["part"] if mode == "merge" else [])

    made_with("one", table, lake.frame(("a", 1, 1.0)))
    assert table.has_fingerprint("one")
    assert not table.has_fingerprint("two")

    made_with("two", table, lake.frame(("b", 2, 2.0)))
    assert table.has_fingerprint("two")


def test_an_overwritten_table_no_longer_holds_what_was_there(lake: Lake) -> None:
    table = lake.table()
    made_with("one", table, lake.frame(("a", 1, 1.0)))

    table.save(lake.frame(("b", 2, 2.0)))

    assert not table.has_fingerprint("one")


def test_a_batch_keeps_its_fingerprint_until_it_is_written_again(lake: Lake) -> None:
    table = lake.table()
    made_with("a one", table, lake.batch(("a", 1, 1.0), values=("a",)))
    made_with("b one", table, lake.batch(("b", 2, 2.0), values=("b",)))
    assert table.has_fingerprint("a one")
    assert table.has_fingerprint("b one")

    made_with("a two", table, lake.batch(("a", 3, 3.0), values=("a",)))

    assert not table.has_fingerprint("a one")
    assert table.has_fingerprint("a two")
    assert table.has_fingerprint("b one")


def test_a_commit_of_two_batches_loses_its_fingerprint_when_one_of_them_is_written_again(lake: Lake) -> None:
    table = lake.table()
    made_with("both", table, lake.batch(("a", 1, 1.0), ("b", 2, 2.0), values=("a", "b")))
    made_with("another", table, lake.batch(("c", 3, 3.0), values=("c",)))
    assert table.has_fingerprint("both")

    made_with("one of them", table, lake.batch(("b", 4, 4.0), values=("b",)))

    assert not table.has_fingerprint("both")


def test_batches_lose_their_fingerprints_when_the_whole_table_is_overwritten(lake: Lake) -> None:
    table = lake.table()
    made_with("batch", table, lake.batch(("a", 1, 1.0), values=("a",)))

    made_with("whole", table, lake.frame(("a", 1, 1.0)))

    assert not table.has_fingerprint("batch")


def test_an_empty_batch_has_its_fingerprint_like_any_other(lake: Lake) -> None:
    table = lake.table()

    made_with("nothing came", table, lake.batch(values=()))

    assert table.has_fingerprint("nothing came")


def test_rows_name_the_versions_of_their_inputs(tmp_path: Path) -> None:
    table = DeltaTable(filepath=str(tmp_path / "verdicts"), frame="pandas", made_of="made_of")
    with attach_provenance(Provenance("judge", {"churn.model_input": "v4"}, "f00d")):
        table.save(pd.DataFrame({"version": ["1"]}))

    assert json.loads(table.load()["made_of"].item()) == {"churn.model_input": "v4"}


# --- two at once


@dataclass(frozen=True)
class Interrupted:
    """Rows in whose middle somebody else writes: the second writer, who has read before the first one committed."""

    rows: pa.Table
    meanwhile: Callable[[], None]

    @property
    def schema(self) -> pa.Schema:
        return self.rows.schema

    def count_rows(self, **_: object) -> int:
        return 0

    def to_batches(self, **_: object) -> Iterator[pa.RecordBatch]:
        other = threading.Thread(target=self.meanwhile)
        other.start()
        other.join()
        yield from self.rows.to_batches()


def interrupted(part: str, number: int, meanwhile: Callable[[], None]) -> Interrupted:
    return Interrupted(pa.table({"part": [part], "id": [number]}), meanwhile)


def part(name: str, number: int) -> ReplaceBatch:
    return ReplaceBatch(pd.DataFrame({"part": [name], "id": [number]}), "part", (name,))


def late(table: DeltaTable, mode: Any, rows: Interrupted, part: str = "") -> None:
    """Commit what was begun before somebody else committed."""
    batch = ReplaceBatch(None, "part", (part,)) if mode == "replace" else None
    says = json.dumps({"scope": [part] if part else []})
    write = WritePlan(mode, normalise_schema(rows.schema), says, Layout(), creates_table=False, batch=batch)
    DeltaRsWriter(table.address).write(rows, write)


def test_the_second_commit_of_a_batch_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    table = DeltaTable(filepath=str(tmp_path / "table"), frame="pandas")
    table.save(part("a", 0))
    second = interrupted("a", 2, lambda: table.save(part("a", 1)))

    sentence = refused(lambda: late(table, "replace", second, "a"))

    assert sentence.startswith(f"Another run wrote to {table.address} at the same time and was first")
    assert stored(table) == [("a", 1)]


def test_the_second_overwrite_of_a_table_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    table = DeltaTable(filepath=str(tmp_path / "table"), frame="pandas")
    table.save(part("a", 0))
    second = interrupted("z", 2, lambda: table.save(pd.DataFrame({"part": ["b"], "id": [1]})))

    sentence = refused(lambda: late(table, "overwrite", second))

    assert table.address in sentence
    assert stored(table) == [("b", 1)]


def test_batches_of_their_own_do_not_get_into_each_others_way(tmp_path: Path) -> None:
    table = DeltaTable(filepath=str(tmp_path / "table"), frame="pandas")
    table.save(part("a", 0))
    table.save(part("b", 0))

    late(table, "replace", interrupted("a", 1, lambda: table.save(part("b", 1))), "a")

    assert stored(table) == [("a", 1), ("b", 1)]


def test_many_writers_at_once_lose_nothing_that_was_not_refused(tmp_path: Path) -> None:
    address = str(tmp_path / "table")
    DeltaTable(filepath=address).save(part("first", 0))
    gate = threading.Barrier(6)
    stored_rows: list[tuple[str, int]] = [("first", 0)]
    refusals: list[BaseException] = []

    def write(number: int) -> None:
        gate.wait()
        try:
            DeltaTable(filepath=address).save(part(f"part {number}", number))
        except DatasetError as error:
            refusals.append(error)
        else:
            stored_rows.append((f"part {number}", number))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert stored(DeltaTable(filepath=address, frame="pandas")) == sorted(stored_rows)
    assert len(stored_rows) + len(refusals) == 7
    assert all(address in str(find(error)) for error in refusals)


@pytest.fixture
def meanwhile(lake: Lake, tmp_path: Path) -> Callable[..., list[str]]:
    """Save rows in whose middle somebody else saves; on Apache Spark, where the commit itself computes the rows."""
    if not ENGINE.writes_delta:
        pytest.skip("delta-rs commits what was computed before: its second writers are above")
    begun, go = str(tmp_path / "begun"), str(tmp_path / "go")

    def waits(batches: Any) -> Any:
        Path(begun).touch()
        while not Path(go).exists():
            time.sleep(0.05)
        yield from batches

    def race(save: Callable[[Any], None], row: Row, write_first: Callable[[], None]) -> list[str]:
        late = lake.frame(row).coalesce(1).mapInArrow(waits, DDL)
        messages: list[str] = []
        second = threading.Thread(target=lambda: messages.extend(_sentence(save, late)))
        second.start()
        while not Path(begun).exists() and second.is_alive():
            time.sleep(0.05)
        write_first()
        Path(go).touch()
        second.join()
        return messages

    return race


def _sentence(save: Callable[[Any], None], rows: Any) -> list[str]:
    try:
        save(rows)
    except DatasetError as error:
        return [str(find(error))]
    return []


@pytest.mark.parametrize("mode", ["replace", "overwrite"])
def test_on_spark_the_second_writer_is_refused_and_writes_nothing(
    lake: Lake, meanwhile: Callable[..., list[str]], mode: str
) -> None:
    table, other_table = lake.table(), lake.table()
    table.save(lake.batch(("a", 0, 0.0), values=("a",)))
    save = table.save if mode == "overwrite" else lambda rows: table.save(ReplaceBatch(rows, "part", ("a",)))

    messages = meanwhile(save, ("a", 2, 2.0), lambda: other_table.save(lake.batch(("a", 1, 1.0), values=("a",))))

    assert [one.partition(" (")[0] for one in messages] == [
        f"Another run wrote to {table.address} at the same time and was first; nothing of this one was written. "
        f"Run again."
    ]
    assert stored(table) == [("a", 1, 1.0)]


def test_on_spark_two_concurrent_appends_are_both_stored(lake: Lake, meanwhile: Callable[..., list[str]]) -> None:
    table, other_table = lake.table(mode="append"), lake.table(mode="append")
    table.save(lake.frame(("a", 0, 0.0)))

    assert meanwhile(table.save, ("a", 2, 2.0), lambda: other_table.save(lake.frame(("a", 1, 1.0)))) == []

    assert stored(table) == [("a", 0, 0.0), ("a", 1, 1.0), ("a", 2, 2.0)]


def test_on_spark_the_second_creator_of_a_table_is_refused(lake: Lake, meanwhile: Callable[..., list[str]]) -> None:
    table, other_table = lake.table(), lake.table()

    messages = meanwhile(table.save, ("a", 2, 2.0), lambda: other_table.save(lake.frame(("a", 1, 1.0))))

    assert "was first; nothing of this one was written. Run again." in messages[0]
    assert stored(table) == [("a", 1, 1.0)]


# --- types


@pytest.fixture
def every_type(spark: Any) -> Any:
    """A row of values and a row of nulls, of every type that a contract may declare."""
    moment = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC)
    reasons = [{"feature": "tenure", "value": None, "effect": -0.25}, {"feature": "é", "value": "1", "effect": 0.5}]
    full = ("a", moment, date(2024, 2, 29), 1, 2**40, 0.1, True, Decimal("1.25"), ["p", None], reasons, (7, "x"))
    return spark.createDataFrame([full, ("b", *(None,) * 10)], EVERY_TYPE)


def test_every_type_comes_back_as_it_went(every_type: Any, tmp_path: Path) -> None:
    table = DeltaTable(filepath=str(tmp_path / "types"))
    table.save(every_type)

    loaded = table.load()

    assert loaded.dtypes == every_type.dtypes
    assert loaded.orderBy("k").collect() == every_type.orderBy("k").collect()


def test_no_rows_keep_every_type(every_type: Any, tmp_path: Path) -> None:
    table = DeltaTable(filepath=str(tmp_path / "types"))
    table.save(every_type.where("k = 'nobody'"))

    assert table.load().dtypes == every_type.dtypes
    assert table.load().count() == 0


def test_a_moment_is_stored_in_utc_and_a_day_as_a_day(every_type: Any, tmp_path: Path) -> None:
    DeltaTable(filepath=str(tmp_path / "types")).save(every_type)

    row = DeltaTable(filepath=str(tmp_path / "types"), frame="pandas").load().set_index("k").loc["a"]

    assert row["at"] == pd.Timestamp("2024-02-29T23:59:59.123456Z")
    assert row["day"] == date(2024, 2, 29)
    assert row["reasons"][1] == {"feature": "é", "value": "1", "effect": 0.5}


def test_a_table_says_the_same_to_other_readers(every_type: Any, tmp_path: Path) -> None:
    DeltaTable(filepath=str(tmp_path / "types")).save(every_type)

    rows = deltalake.DeltaTable(str(tmp_path / "types")).to_pyarrow_dataset().to_table(filter=pads.field("k") == "a")

    assert rows.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert rows.schema.field("n").type == pa.int32()
    assert rows["place"].to_pylist() == [{"row": 7, "name": "x"}]


# --- a batch, without the engine


def test_rows_of_a_text_are_counted_without_the_engine(lake: Lake) -> None:
    table = lake.table()
    table.save(lake.frame(("it's", 1, 1.0), ("2024-02-29", 2, 2.0), ("2024-02-29", 3, 3.0), (None, 4, 4.0)))
    assert [table.count_rows("part", text) for text in ("2024-02-29", "it's", "2024-01-31", "")] == [2, 1, 0, 0]


def test_the_batch_that_was_stored_last_is_known(lake: Lake) -> None:
    table = lake.table()
    assert table.last_batch() is None
    table.save(lake.batch(("b", 1, 1.0), values=("b",)))
    table.save(lake.batch(("a", 2, 2.0), values=("a",)))
    table.save(lake.batch(values=()))
    assert table.last_batch() == "a"


# --- rows that are there already


def made_by(fingerprint: str) -> Any:
    return attach_provenance(Provenance("some.node", {}, fingerprint))


def test_the_same_rows_again_are_no_new_state_and_the_node_is_done(lake: Lake) -> None:
    table, other_table = lake.table(keep_unchanged=True), lake.table("other")
    rows = [("a", 1, 1.5), ("b", 2, None), (None, 3, 0.0)]
    if lake.kind == "pandas":
        pytest.skip("a pandas frame is stored as it comes: the option is for frames of the engine")
    for one in (table, other_table):
        with made_by("first"):
            one.save(lake.frame(*rows))
    tokens_before = table.token(), other_table.token()
    for one in (table, other_table):
        with made_by("second"):
            one.save(lake.frame(*reversed(rows)))
    assert table.token() == tokens_before[0]
    assert other_table.token() != tokens_before[1]
    assert (table.has_fingerprint("second"), table.has_fingerprint("first")) == (True, False)
    assert table.load().count() == 3
    assert [maker["fingerprint"] for maker in table.origin_commits()] == ["first"]


@pytest.mark.parametrize(
    "changed",
    [
        [("a", 1, 1.5)],
        [("a", 1, 1.5), ("b", 2, None), ("b", 2, None)],
        [("a", 1, 1.5), ("b", 2, 0.0)],
        [("a", 2, 1.5), ("b", 1, None)],
        [],
    ],
    ids=["fewer", "one twice", "a null that is a value", "exchanged", "none"],
)
def test_other_rows_are_a_new_state(lake: Lake, changed: list[Row]) -> None:
    table = lake.table(keep_unchanged=True)
    table.save(lake.frame(("a", 1, 1.5), ("b", 2, None)))
    token_before = table.token()
    table.save(lake.frame(*changed))
    assert table.token() != token_before
    # And back again: the rows of now count, not those of once.
    now = table.token()
    table.save(lake.frame(("a", 1, 1.5), ("b", 2, None)))
    assert table.token() != now


def test_rows_of_other_columns_are_a_new_state(spark: Any, tmp_path: Path) -> None:
    table = DeltaTable(filepath=str(tmp_path / "table"), keep_unchanged=True)
    tokens = []
    for ddl in ("a int, b int", "b int, a int", "a int, b bigint"):
        table.save(spark.createDataFrame([(1, 1)], ddl))
        tokens.append(table.token())
    assert len(set(tokens)) == 3


def test_a_batch_that_is_to_stay_stays_and_one_that_is_not_there_is_stored(lake: Lake) -> None:
    table = lake.table()
    table.save(lake.batch(("a", 1, 1.0), values=("a",)))
    token_before = table.token()
    with made_by("again"):
        table.save(replace(lake.batch(("a", 9, 9.0), values=("a",)), keeps_stored=True))
    assert (table.token(), table.count_rows("part", "a"), table.has_fingerprint("again")) == (token_before, 1, True)
    # Once its rows are removed, nothing keeps them any more.
    table.save(lake.batch(values=("a",)))
    assert not table.has_fingerprint("again")
    table.save(lake.batch(("a", 1, 1.0), values=("a",)))
    table.save(replace(lake.batch(("b", 2, 2.0), values=("b",)), keeps_stored=True))
    assert [table.count_rows("part", part) for part in "ab"] == [1, 1]
    assert table.last_batch() == "b"


# --- appended once


def test_an_append_is_not_repeated(lake: Lake) -> None:
    table = lake.table()
    for number, row in ((1, ("a", 1, 1.0)), (1, ("a", 1, 1.0)), (2, ("b", 2, 2.0)), (1, ("c", 3, 3.0))):
        table.save(IdempotentAppend(lake.frame(row), "ledger", number))

    assert stored(table) == [("a", 1, 1.0), ("b", 2, 2.0)]


def test_writers_number_what_they_append_each_for_itself(lake: Lake) -> None:
    table = lake.table()
    for writer in ("one", "other", "one"):
        table.save(IdempotentAppend(lake.frame((writer, 1, 1.0)), writer, 1))

    assert stored(table) == [("one", 1, 1.0), ("other", 1, 1.0)]


# --- columns that are added


@pytest.mark.parametrize("mode", ["append", "replace", "merge"])
def test_columns_are_added_where_the_catalog_says_so_and_older_rows_hold_null_there(lake: Lake, mode: str) -> None:
    how: dict[str, Any] = {"append": {"mode": "append"}, "merge": {"mode": "merge", "keys": ["part"]}}.get(mode, {})
    lake.table().save(lake.frame(("a", 1, 1.0)))
    table = lake.table(new_columns=True, **how)
    rows = with_extra(lake.frame(("b", 2, 2.0)))

    table.save(ReplaceBatch(rows, "part", ("b",)) if mode == "replace" else rows)

    assert stored(table) == [("a", 1, 1.0, None), ("b", 2, 2.0, "new")]


def test_no_column_goes_and_none_changes_where_columns_may_be_added(lake: Lake) -> None:
    table = lake.table(mode="append", new_columns=True)
    table.save(lake.frame(("a", 1, 1.0)))

    sentence = refused(table.save, with_extra(lake.frame(("b", 2, 2.0)))[["part", "id", "extra"]])

    assert "column value is missing" in sentence
    assert "extra" not in sentence
    assert stored(table) == [("a", 1, 1.0)]


def with_extra(frame: Any) -> Any:
    return frame.assign(extra="new") if isinstance(frame, pd.DataFrame) else frame.selectExpr("*", "'new' AS extra")


# --- properties of a new table


def test_a_table_is_parted_by_its_columns_whatever_is_saved_into_it(lake: Lake) -> None:
    table = lake.table(partition_by=["part"])
    table.save(lake.batch(("a", 1, 1.0), ("b", 2, 2.0), values=("a", "b")))
    table.save(lake.batch(("a", 3, 3.0), values=("a",)))

    assert stored(table) == [("a", 3, 3.0), ("b", 2, 2.0)]
    assert opened(table).metadata().partition_columns == ["part"]


def test_a_table_keeps_its_properties_while_it_is_overwritten(lake: Lake) -> None:
    table = lake.table(properties={"delta.logRetentionDuration": "interval 60 days"})
    table.save(lake.frame(("a", 1, 1.0)))
    table.save(lake.frame(("b", 2, 2.0)))

    assert opened(table).metadata().configuration == {"delta.logRetentionDuration": "interval 60 days"}


@pytest.mark.parametrize("mode", ["append", "replace", "overwrite", "merge"])
@pytest.mark.parametrize("exists", [True, False])
def test_rows_that_break_a_condition_are_refused_in_a_sentence(lake: Lake, mode: str, exists: bool) -> None:
    how: dict[str, Any] = {"mode": "merge", "keys": ["part"]} if mode == "merge" else {}
    how |= {"mode": "append"} if mode == "append" else {}
    table = lake.table(constraints={"counted": "id > 0"}, **how)
    good, bad = lake.frame(("a", 1, 1.0)), lake.frame(("b", -1, 1.0), ("c", 2, 2.0))
    if exists:
        table.save(good)

    sentence = refused(table.save, ReplaceBatch(bad, "part", ("b", "c")) if mode == "replace" else bad)

    assert sentence.startswith(f"Some rows for {table.address} violate its constraints (counted: id > 0)")
    assert stored(table) == ([("a", 1, 1.0)] if exists else [])


def test_a_null_where_the_table_has_none_is_refused_in_a_sentence(lake: Lake) -> None:
    table = lake.table(mode="append", constraints={"id_is_known": "id IS NOT NULL"})
    table.save(lake.frame(("a", 1, 1.0)))

    assert "id_is_known: id IS NOT NULL" in refused(table.save, lake.frame(("b", None, 2.0)))


GRAIN = Table(
    "wines", "one row per bottle's label", ("part",),
    (Column("part", "string", doc="Where it's from."), Column("id", "bigint"),
     Column("value", "double", doc="In euros.")),
)  # fmt: skip


OTHER_WORDS = replace(
    GRAIN, columns=tuple(replace(column, doc=column.doc and "Other words.") for column in GRAIN.columns)
)


def test_the_descriptions_of_a_contract_are_stored_with_the_table(lake: Lake) -> None:
    table = lake.table()
    table.document(GRAIN)
    table.save(lake.frame(("a", 1, 1.0)))
    table.save(lake.frame(("b", 2, 2.0)))
    table.save(lake.batch(("b", 3, 3.0), values=("b",)))

    delta = opened(table)
    comments = {field.name: field.metadata.get("comment") for field in delta.schema().fields}
    assert comments == {"part": "Where it's from.", "id": None, "value": "In euros."}
    assert delta.metadata().description == "one row per bottle's label"
    assert stored(table) == [("b", 3, 3.0)]


@pytest.mark.parametrize("mode", ["overwrite", "replace"])
def test_a_table_without_comments_gets_them_when_it_is_next_overwritten(lake: Lake, mode: str) -> None:
    table = lake.table()
    table.save(lake.frame(("a", 1, 1.0)))
    table.document(GRAIN)
    rows = lake.frame(("b", 2, 2.0))
    table.save(ReplaceBatch(rows, "part", ("b",)) if mode == "replace" else rows)

    delta = opened(table)
    comments = {field.metadata.get("comment") for field in delta.schema().fields}
    assert (delta.metadata().description, comments) == (
        (GRAIN.grain, {"Where it's from.", None, "In euros."}) if mode == "overwrite" else (None, {None})
    )


def test_a_table_with_other_comments_gets_columns_and_keeps_its_comments(lake: Lake) -> None:
    table = lake.table(mode="append", new_columns=True)
    table.document(OTHER_WORDS)
    table.save(lake.frame(("a", 1, 1.0)))
    table.document(GRAIN)
    table.save(with_extra(lake.frame(("b", 2, 2.0))))

    comments = {field.name: field.metadata.get("comment") for field in opened(table).schema().fields}
    assert comments == {"part": "Other words.", "id": None, "value": "Other words.", "extra": None}
    assert stored(table) == [("a", 1, 1.0, None), ("b", 2, 2.0, "new")]


# --- time travel, restoring, maintenance


def test_a_table_is_loaded_as_it_was_at_a_time(lake: Lake) -> None:
    table = lake.table()
    for number in range(2):
        table.save(lake.frame(("a", number, 1.0)))
        time.sleep(1.1)
    first, second = (commit["at"] for commit in reversed(list(table.commits())))

    earlier_table = lake.table(at_time=first + (second - first) / 2)

    assert stored(earlier_table) == [("a", 0, 1.0)]
    assert stored(lake.table(at_time=datetime(2999, 1, 1))) == [("a", 1, 1.0)]  # noqa: DTZ001 - means UTC
    assert "is pinned to" in refused(earlier_table.save, lake.frame(("c", 3, 3.0)))
    sentence = refused(lake.table(at_time=datetime(2020, 1, 1, tzinfo=UTC)).load)
    assert "has no version of 2020-01-01 00:00:00 or before: the oldest in its log is 0" in sentence


def test_a_restored_version_is_the_newest_and_another_one_than_those_after_it(lake: Lake) -> None:
    table = lake.table()
    made_with("one", table, lake.frame(("a", 1, 1.0)))
    made_with("two", table, lake.frame(("b", 2, 2.0)))
    token_before = table.token()

    table.restore(0)

    assert stored(table) == [("a", 1, 1.0)]
    assert table.token() != token_before
    assert not table.has_fingerprint("two")
    assert "can't be read" in refused(table.restore, 99)


def test_maintenance_keeps_the_rows_and_their_provenance(lake: Lake) -> None:
    table = lake.table(mode="append")
    for number in range(3):
        made_with("one", table, lake.frame(("a", number, 1.0)))
    state_before = (stored(table), table.token())

    table.optimise()
    table.vacuum()

    assert opened(table).version() > 2
    assert (stored(table), table.token()) == state_before
    assert table.has_fingerprint("one")
    assert stored(lake.table(at_version=0)) == [("a", 0, 1.0)]


def test_the_provenance_of_a_table_survives_compaction_and_removed_commits(lake: Lake) -> None:
    table = lake.table()
    made_with("one", table, lake.frame(("a", 1, 1.0)))
    made_with("two", table, lake.frame(("b", 2, 2.0)))
    token_before = table.token()

    delta = opened(table)
    delta.alter.set_table_properties({"delta.checkpointInterval": "1"})
    delta.optimize.compact()
    delta.create_checkpoint()
    a_year_ago = time.time() - 365 * 24 * 3600
    for commit in Path(delta.table_uri.removeprefix("file://"), "_delta_log").glob("*.json"):
        os.utime(commit, (a_year_ago, a_year_ago))
    opened(table).cleanup_metadata()
    opened(table).vacuum(0, enforce_retention_duration=False, dry_run=False)

    assert table.has_fingerprint("two")
    assert table.token() == token_before
    assert stored(table) == [("b", 2, 2.0)]


def test_an_empty_table_stays_the_same_for_its_readers_whatever_its_comments_say(lake: Lake) -> None:
    table = lake.table()
    table.save(lake.batch(values=()))
    token_before = table.token()
    opened(table).alter.set_table_properties({"delta.checkpointInterval": "100"})
    table.save(lake.batch(values=()))
    assert table.token() == token_before


def test_files_of_the_last_week_are_removed_only_if_somebody_says_so(lake: Lake) -> None:
    table = lake.table()
    table.save(lake.frame(("a", 1, 1.0)))
    table.save(lake.frame(("b", 2, 2.0)))
    n_files = len(opened(table, 0).file_uris())

    sentence = refused(lambda: table.vacuum(hours=0))
    assert sentence.endswith("If no run does, remove them by vacuum(0, even_young=True).")
    assert stored(lake.table(at_version=0)) == [("a", 1, 1.0)]

    table.vacuum(hours=0, even_young=True)
    assert stored(table) == [("b", 2, 2.0)]
    assert n_files
    assert not any(Path(uri.removeprefix("file://")).exists() for uri in opened(table, 0).file_uris())


def opened(table: DeltaTable, version: int | None = None) -> deltalake.DeltaTable:
    """The table as another reader finds it, whoever wrote it."""
    at = table.address
    if table.address.startswith("spark_catalog."):
        detail = ENGINE.session().sql(f"DESCRIBE DETAIL {table.address}").collect()[0]
        at = detail["location"].removeprefix("file:")
    return deltalake.DeltaTable(at, version=version)


# --- features of Delta that other writers use


@pytest.mark.parametrize(
    "uses",
    [
        pytest.param("'delta.columnMapping.mode' = 'name'", id="column mapping"),
        pytest.param("'delta.enableDeletionVectors' = 'true'", id="deletion vectors"),
    ],
)
def test_a_feature_that_spark_supports_is_read_by_spark_and_refused_by_delta_rs(
    spark: Any, tmp_path: Path, uses: str
) -> None:
    if not ENGINE.writes_delta:
        pytest.skip("Sail can't write such a table")
    spark.sql(f"CREATE TABLE delta.`{tmp_path}/t` ({DDL}) USING delta TBLPROPERTIES ({uses})")
    table = DeltaTable(filepath=f"{tmp_path}/t", mode="append")
    table.save(of_engine(spark, ("a", 1, 1.0), ("b", 2, 2.0), ("c", 3, 3.0)).coalesce(1))
    spark.sql(f"DELETE FROM delta.`{tmp_path}/t` WHERE part = 'b'")

    assert stored(table) == [("a", 1, 1.0), ("c", 3, 3.0)]
    sentence = refused(DeltaTable(filepath=f"{tmp_path}/t", frame="pandas").load)
    assert sentence.endswith("which this engine would misread.")


# --- names


def test_a_name_in_a_catalog_is_refused_where_the_engine_has_none(spark: Any) -> None:
    table = DeltaTable(filepath="main.churn.scores", kind="schema")
    message = "Table main.churn.scores is a name in a catalog, and this engine has no catalog"
    if ENGINE.writes_delta:
        message = "Table main.churn.scores: this engine has no catalog main"
    for act in (table.exists, table.load, table.token, lambda: table.save(spark.range(1))):
        assert message in refused(act)


@pytest.mark.parametrize("name", ["scores", "a.b.c.d", "folder/scores.delta", "a.`b`"])
def test_an_invalid_name_is_refused_before_anything_runs(name: str) -> None:
    assert "`[catalog.]schema.table`" in refused(lambda: DeltaTable(filepath=name, kind="schema"))


# --- one engine's tables in another's hands


def test_a_table_that_delta_rs_wrote_is_read_and_written_by_the_engine_and_the_other_way_round(
    spark: Any, tmp_path: Path
) -> None:
    ours, others = (DeltaTable(filepath=str(tmp_path / "t"), frame=kind, mode="append") for kind in ("spark", "pandas"))
    made_with("theirs", others, pd.DataFrame([("a", 1, 1.0)], columns=NAMES))
    assert ours.has_fingerprint("theirs")
    made_with("ours", ours, of_engine(spark, ("b", 2, 2.0)))
    assert others.has_fingerprint("ours")
    made_with("theirs", others, pd.DataFrame([("c", 3, None)], columns=NAMES))

    assert stored(ours) == stored(others) == [("a", 1, 1.0), ("b", 2, 2.0), ("c", 3, None)]
    assert ours.token() == others.token()


def test_an_unknown_feature_is_refused_by_name(numbers: DeltaTable) -> None:
    newer = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["aging"], "writerFeatures": ["aging"]}
    written_otherwise(numbers, newer, {}, mapped=False)
    sentence = refused(numbers.load)
    assert numbers.address in sentence
    assert "aging" in sentence
