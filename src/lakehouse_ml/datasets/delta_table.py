"""Delta tables with one contract: Spark commits where Spark is the engine, delta-rs elsewhere."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from math import isnan
from typing import TYPE_CHECKING, Any, Literal, cast

from kedro.io import AbstractDataset
from pydantic import validate_call

from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.errors import TableError
from lakehouse_ml.storage.delta import delta_rs, spark, writers
from lakehouse_ml.storage.delta.writers import Layout, Snapshot, TableLog, TableWriter, WritePlan, normalise_schema
from lakehouse_ml.storage.provenance import get_provenance
from lakehouse_ml.storage.writes import IdempotentAppend, ReplaceBatch, collect, shorten_address

if TYPE_CHECKING:
    import pyarrow as pa
    from kedro_datasets._typing import TablePreview
    from pyspark.sql import DataFrame, SparkSession

    from lakehouse_ml.use_cases.contracts import Table

log = logging.getLogger(__name__)

Mode = Literal["append", "overwrite", "replace"]

# How many commits are searched for the one of a node: first a few, then at most so many. Beyond, the node simply runs
# again. A range of days has a commit a day.
_COMMIT_LIMITS = (200, 2_000)
# Reader features that delta-rs and Sail support. They might misread any other: with column mapping delta-rs returns
# NULL for every value, silently.
_SUPPORTED_FEATURES = frozenset({"timestampNtz"})
# Operations that leave every row as it is; a catalog runs some of them by itself.
_MAINTENANCE = frozenset(
    {
        "OPTIMIZE",
        "VACUUM START",
        "VACUUM END",
        "ADD CONSTRAINT",
        "DROP CONSTRAINT",
        "SET TBLPROPERTIES",
        "UNSET TBLPROPERTIES",
        "CHANGE COLUMN",
        "UPDATE COLUMN METADATA",
        "UPDATE TABLE METADATA",
        "COMPUTE STATS",
        "UPGRADE PROTOCOL",
        "ADD FEATURE",
        "CREATE TABLE",
    }
)
WEEK_HOURS = 7 * 24
# Nodes find their earlier results by commits, which Delta removes after 30 days at a checkpoint: a model would be
# trained again without a new row, and lineage would end there. The text of a commit is small.
_DEFAULT_PROPERTIES = {"delta.logRetentionDuration": "interval 3650 days"}


class DeltaTable(AbstractDataset[Any, Any]):
    """A Delta table. Loads as a Spark frame (pinned to one version) or as a pandas frame.

    Saving a `ReplaceBatch` replaces the rows of that batch and nothing else. An `IdempotentAppend` adds its rows once,
    however often it is saved. Any other frame is written by `mode`.

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
        kind: Literal["path", "schema"] = "path",
        mode: Literal["overwrite", "append", "merge"] = "overwrite",
        keys: Sequence[str] = (),
        at_version: int | None = None,
        at_time: datetime | None = None,
        frame: Literal["spark", "pandas"] = "spark",
        made_of: str | None = None,
        new_columns: bool = False,
        keep_unchanged: bool = False,
        partition_by: Sequence[str] = (),
        properties: Mapping[str, str] | None = None,
        constraints: Mapping[str, str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Configure the table. Nothing is opened before `load` or `save`.

        Args:
            filepath: Folder, address or name of the table.
            kind: What `filepath` is: a `path`, or a name in a `schema` of the engine's catalog,
                `[catalog.]schema.table`.
            mode: What saving a plain frame does. `merge` updates rows with equal `keys` (null equals null) and
                inserts the others.
            keys: Columns that identify a row, for `merge`.
            at_version: Version to load instead of the newest. Such an entry cannot be saved to.
            at_time: Load the newest version of this time (UTC if it has no zone). Such an entry cannot be saved to.
            frame: What `load` returns.
            made_of: Column of a saved pandas frame that receives the versions of the inputs (JSON), for tables whose
                rows must name them.
            new_columns: Whether saved rows may add columns; older rows are null there. No column may be removed or
                change its type.
            keep_unchanged: Whether an overwrite by a Spark frame with the same rows, in any order, keeps the token of
                the table; only the commit records that they were computed again.
            partition_by: Partition columns of a new table.
            properties: Delta's table properties of a new table. Its log is kept ten years unless they say otherwise.
            constraints: CHECK constraints of a new table, SQL by name. Rows for which one is not true are refused.
            metadata: For kedro-viz.
        """
        if mode == "merge" and not keys:
            raise TableError(f"Table {filepath}: mode `merge` needs `keys` in the catalog.")
        if kind == "schema" and filepath.startswith("/"):
            # Kedro prefixes each relative `filepath` with the project folder, names of tables included.
            filepath = filepath.rpartition("/")[2]
        if kind == "schema" and (filepath.count(".") not in (1, 2) or "/" in filepath or "`" in filepath):
            raise TableError(f"Table {filepath}: of kind `schema` it needs a name, `[catalog.]schema.table`.")
        self._path = filepath
        self.kind = kind
        self._mode = mode
        self._keys = tuple(keys)
        self._at_version = at_version
        self._at_time = at_time and (at_time if at_time.tzinfo else at_time.replace(tzinfo=UTC))
        self._frame = frame
        self._made_of = made_of
        self._new_columns = new_columns
        self._keep_unchanged = keep_unchanged
        self._layout = Layout(
            partition_by=tuple(partition_by),
            properties={**_DEFAULT_PROPERTIES, **(properties or {})},
            constraints=constraints or {},
        )
        self.metadata = metadata

    @property
    def address(self) -> str:
        """Path or name of the table."""
        return self._path

    def document(self, contract: Table) -> None:
        """Store what a contract says of rows and columns as comments, with the next creation or overwrite."""
        comments = {column.name: column.doc for column in contract.columns}
        self._layout = replace(self._layout, comment=contract.grain, comments=comments)

    def load(self) -> Any:
        """Load the rows of the newest (or the pinned) version.

        Raises:
            TableError: The table does not exist, or has features that would be misread.
        """
        if self._frame == "spark":
            return self.load_frame()
        return self._log.read_rows(self._require_snapshot().version).to_pandas()

    def load_frame(self, session: SparkSession | None = None) -> DataFrame:
        """Load the rows as a frame of a Spark session, by default the project's own.

        Raises:
            TableError: As for `load`.
        """
        log = self._log
        version = self._require_snapshot().version
        if isinstance(log, spark.CatalogLog):
            return log.read_frame(version, session)
        reader = (session or ENGINE.session()).read.format("delta").option("versionAsOf", version)
        return reader.load(ENGINE.readable_path(self._path))

    def save(self, data: Any) -> None:
        """Commit a frame, a batch or an idempotent append in one atomic step.

        Raises:
            TableError: Rows outside the batch, duplicate keys, columns that differ from the table's, rows that violate
                a constraint, or a lost race.
        """
        pinned = f"version {self._at_version}" if self._at_version is not None else self._at_time
        if pinned is not None:
            raise TableError(f"Table {self._path} is pinned to {pinned} and can't be written.")
        if isinstance(data, ReplaceBatch):
            self._save_batch(data)
        elif isinstance(data, IdempotentAppend):
            self._save_idempotent_append(data)
        else:
            self._save_frame(data)

    def restore(self, version: int) -> None:
        """Make an older version the newest; the versions after it stay in the history.

        Raises:
            TableError: The version does not exist any more.
        """
        self._log.read_snapshot(version)
        self._writer.restore(version, _commit_metadata({"restored": version}))

    def optimise(self) -> None:
        """Compact small files; rows and `token` stay the same."""
        self._writer.optimise(_commit_metadata())

    def vacuum(self, hours: int = WEEK_HOURS, *, even_young: bool = False) -> None:
        """Remove files that no version of the last `hours` hours needs: older versions can't be read afterwards.

        Raises:
            TableError: Less than a week, without `even_young`.
        """
        if hours < WEEK_HOURS and not even_young:
            raise TableError(
                f"Table {self._path}: files of the last {WEEK_HOURS} hours are kept, because a run may still read or "
                f"write them. If no run does, remove them by vacuum({hours}, even_young=True)."
            )
        self._writer.vacuum(hours)

    def commits(self) -> Iterator[dict[str, Any]]:
        """The metadata of each commit, newest first, with its `version`, `operation` and time `at` (UTC).

        Starts at the version that `load` reads. Reads few commits first, and many only if those do not suffice.
        """
        self._check_exists()
        yield from self._iterate_commits()

    def _iterate_commits(self) -> Iterator[dict[str, Any]]:
        """As `commits`, for a table that exists: in a bucket each check is a request."""
        is_pinned = self._at_version is not None or self._at_time is not None
        newest = self._read_snapshot().version if is_pinned else None
        n_read = 0
        for limit in _COMMIT_LIMITS:
            history = self._log.read_commits(limit)
            for commit in history[n_read:]:
                if newest is None or commit.version <= newest:
                    fields = {"version": commit.version, "operation": commit.operation, "at": commit.timestamp}
                    yield {**_parse_commit_metadata(commit.metadata), **fields}
            n_read = len(history)
            if n_read < limit:
                return

    def origin_commits(self, version: int | None = None, batch: str | None = None) -> list[dict[str, Any]]:
        """The commits that wrote the rows of a version, newest first, as `commits` yields them.

        Args:
            version: By default the one that `load` reads.
            batch: Only the commit that stored this batch: its own, or an overwrite that may contain it.
        """
        self._check_exists()
        origins: list[dict[str, Any]] = []
        covered_batches: set[str] = set()
        for commit in self._iterate_changes():
            scope = set(commit.get("scope", []))
            is_newer = version is not None and commit["version"] > version
            is_of_other_batches = bool(scope) and (scope <= covered_batches or batch not in {None, *scope})
            if is_newer or commit.get("nothing") or is_of_other_batches:
                continue
            if "restored" in commit:
                return origins + self.origin_commits(commit["restored"], batch)
            origins.append(commit)
            covered_batches |= scope
            if batch is not None or (not scope and self._mode == "overwrite"):
                break
        return origins

    def _save_frame(self, data: Any) -> None:
        if self._made_of:
            provenance = get_provenance()
            data = data.assign(**{self._made_of: json.dumps(dict(provenance.inputs) if provenance else {})})
        details: dict[str, Any] = {}
        if self._keep_unchanged and hasattr(data, "sparkSession"):
            details["rows"] = _hash_content(data)
            if self._stored_content_hash() == details["rows"]:
                # Not every engine records a commit without rows, so the rows are written again; readers see no change.
                details["nothing"] = True
        with self._writer.prepare(data) as rows:
            if self._keys and (n_duplicates := self._writer.count_duplicate_keys(rows, self._keys)):
                raise TableError(
                    f"{n_duplicates} rows for {self._path} repeat the key ({', '.join(self._keys)}): nothing was "
                    f"written."
                )
            if self._mode == "merge" and self._exists():
                self._writer.merge(rows, self._keys, self._plan_write("append", rows))
            else:
                mode: Mode = "append" if self._mode == "append" else "overwrite"
                self._writer.write(rows, self._plan_write(mode, rows, details))

    def _stored_content_hash(self) -> str | None:
        """Content hash that the newest commit with changed rows recorded."""
        if not self._exists():
            return None
        return next((commit.get("rows") for commit in self._iterate_changes() if not commit.get("nothing")), None)

    def _save_idempotent_append(self, data: IdempotentAppend) -> None:
        if self._exists():
            last = self._log.last_transaction(data.writer)
            if last is not None and last >= data.number:
                return
        with self._writer.prepare(data.rows) as rows:
            self._writer.write(rows, self._plan_write("append", rows, transaction=(data.writer, data.number)))

    def _save_batch(self, batch: ReplaceBatch) -> None:
        """Replace a batch. A batch of several that an interrupted run of the same node completed is skipped."""
        if batch.rows is None:
            return
        name = "/".join(batch.values)
        progress = f"  {name} ({batch.number} of {batch.count})"
        if batch.count > 1 and self._is_batch_current(batch):
            log.info("%s: already stored", progress)
            return
        if batch.keeps_stored and self._has_rows_of(batch):
            log.info("  %s: already stored, and its outcomes are known: kept as it is", name)
            self._rewrite_batch(batch)
            return
        details: dict[str, Any] = {"scope": list(batch.values)}
        if not batch.values:
            details["nothing"] = True
        if batch.count > 1:
            details["part"] = [batch.number, batch.count]
        with self._writer.prepare(batch.rows) as rows:
            # Appending no rows creates a missing table and records in the commit what was looked at.
            mode: Mode = "replace" if batch.values else "append"
            self._writer.write(rows, self._plan_write(mode, rows, details, batch=batch))
        if batch.count > 1:
            log.info("%s", progress)

    def _rewrite_batch(self, batch: ReplaceBatch) -> None:
        """Replace a batch by its own stored rows: Spark records no commit without rows."""
        table_rows = self.load()
        if hasattr(table_rows, "sparkSession"):
            batch_rows = table_rows.where(batch.predicate)
        else:
            batch_rows = table_rows[table_rows[batch.column].astype("string").isin(batch.values)]
        with self._writer.prepare(batch_rows) as rows:
            self._writer.write(rows, self._plan_write("replace", rows, {"nothing": True}, batch=batch))

    def _has_rows_of(self, batch: ReplaceBatch) -> bool:
        return self._exists() and any(self.count_rows(batch.column, value) for value in batch.values)

    def _is_batch_current(self, batch: ReplaceBatch) -> bool:
        """Whether a run with the same fingerprint stored this batch, and no commit replaced it since."""
        provenance = get_provenance()
        if provenance is None or not self._exists():
            return False
        for commit in self._iterate_changes():
            scope = set(commit.get("scope", []))
            if not scope or scope & set(batch.values):
                return commit.get("fingerprint") == provenance.fingerprint and scope == set(batch.values)
        return False

    def preview(self, nrows: int = 10) -> TablePreview:
        """The first rows as kedro-viz shows them; a table at a path is read without the engine."""
        rows = self._log.read_rows(self._require_snapshot().version, limit=nrows)
        cells = [
            [value if isinstance(value, int | str) else _format_cell(value) for value in row.values()]
            for row in rows.to_pylist()
        ]
        return cast("TablePreview", {"index": list(range(len(cells))), "columns": rows.column_names, "data": cells})

    def token(self) -> str | None:
        """The version that `load` would read, and of which table."""
        if not self._exists():
            return None
        snapshot = self._read_snapshot()
        # A table that was removed and created again begins at version 0 again: its id tells them apart.
        return f"v{self._last_change(snapshot)} of {snapshot.id[:8]}"

    def batches_since(self, tokens: Iterable[str]) -> set[str]:
        """The batches that nodes stored after the version that one of these tokens names; all, if none does.

        Withdrawals do not count: no node made them, and their own command completes them.
        """
        own_token = re.compile(rf"v(\d+) of {re.escape(self._read_snapshot().id[:8])}")
        last = max((int(match[1]) for match in map(own_token.fullmatch, tokens) if match), default=-1)
        later = takewhile(lambda commit: commit["version"] > last, self._iterate_changes())
        return {batch for commit in later if commit.get("inputs") for batch in commit.get("scope", [])}

    def _last_change(self, snapshot: Snapshot) -> int:
        """The newest version whose rows differ from those of the version before.

        For a table without rows the version that created it, whatever maintenance followed.
        """
        if self._at_version is not None:
            return self._at_version
        oldest: int | None = None
        for commit in self._iterate_changes():
            oldest = int(commit["version"])
            if not commit.get("nothing"):
                break
        return snapshot.version if oldest is None else oldest

    def _iterate_changes(self) -> Iterator[dict[str, Any]]:
        """Commits that may have changed rows, of a table that exists."""
        return (commit for commit in self._iterate_commits() if commit["operation"] not in _MAINTENANCE)

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether the newest commit (for a batch, the newest commit to that batch) has this fingerprint."""
        if not self._exists():
            return False
        newer: set[str] = set()
        parts: set[int] = set()
        for commit in self._iterate_changes():
            scope = set(commit.get("scope", []))
            if commit.get("fingerprint") == fingerprint:
                # Several runs may have stored the parts of a result in any order: each part must still be current.
                number, count = commit.get("part", (1, 1))
                # A commit to all rows, or one that only recorded that rows stay, has no scope: any newer batch
                # changed it.
                if number not in parts and newer and (not scope or scope & newer):
                    return False
                parts.add(number)
                if len(parts) == count:
                    return True
                continue
            if not scope and self._mode != "merge":
                return False
            newer |= scope
        return False

    def count_rows(self, column: str, value: str) -> int:
        """Number of rows whose text column has this value."""
        return self._log.count_rows(self._require_snapshot().version, column, value)

    def last_batch(self) -> str | None:
        """The batch that was stored last (of several at once, the last one); None if none was stored."""
        if not self._exists():
            return None
        return next((commit["scope"][-1] for commit in self._iterate_changes() if commit.get("scope")), None)

    def _exists(self) -> bool:
        return self._log.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": shorten_address(self._path), "mode": self._mode, "at_version": self._at_version}

    @property
    def _uses_spark(self) -> bool:
        """Whether Spark reads and commits; a pandas frame at a path needs no engine."""
        return self.kind == "schema" or (self._frame == "spark" and ENGINE.writes_delta)

    @property
    def _log(self) -> TableLog:
        # delta-rs reads a log at a path in milliseconds without a JVM, whoever wrote it.
        if self.kind == "path":
            return delta_rs.PathLog(self._path)
        if not ENGINE.writes_delta:
            raise TableError(
                f"Table {self._path} is a name in a catalog, and this engine has no catalog: name a folder or an "
                f"address (lake_kind: path), or run with Apache Spark (--env spark)."
            )
        return spark.CatalogLog(self._path)

    @property
    def _writer(self) -> TableWriter:
        if not self._uses_spark:
            return delta_rs.DeltaRsWriter(self._path)
        name = spark.quote_name(self._path) if self.kind == "schema" else spark.path_as_name(self._path)
        return spark.SparkWriter(self._path, name, self._log)

    def _require_snapshot(self) -> Snapshot:
        """The version that `load` reads.

        Raises:
            TableError: The table does not exist, has no version at that time, or has features that would be misread.
        """
        self._check_exists()
        return self._read_snapshot()

    def _check_exists(self) -> None:
        if not self._exists():
            raise TableError(f"There is no table at {self._path} yet: run the stage that writes it first.")

    def _read_snapshot(self) -> Snapshot:
        """As `_require_snapshot`, for a table that exists: in a catalog each check is a query."""
        version = self._at_version if self._at_time is None else self._find_version_at(self._at_time)
        snapshot = self._log.read_snapshot(version)
        unsupported = snapshot.features - _SUPPORTED_FEATURES
        if unsupported and not self._uses_spark:
            raise writers.unsupported_feature_error(self._path, ", ".join(sorted(unsupported)))
        return snapshot

    def _find_version_at(self, time: datetime) -> int:
        history = self._log.read_commits(_COMMIT_LIMITS[-1])
        for commit in history:
            if commit.timestamp <= time:
                return commit.version
        oldest = history[-1]
        raise TableError(
            f"The table at {self._path} has no version of {time:%Y-%m-%d %H:%M:%S} or before: the oldest in its log is "
            f"{oldest.version}, of {oldest.timestamp:%Y-%m-%d %H:%M:%S} UTC."
        )

    def _plan_write(
        self, mode: Mode, rows: writers.PreparedRows, details: Mapping[str, Any] | None = None, **options: Any
    ) -> WritePlan:
        """Plan a write: a new or overwritten table takes the rows' schema, else the rows must fit the table's.

        Raises:
            TableError: Names each column that differs; a writer would fill, cast or drop it silently.
        """
        schema = normalise_schema(rows.schema, self._layout.comments)
        metadata = _commit_metadata(details)
        creates_table = not self._exists()
        if creates_table or mode == "overwrite":
            return WritePlan(mode, schema, metadata, self._layout, creates_table, **options)
        stored_fields = {field.name: field for field in normalise_schema(self._read_snapshot().schema)}
        new = [name for name in schema.names if name not in stored_fields]
        faults = _find_column_faults(rows.schema, schema, stored_fields)
        if not self._new_columns:
            faults += [f"column {name} is not the table's" for name in new]
        if faults:
            raise TableError(
                f"The rows don't fit the table at {self._path}: {'; '.join(faults)}. Nothing was written. If its "
                f"columns changed with the code, start a new lake: LAKE=<folder>."
            )
        import pyarrow as pa

        aligned = pa.schema([stored_fields.get(field.name, field) for field in schema])
        return WritePlan(mode, aligned, metadata, self._layout, creates_table, adds_columns=bool(new), **options)


def _find_column_faults(original: pa.Schema, schema: pa.Schema, stored_fields: Mapping[str, pa.Field]) -> list[str]:
    """Why columns cannot be written as those of the table; a column of nulls fits any type."""
    import pyarrow as pa

    missing = [f"column {name} is missing" for name in stored_fields if name not in schema.names]
    return missing + [
        f"column {field.name} is {field.type}, the table's is {stored_fields[field.name].type}"
        for field in schema
        if field.name in stored_fields
        and field.type != stored_fields[field.name].type
        and not pa.types.is_null(original.field(field.name).type)
    ]


def _hash_content(frame: DataFrame) -> str:
    """Hash columns and rows: the same rows in any order, by any engine, have the same hash.

    Sums of the upper and of the lower half of each row's 64-bit hash, so that no sum of hashes overflows.
    """
    from pyspark.sql import functions as F

    row = F.xxhash64(*(F.col(f"`{name}`") for name in frame.columns))
    low, high = row.bitwiseAND(F.lit(2**32 - 1)), F.shiftrightunsigned(row, 32)
    sums = frame.agg(F.count(F.lit(1)).alias("n"), F.sum(low).alias("low"), F.sum(high).alias("high"))
    n, *halves = collect(sums).iloc[0].fillna(0).astype("int64").tolist()
    columns = ", ".join(f"{name} {kind}" for name, kind in frame.dtypes)
    return hashlib.sha256(f"{columns}: {n} rows, {halves}".encode()).hexdigest()[:32]


def _commit_metadata(details: Mapping[str, Any] | None = None) -> str:
    """JSON for a commit: its batches (`scope`), further details, and the provenance of its rows."""
    provenance = get_provenance()
    origin = json.loads(provenance.to_json()) if provenance else {}
    return json.dumps({"scope": [], **(details or {}), **origin})


def _parse_commit_metadata(text: str | None) -> dict[str, Any]:
    """The metadata of a commit of ours; empty for the free text of other writers."""
    try:
        metadata = json.loads(text or "{}")
    except ValueError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _format_cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if isnan(value) else f"{value:.6g}"
    return "" if value is None else str(value)
