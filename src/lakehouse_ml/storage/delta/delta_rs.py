"""Log and writer of Delta tables at a path by delta-rs, without an engine: commits what Sail or pandas computes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.errors import TableError, first_line
from lakehouse_ml.storage import files
from lakehouse_ml.storage.delta import reading, writers
from lakehouse_ml.storage.delta.writers import COMMIT_METADATA, Commit, Layout, Snapshot, WritePlan
from lakehouse_ml.storage.failures import is_disk_failure, is_disk_full, is_store_failure, temporary_folder_full_error
from lakehouse_ml.storage.retry import with_retries

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa


@dataclass(frozen=True)
class PathSnapshot:
    """One version of a table at a path."""

    version: int
    id: str
    schema: pa.Schema
    features: frozenset[str]
    properties: Mapping[str, str]
    comment: str


class PathLog:
    """Log of a table at a path."""

    def __init__(self, path: str) -> None:
        """No file is opened yet."""
        self._path = path

    def exists(self) -> bool:
        """Whether the table exists."""
        import deltalake

        try:
            return with_retries(lambda: bool(deltalake.DeltaTable.is_deltatable(self._path)))
        except Exception as error:
            if is_store_failure(error):
                raise
            raise TableError(f"No table can be at {self._path}: {first_line(error)}") from error

    def read_snapshot(self, version: int | None = None) -> Snapshot:
        """The given version, by default the newest."""
        table = self.open(version)
        metadata, protocol = table.metadata(), table.protocol()
        features = {*(protocol.reader_features or ())}
        if metadata.configuration.get("delta.columnMapping.mode", "none") != "none" and not features:
            features = {"column mapping"}
        return PathSnapshot(
            version=table.version(),
            id=str(metadata.id),
            schema=reading.read_schema(table),
            features=frozenset(features),
            properties=metadata.configuration,
            comment=metadata.description or "",
        )

    def read_commits(self, limit: int) -> list[Commit]:
        """At most `limit` commits, newest first."""
        with self._raising_read_errors():
            history = with_retries(lambda: self._open().history(limit))
        return [
            Commit(
                version=entry["version"],
                timestamp=datetime.fromtimestamp(entry["timestamp"] / 1000, UTC),
                operation=str(entry.get("operation", "")),
                metadata=entry.get(COMMIT_METADATA),
            )
            for entry in history
        ]

    def read_rows(self, version: int | None, limit: int | None = None) -> pa.Table:
        """Rows of a version, in memory."""
        with self._raising_read_errors():
            return with_retries(lambda: reading.read_rows(self._open(version), limit=limit).read_all())

    def count_rows(self, version: int | None, column: str, value: str) -> int:
        """Number of rows whose text column has this value."""
        with self._raising_read_errors():
            return with_retries(lambda: reading.count_rows(self._open(version), column, value))

    def last_transaction(self, writer: str) -> int | None:
        """Sequence number of a writer's last idempotent append."""
        return self.open().transaction_version(writer)

    def open(self, version: int | None = None) -> deltalake.DeltaTable:
        """The table as a delta-rs object."""
        with self._raising_read_errors():
            return with_retries(lambda: self._open(version))

    def _open(self, version: int | None = None) -> deltalake.DeltaTable:
        import deltalake

        table = deltalake.DeltaTable(self._path, version=version)
        # delta-rs reads a log that lacks both its first commit and a checkpoint; the engine does not.
        if not _has_first_commit(self._path):
            raise FileNotFoundError("its log lacks its first commit")
        return table

    @contextmanager
    def _raising_read_errors(self) -> Iterator[None]:
        """Turn an error while reading into a `TableError`; failures of the store pass."""
        try:
            yield
        except TableError:
            raise
        except Exception as error:
            if is_store_failure(error):
                raise
            reason = re.split(r"[:,] (?=ParsedLogPath|Object at)|\n", str(error).strip())[0]
            reason = re.sub(r"^((External|Kernel|Parquet) error: )+", "", reason)
            raise writers.damaged_table_error(self._path, reason) from error


