"""Tables at a path by delta-rs, which needs no engine: it reads any log of a path, and commits what Sail computes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.errors import TableError, first_line
from lakehouse_ml.storage import files
from lakehouse_ml.storage.delta import reading, writers
from lakehouse_ml.storage.delta.writers import SAYS, Commit, Layout, Snapshot, Write
from lakehouse_ml.storage.failures import is_disk_failure, is_disk_full, is_store_failure, temporary_folder_full_error
from lakehouse_ml.storage.retry import with_retries

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa


class Log:
    """The log of a table at a path."""

    def __init__(self, path: str) -> None:
        """Nothing is opened yet."""
        self._path = path

    def exists(self) -> bool:
        """Whether there is one."""
        import deltalake

        try:
            return with_retries(lambda: bool(deltalake.DeltaTable.is_deltatable(self._path)))
        except Exception as error:
            if is_store_failure(error):
                raise
            raise TableError(f"There can be no table at {self._path}: {first_line(error)}") from error

    def snapshot(self, version: int | None = None) -> Snapshot:
        """The newest version, or another one."""
        table = self.opened(version)
        metadata, protocol = table.metadata(), table.protocol()
        features = {*(protocol.reader_features or ())}
        if metadata.configuration.get("delta.columnMapping.mode", "none") != "none" and not features:
            features = {"column mapping"}
        return Snapshot(
            table.version(), str(metadata.id), reading.schema(table), frozenset(features), metadata.configuration,
            metadata.description or "",
        )  # fmt: skip

    def commits(self, most: int) -> list[Commit]:
        """The last so many, newest first."""
        with self._read():
            found = with_retries(lambda: self._opened().history(most))
        return [
            Commit(
                commit["version"], datetime.fromtimestamp(commit["timestamp"] / 1000, UTC),
                str(commit.get("operation", "")), commit.get(SAYS),
            )
            for commit in found
        ]  # fmt: skip

    def rows(self, version: int | None, limit: int | None = None) -> pa.Table:
        """Rows of a version, in memory."""
        with self._read():
            return with_retries(lambda: reading.rows(self._opened(version), limit=limit).read_all())

    def count(self, version: int | None, column: str, value: str) -> int:
        """How many rows have a text in a column."""
        with self._read():
            return with_retries(lambda: reading.count(self._opened(version), column, value))

    def appended(self, writer: str) -> int | None:
        """The number of what a writer appended last."""
        return self.opened().transaction_version(writer)

    def opened(self, version: int | None = None) -> deltalake.DeltaTable:
        """The table as delta-rs knows it."""
        with self._read():
            return with_retries(lambda: self._opened(version))

    def _opened(self, version: int | None = None) -> deltalake.DeltaTable:
        import deltalake

        table = deltalake.DeltaTable(self._path, version=version)
        # Without its first commit a log that has no checkpoint is read here, and not by the engine.
        if not _is_whole(self._path):
            raise FileNotFoundError("its log lacks its first commit")
        return table

    @contextmanager
    def _read(self) -> Iterator[None]:
        """What goes wrong while the table is read, as a sentence."""
        try:
            yield
        except TableError:
            raise
        except Exception as error:
            if is_store_failure(error):
                raise
            why = re.split(r"[:,] (?=ParsedLogPath|Object at)|\n", str(error).strip())[0]
            why = re.sub(r"^((External|Kernel|Parquet) error: )+", "", why)
            raise writers.damaged(self._path, why) from error


class Committer:
    """Commits to a table at a path."""

    def __init__(self, path: str) -> None:
        """Nothing is opened yet."""
        self._path = path
        self._log = Log(path)

    @contextmanager
    def taken(self, data: Any) -> Iterator[pa.dataset.Dataset]:
        """The rows as an Arrow dataset: a Spark frame is computed once, into files that are streamed from there."""
        import pyarrow as pa
        import pyarrow.dataset as pads

        if not hasattr(data, "sparkSession"):
            yield pads.dataset(pa.Table.from_pandas(data, preserve_index=False))
            return
        with tempfile.TemporaryDirectory() as folder:
            try:
                staged = ENGINE.stage(data, Path(folder))
            except Exception as error:
                if is_disk_full(error):
                    raise temporary_folder_full_error() from error
                raise
            yield staged

    def repeats(self, rows: pa.dataset.Dataset, keys: Sequence[str]) -> int:
        """How many rows have a key that another row has."""
        table = rows.to_table(columns=list(keys))
        return int(table.num_rows - table.group_by(list(keys)).aggregate([]).num_rows)

    def write(self, rows: pa.dataset.Dataset, how: Write) -> None:
        """Append, overwrite or replace."""
        import deltalake

        self._refuse_strangers(rows, how)
        mode = "overwrite" if how.mode == "replace" else how.mode
        given: dict[str, Any] = {"schema_mode": "overwrite"} if how.mode == "overwrite" else {}
        with self._refusing():
            if how.makes and how.layout.constraints:
                self._make(how)
                mode, given = "append", {}
            elif how.makes:
                mode, given = "append", _made_with(how.layout)
            elif how.mode == "replace" and how.batch:
                given["predicate"] = how.batch.predicate
            elif how.mode == "overwrite" and how.layout.comment not in ("", self._log.snapshot().comment):
                # Overwriting changes what columns say, and not what the table does.
                self._log.opened().alter.set_table_description(how.layout.comment)
            if how.adds:
                given["schema_mode"] = "merge"
            deltalake.write_deltalake(
                self._path, stream(rows, how.schema), mode=mode,
                commit_properties=_properties(how.says, how.once), writer_properties=_encoding(how.schema), **given,
            )  # fmt: skip

    def merge(self, rows: pa.dataset.Dataset, keys: Sequence[str], how: Write) -> None:
        """Update rows of equal keys, insert the others."""
        # `<=>` isn't known to delta-rs: null equals null has to be spelt out.
        same = " AND ".join(f"(s.{k} = t.{k} OR (s.{k} IS NULL AND t.{k} IS NULL))" for k in keys)
        with self._refusing():
            (
                self._log.opened()
                .merge(
                    stream(rows, how.schema).read_all(), predicate=same, source_alias="s", target_alias="t",
                    merge_schema=how.adds, commit_properties=_properties(how.says),
                )
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .execute()
            )  # fmt: skip

    def restore(self, version: int, says: str) -> None:
        """Make an older version the newest."""
        with self._refusing():
            self._log.opened().restore(version, commit_properties=_properties(says))

    def optimise(self, says: str) -> None:
        """Put small files together."""
        with self._refusing():
            self._log.opened().optimize.compact(commit_properties=_properties(says))

    def vacuum(self, hours: int) -> None:
        """Remove files that no version of the last so many hours needs."""
        with self._refusing():
            self._log.opened().vacuum(hours, dry_run=False, enforce_retention_duration=False)

    def _make(self, how: Write) -> None:
        """A table without rows whose conditions hold before the first row comes."""
        import deltalake

        deltalake.write_deltalake(self._path, how.schema.empty_table(), mode="error", **_made_with(how.layout))
        for name, condition in how.layout.constraints.items():
            self._log.opened().alter.add_constraint({name: condition})

    def _refuse_strangers(self, rows: pa.dataset.Dataset, how: Write) -> None:
        if how.batch is None:
            return
        import pyarrow as pa
        import pyarrow.compute as pc

        inside = pc.field(how.batch.column).cast(pa.string()).isin(pa.array(how.batch.values, pa.string()))
        strangers = rows.count_rows(filter=~inside)
        if strangers:
            raise writers.outside(strangers, how.batch, self._path)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        from deltalake.exceptions import CommitFailedError, DeltaError

        try:
            yield
        except CommitFailedError as error:
            raise writers.lost_race(self._path, error) from error
        except DeltaError as error:
            if is_store_failure(error) or is_disk_failure(error):
                raise
            if "failed validation check" in str(error) and self._log.exists():
                raise writers.violated(self._path, self._log.snapshot(), error) from error
            raise writers.unwritten(self._path, error) from error


def _is_whole(path: str) -> bool:
    """Whether a log has its first commit, or a checkpoint in its place."""
    fs, folder = files.locate(path)
    try:
        fs.info(f"{folder}/_delta_log/{0:020}.json")
    except FileNotFoundError:
        return any(".checkpoint" in name for name in fs.ls(f"{folder}/_delta_log", detail=False))
    return True


def stream(rows: pa.dataset.Dataset, schema: pa.Schema) -> pa.RecordBatchReader:
    """The rows with these types, one batch after another as the writer asks for them."""
    import pyarrow as pa

    batches = (
        pa.RecordBatch.from_arrays(
            [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
        )
        for batch in _batches(rows)
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


def _batches(rows: pa.dataset.Dataset) -> Iterator[pa.RecordBatch]:
    """One batch after another, and none before it is asked for."""
    import pyarrow as pa
    import pyarrow.dataset as pads
    import pyarrow.parquet as pq

    if not isinstance(rows, pads.FileSystemDataset):
        yield from rows.to_batches()
        return
    # A scan by Arrow reads ahead of the writer, which is the slower of the two, even when it is told not to: rows pile
    # up with the load of the machine. Parquet's buffers would hold most of a file.
    for path in rows.files:
        if isinstance(rows.format, pads.ParquetFileFormat):
            with pq.ParquetFile(path, pre_buffer=False) as file:
                yield from file.iter_batches()
        else:
            with pa.OSFile(path) as source, pa.ipc.open_file(source) as file:
                yield from (file.get_batch(number) for number in range(file.num_record_batches))


def _made_with(layout: Layout) -> dict[str, Any]:
    given = {
        "description": layout.comment,
        "partition_by": list(layout.partition_by),
        "configuration": dict(layout.properties),
    }
    return {name: value for name, value in given.items() if value}


def _encoding(schema: pa.Schema) -> deltalake.WriterProperties:
    """Measurements hardly repeat: a dictionary of each column's is built for nothing, in half of the time to write."""
    import deltalake
    import pyarrow as pa

    plain = deltalake.ColumnProperties(dictionary_enabled=False)
    names = [field.name for field in schema if pa.types.is_floating(field.type)]
    return deltalake.WriterProperties(column_properties=dict.fromkeys(names, plain))


def _properties(says: str, once: tuple[str, int] | None = None) -> deltalake.CommitProperties:
    import deltalake

    return deltalake.CommitProperties(
        custom_metadata={SAYS: says}, app_transactions=[deltalake.Transaction(*once)] if once else None
    )
