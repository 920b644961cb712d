"""Delta tables: read by the engine, committed by delta-rs, each commit with the provenance of its rows."""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from kedro.io import AbstractDataset
from pydantic import validate_call

from lakehouse_ml import delta
from lakehouse_ml.errors import TableError
from lakehouse_ml.provenance import current
from lakehouse_ml.spark import ENGINE
from lakehouse_ml.tables import Batch, shown

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa
    from kedro_datasets._typing import TablePreview

log = logging.getLogger(__name__)

_COMMIT_KEY = "lakehouse_ml"
# How far back a commit is looked for that a node made, at first and at most: beyond, the node simply runs again. A
# range of days has a commit a day.
_HISTORY = (200, 2_000)
# What this reader would misread: with column mapping delta-rs gives NULL for every value, silently.
_UNREADABLE = {"columnMapping", "deletionVectors"}


class DeltaTable(AbstractDataset[Any, Any]):
    """A Delta table at a location. Loads as a Spark frame (pinned to one version) or as a pandas frame.

    Saving a `Batch` replaces the rows of that batch and nothing else; any other frame is written by `mode`.

    Example:
        ```yaml
        "{use_case}.score_{table}":
          type: lakehouse_ml.datasets.delta_table.DeltaTable
          filepath: data/07_model_output/{use_case}/score_{table}
        ```
    """

    @validate_call
    def __init__(
        self,
        *,
        filepath: str,
        mode: Literal["overwrite", "append", "merge"] = "overwrite",
        keys: Sequence[str] = (),
        at_version: int | None = None,
        frame: Literal["spark", "pandas"] = "spark",
        made_of: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Nothing is opened before `load` or `save`.

        Args:
            filepath: Folder of the table.
            mode: What saving a plain frame does. `merge` updates rows with equal `keys` (null equals null) and
                inserts the others.
            keys: Columns that identify a row, for `merge`.
            at_version: Version to load instead of the newest; such an entry can't be saved to.
            frame: What `load` gives.
            made_of: Column of a saved pandas frame that is to hold the inputs' versions (JSON), for tables whose rows
                must name them.
            metadata: For kedro-viz.
        """
        if mode == "merge" and not keys:
            raise TableError(f"Table {filepath}: mode `merge` needs `keys` in the catalog.")
        self._path = filepath
        self._mode = mode
        self._keys = tuple(keys)
        self._at_version = at_version
        self._frame = frame
        self._made_of = made_of
        self.metadata = metadata

    @property
    def address(self) -> str:
        """Where the table lies."""
        return self._path

    def load(self) -> Any:
        """The rows of the newest (or the pinned) version.

        Raises:
            TableError: No table there, or one with features that would be misread.
        """
        table = self._open()
        if self._frame == "pandas":
            with self._read():
                return delta.rows(table).read_pandas()
        reader = ENGINE.session().read.format("delta").option("versionAsOf", table.version())
        return reader.load(ENGINE.readable(self._path))

    def save(self, data: Any) -> None:
        """Commit a frame, or a batch of one, in one atomic step.

        Raises:
            TableError: Rows outside the batch, duplicate keys, other columns than the table's, a lost race.
        """
        if self._at_version is not None:
            raise TableError(f"Table {self._path} is pinned to version {self._at_version} and can't be written.")
        if isinstance(data, Batch):
            self._save_batch(data)
            return
        if self._made_of:
            made = current()
            data = data.assign(**{self._made_of: json.dumps(dict(made.inputs) if made else {})})
        with _arrow(data) as rows:
            if self._mode == "merge" and self._exists():
                self._merge(rows)
            else:
                _unique(rows, self._keys, self._path)
                mode = "append" if self._mode == "append" else "overwrite"
                self._write(rows, mode=mode, schema_mode="overwrite" if mode == "overwrite" else None)

    def _save_batch(self, batch: Batch) -> None:
        """Replace a batch; one of several that an interrupted run of the same node left complete stays."""
        if batch.rows is None:
            return
        of_how_many = f"  {'/'.join(batch.values)} ({batch.number} of {batch.of})"
        if batch.of > 1 and self._keeps(batch):
            log.info("%s: there already", of_how_many)
            return
        with _arrow(batch.rows) as rows:
            self._replace(rows, batch)
        if batch.of > 1:
            log.info("%s", of_how_many)

    def _keeps(self, batch: Batch) -> bool:
        """Whether this batch was stored by a run with the fingerprint of this one, and nothing replaced it since."""
        made = current()
        if made is None or not self._exists():
            return False
        for commit in _commits(self._open()):
            scope = set(commit.get("scope", []))
            if not scope or scope & set(batch.values):
                return commit.get("fingerprint") == made.fingerprint and scope == set(batch.values)
        return False

    def preview(self, nrows: int = 10) -> TablePreview:
        """The first rows as kedro-viz shows them, read without the engine."""
        table = self._open()
        with self._read():
            rows = delta.rows(table, limit=nrows).read_all()
        cells = [
            [value if isinstance(value, int | str) else _cell(value) for value in row.values()]
            for row in rows.to_pylist()
        ]
        return cast("TablePreview", {"index": list(range(len(cells))), "columns": rows.column_names, "data": cells})

    def token(self) -> str | None:
        """The version that `load` would read, and of which table."""
        if not self._exists():
            return None
        table = self._open()
        # A table that was removed and made anew begins at version 0 again: its id tells them apart.
        return f"v{self._changed(table)} of {str(table.metadata().id)[:8]}"

    def _changed(self, table: deltalake.DeltaTable) -> int:
        """The newest version that has other rows than the one before: a batch of nothing changes none."""
        if self._at_version is None:
            for commit in _commits(table):
                if not commit.get("nothing"):
                    return int(commit["version"])
        return int(table.version())

    def holds(self, fingerprint: str, *, last: bool = False) -> bool:
        """Whether the newest commit (on its batch, for a batch, unless it is to be the last) has this fingerprint."""
        if not self._exists():
            return False
        newer: set[str] = set()
        parts: set[int] = set()
        for commit in _commits(self._open()):
            scope = set(commit.get("scope", []))
            if commit.get("fingerprint") == fingerprint:
                # The parts of a result may be stored in any order, by several runs: each has to be what is there.
                number, of = commit.get("part", (1, 1))
                if number not in parts and scope & newer:
                    return False
                parts.add(number)
                if len(parts) == of:
                    return True
                continue
            if (last and not parts) or (not scope and self._mode != "merge"):
                return False
            newer |= scope
        return False

    def newest(self, column: str) -> tuple[str, int] | None:
        """The greatest value of a column and how many rows have it, read without the engine; None without rows."""
        table = self._open()
        with self._read():
            return delta.newest(table, column)

    def _exists(self) -> bool:
        import deltalake

        try:
            return bool(deltalake.DeltaTable.is_deltatable(self._path))
        except Exception as error:
            first = str(error).strip().splitlines()[0]
            raise TableError(f"There can be no table at {self._path}: {first}") from error

    def _describe(self) -> dict[str, Any]:
        return {"filepath": shown(self._path), "mode": self._mode, "at_version": self._at_version}

    def _open(self) -> deltalake.DeltaTable:
        import deltalake

        if not self._exists():
            raise TableError(f"There is no table at {self._path} yet: run the stage that writes it first.")
        with self._read():
            table = deltalake.DeltaTable(self._path, version=self._at_version)
            # Without its first commit a log that has no checkpoint is read here, and not by the engine.
            log = Path(self._path) / "_delta_log"
            if log.is_dir() and not ((log / f"{0:020}.json").exists() or any(log.glob("*.checkpoint*"))):
                raise FileNotFoundError("its log lacks its first commit")
        unreadable = _UNREADABLE.intersection(table.protocol().reader_features or ())
        if unreadable or table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
            raise TableError(f"The table at {self._path} uses {', '.join(unreadable) or 'column mapping'}, "
                             f"which this engine would misread.")  # fmt: skip
        return table

    @contextmanager
    def _read(self) -> Iterator[None]:
        """What goes wrong while the table is read, as a sentence."""
        try:
            yield
        except Exception as error:
            why = re.split(r"[:,] (?=ParsedLogPath|Object at)|\n", str(error).strip())[0]
            why = re.sub(r"^((External|Kernel|Parquet) error: )+", "", why)
            raise TableError(
                f"The table at {self._path} is damaged and can't be read ({why}). Restore this folder from a copy, or "
                f"start a new lake from the same files: LAKE=<folder>."
            ) from error

    def _replace(self, rows: pa.dataset.Dataset, batch: Batch) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        inside = pc.field(batch.column).cast(pa.string()).isin(pa.array(batch.values, pa.string()))
        strangers = rows.count_rows(filter=~inside)
        if strangers:
            raise TableError(
                f"{strangers} rows lie outside the batch {batch.predicate} that is to be replaced in {self._path}: "
                f"nothing was written."
            )
        # A batch of nothing appends nothing: the table is there to be read, and the commit tells what was looked at.
        in_place = self._exists() and batch.values
        replacing = {"mode": "overwrite", "predicate": batch.predicate} if in_place else {"mode": "append"}
        told: dict[str, Any] = {"scope": list(batch.values)}
        if not batch.values:
            told["nothing"] = True
        if batch.of > 1:
            told["part"] = [batch.number, batch.of]
        self._write(rows, told, **replacing)

    def _write(self, rows: pa.dataset.Dataset, told: Mapping[str, Any] | None = None, **how: Any) -> None:
        import deltalake

        overwrites_all = how.get("schema_mode") == "overwrite"
        schema = _storable(rows.schema) if overwrites_all else self._fitting(rows)
        how = {name: value for name, value in how.items() if value is not None}
        with self._told():
            deltalake.write_deltalake(
                self._path, _stream(rows, schema), commit_properties=_properties(told),
                writer_properties=_encoding(schema), **how,
            )  # fmt: skip

    def _merge(self, rows: pa.dataset.Dataset) -> None:
        _unique(rows, self._keys, self._path)
        # `<=>` isn't known to delta-rs: null equals null has to be spelt out.
        same = " AND ".join(f"(s.{k} = t.{k} OR (s.{k} IS NULL AND t.{k} IS NULL))" for k in self._keys)
        with self._told():
            (
                self._open()
                .merge(
                    _stream(rows, self._fitting(rows)).read_all(), predicate=same, source_alias="s",
                    target_alias="t", commit_properties=_properties(),
                )
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .execute()
            )  # fmt: skip

    def _fitting(self, rows: pa.dataset.Dataset) -> pa.Schema:
        """The schema to write rows with: the table's, if there is one and they have its columns and types.

        Raises:
            TableError: Names each column that differs; delta-rs would fill, cast or drop it silently.
        """
        given = _storable(rows.schema)
        if not self._exists():
            return given
        import pyarrow as pa

        stored = {field.name: field.type for field in _storable(delta.schema(self._open()))}
        faults = [f"column {name} is missing" for name in stored if name not in given.names]
        faults += [f"column {name} is not the table's" for name in given.names if name not in stored]
        faults += [
            f"column {field.name} is {field.type}, the table's is {stored[field.name]}"
            for field in given
            if field.name in stored and field.type != stored[field.name]
            and not pa.types.is_null(rows.schema.field(field.name).type)
        ]  # fmt: skip
        if faults:
            raise TableError(
                f"The rows don't fit the table at {self._path}: {'; '.join(faults)}. Nothing was written. If its "
                f"columns changed with the code, start a new lake: LAKE=<folder>."
            )
        return pa.schema([pa.field(name, stored[name]) for name in given.names])

    @contextmanager
    def _told(self) -> Iterator[None]:
        from deltalake.exceptions import CommitFailedError, DeltaError, SchemaMismatchError

        try:
            yield
        except CommitFailedError as error:
            raise TableError(
                f"Another run wrote to {self._path} at the same time and was first; nothing of this one was "
                f"written. Run again. ({error})"
            ) from error
        except (SchemaMismatchError, DeltaError) as error:
            raise TableError(
                f"Table {self._path} could not be written ({error}). If its columns changed with the code, "
                f"start a new lake: LAKE=<folder>."
            ) from error


def _commits(table: deltalake.DeltaTable) -> Iterator[dict[str, Any]]:
    """What commits say of themselves, and their versions, newest first; many are read only if few don't suffice."""
    read = 0
    for most in _HISTORY:
        for commit in table.history(most)[read:]:
            read += 1
            yield {**json.loads(commit.get(_COMMIT_KEY, "{}")), "version": commit["version"]}
        if read < most:
            return


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if isnan(value) else f"{value:.6g}"
    return "" if value is None else str(value)


@contextmanager
def _arrow(data: Any) -> Iterator[pa.dataset.Dataset]:
    """The rows as an Arrow dataset: a Spark frame is computed once, into files that are streamed from there."""
    import pyarrow as pa
    import pyarrow.dataset as pads

    if not hasattr(data, "sparkSession"):
        yield pads.dataset(pa.Table.from_pandas(data, preserve_index=False))
        return
    with tempfile.TemporaryDirectory(prefix="lakehouse-ml-") as folder:
        yield ENGINE.stage(data, Path(folder))


def _storable(schema: pa.Schema) -> pa.Schema:
    """Timestamps in UTC and every column nullable, so that the same rows always have the same schema."""
    import pyarrow as pa

    def stored(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind):
            return pa.timestamp("us", tz="UTC")
        if pa.types.is_null(kind) or pa.types.is_large_string(kind):
            return pa.string()
        if pa.types.is_list(kind):
            return pa.list_(stored(kind.value_type))
        if pa.types.is_struct(kind):
            return pa.struct([pa.field(field.name, stored(field.type)) for field in kind.fields])
        return kind

    return pa.schema([pa.field(field.name, stored(field.type)) for field in schema])


def _stream(rows: pa.dataset.Dataset, schema: pa.Schema) -> pa.RecordBatchReader:
    import pyarrow as pa

    # Read ahead, the rows would all be in memory before they are written: the writer is the slower of the two.
    read = rows.to_batches(batch_readahead=0, fragment_readahead=0, use_threads=False)
    batches = (
        pa.RecordBatch.from_arrays(
            [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
        )
        for batch in read
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


def _encoding(schema: pa.Schema) -> deltalake.WriterProperties:
    """Measurements hardly repeat: a dictionary of each column's is built for nothing, in half of the time to write."""
    import deltalake
    import pyarrow as pa

    plain = deltalake.ColumnProperties(dictionary_enabled=False)
    names = [field.name for field in schema if pa.types.is_floating(field.type)]
    return deltalake.WriterProperties(column_properties=dict.fromkeys(names, plain))


def _unique(rows: pa.dataset.Dataset, keys: Sequence[str], path: str) -> None:
    if not keys:
        return
    table = rows.to_table(columns=list(keys))
    extra = table.num_rows - table.group_by(list(keys)).aggregate([]).num_rows
    if extra:
        raise TableError(f"{extra} rows for {path} repeat the key ({', '.join(keys)}): nothing was written.")


def _properties(told: Mapping[str, Any] | None = None) -> deltalake.CommitProperties:
    """What a commit says of itself: which batch it is of, if it is, and what its rows were made of."""
    import deltalake

    made = current()
    text = json.dumps({"scope": [], **(told or {}), **(json.loads(made.to_json()) if made else {})})
    return deltalake.CommitProperties(custom_metadata={_COMMIT_KEY: text})