class DeltaRsWriter:
    """Commits to a table at a path."""

    def __init__(self, path: str) -> None:
        """No file is opened yet."""
        self._path = path
        self._log = PathLog(path)

    @contextmanager
    def prepare(self, data: Any) -> Iterator[pa.dataset.Dataset]:
        """Turn rows into an Arrow dataset: a Spark frame is computed once, into temporary files to stream from."""
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

    def count_duplicate_keys(self, rows: pa.dataset.Dataset, keys: Sequence[str]) -> int:
        """Number of rows that repeat the key of another row."""
        table = rows.to_table(columns=list(keys))
        return int(table.num_rows - table.group_by(list(keys)).aggregate([]).num_rows)

    def write(self, rows: pa.dataset.Dataset, plan: WritePlan) -> None:
        """Append, overwrite or replace."""
        import deltalake

        self._check_batch(rows, plan)
        mode = "overwrite" if plan.mode == "replace" else plan.mode
        options: dict[str, Any] = {"schema_mode": "overwrite"} if plan.mode == "overwrite" else {}
        with self._raising_table_errors():
            if plan.creates_table and plan.layout.constraints:
                self._create(plan)
                mode, options = "append", {}
            elif plan.creates_table:
                mode, options = "append", _creation_options(plan.layout)
            elif plan.mode == "replace" and plan.batch:
                options["predicate"] = plan.batch.predicate
            elif plan.mode == "overwrite" and plan.layout.comment not in ("", self._log.read_snapshot().comment):
                # An overwrite updates the comments of columns, and not the one of the table.
                self._log.open().alter.set_table_description(plan.layout.comment)
            if plan.adds_columns:
                options["schema_mode"] = "merge"
            deltalake.write_deltalake(
                self._path,
                stream_batches(rows, plan.schema),
                mode=mode,
                commit_properties=_commit_properties(plan.commit_metadata, plan.transaction),
                writer_properties=_writer_properties(plan.schema),
                **options,
            )

    def merge(self, rows: pa.dataset.Dataset, keys: Sequence[str], plan: WritePlan) -> None:
        """Update rows with equal keys (null equals null) and insert the others."""
        # delta-rs has no `<=>`.
        predicate = " AND ".join(f"(s.{k} = t.{k} OR (s.{k} IS NULL AND t.{k} IS NULL))" for k in keys)
        with self._raising_table_errors():
            (
                self._log.open()
                .merge(
                    stream_batches(rows, plan.schema).read_all(),
                    predicate=predicate,
                    source_alias="s",
                    target_alias="t",
                    merge_schema=plan.adds_columns,
                    commit_properties=_commit_properties(plan.commit_metadata),
                )
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .execute()
            )

    def restore(self, version: int, commit_metadata: str) -> None:
        """Make an older version the newest."""
        with self._raising_table_errors():
            self._log.open().restore(version, commit_properties=_commit_properties(commit_metadata))

    def optimise(self, commit_metadata: str) -> None:
        """Compact small files."""
        with self._raising_table_errors():
            self._log.open().optimize.compact(commit_properties=_commit_properties(commit_metadata))

    def vacuum(self, hours: int) -> None:
        """Remove files that no version of the last `hours` hours needs."""
        with self._raising_table_errors():
            self._log.open().vacuum(hours, dry_run=False, enforce_retention_duration=False)

    def _create(self, plan: WritePlan) -> None:
        """Create an empty table with its constraints, so that they hold for the first rows too."""
        import deltalake

        deltalake.write_deltalake(self._path, plan.schema.empty_table(), mode="error", **_creation_options(plan.layout))
        for name, predicate in plan.layout.constraints.items():
            self._log.open().alter.add_constraint({name: predicate})

    def _check_batch(self, rows: pa.dataset.Dataset, plan: WritePlan) -> None:
        """Refuse rows outside the batch.

        Raises:
            TableError: Says how many rows.
        """
        if plan.batch is None:
            return
        import pyarrow as pa
        import pyarrow.compute as pc

        is_in_batch = pc.field(plan.batch.column).cast(pa.string()).isin(pa.array(plan.batch.values, pa.string()))
        n_outside = rows.count_rows(filter=~is_in_batch)
        if n_outside:
            raise writers.rows_outside_batch_error(n_outside, plan.batch, self._path)

    @contextmanager
    def _raising_table_errors(self) -> Iterator[None]:
        """Turn delta-rs's refusal of a commit into a `TableError`; failures of store and disk pass."""
        from deltalake.exceptions import CommitFailedError, DeltaError

        try:
            yield
        except CommitFailedError as error:
            raise writers.lost_race_error(self._path, error) from error
        except DeltaError as error:
            if is_store_failure(error) or is_disk_failure(error):
                raise
            if "failed validation check" in str(error) and self._log.exists():
                raise writers.broken_constraint_error(self._path, self._log.read_snapshot(), error) from error
            raise writers.failed_write_error(self._path, error) from error


def _has_first_commit(path: str) -> bool:
    """Whether a log has its first commit or, in its place, a checkpoint."""
    fs, folder = files.locate(path)
    try:
        fs.info(f"{folder}/_delta_log/{0:020}.json")
    except FileNotFoundError:
        return any(".checkpoint" in name for name in fs.ls(f"{folder}/_delta_log", detail=False))
    return True


def stream_batches(rows: pa.dataset.Dataset, schema: pa.Schema) -> pa.RecordBatchReader:
    """Cast the rows to a schema, lazily, one batch at a time."""
    import pyarrow as pa

    batches = (
        pa.RecordBatch.from_arrays(
            [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
        )
        for batch in _iterate_batches(rows)
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


def _iterate_batches(rows: pa.dataset.Dataset) -> Iterator[pa.RecordBatch]:
    """Read one batch at a time, without reading ahead."""
    import pyarrow as pa
    import pyarrow.dataset as pads
    import pyarrow.parquet as pq

    if not isinstance(rows, pads.FileSystemDataset):
        yield from rows.to_batches()
        return
    # Arrow's scanner reads ahead of the writer, the slower of the two, even with read-ahead off: on a busy machine rows
    # pile up in memory. Parquet's pre-buffering would hold most of a file.
    for path in rows.files:
        if isinstance(rows.format, pads.ParquetFileFormat):
            with pq.ParquetFile(path, pre_buffer=False) as file:
                yield from file.iter_batches()
        else:
            with pa.OSFile(path) as source, pa.ipc.open_file(source) as file:
                yield from (file.get_batch(number) for number in range(file.num_record_batches))


def _creation_options(layout: Layout) -> dict[str, Any]:
    options = {
        "description": layout.comment,
        "partition_by": list(layout.partition_by),
        "configuration": dict(layout.properties),
    }
    return {name: value for name, value in options.items() if value}


def _writer_properties(schema: pa.Schema) -> deltalake.WriterProperties:
    """Turn dictionaries off for floats, which hardly repeat: building them takes half of the time to write."""
    import deltalake
    import pyarrow as pa

    plain = deltalake.ColumnProperties(dictionary_enabled=False)
    names = [field.name for field in schema if pa.types.is_floating(field.type)]
    return deltalake.WriterProperties(column_properties=dict.fromkeys(names, plain))


def _commit_properties(commit_metadata: str, transaction: tuple[str, int] | None = None) -> deltalake.CommitProperties:
    import deltalake

    return deltalake.CommitProperties(
        custom_metadata={COMMIT_METADATA: commit_metadata},
        app_transactions=[deltalake.Transaction(*transaction)] if transaction else None,
    )
