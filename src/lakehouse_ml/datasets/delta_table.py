"""Delta tables with one contract: committed by Spark where Spark is the engine, else by delta-rs."""

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
from lakehouse_ml.storage.delta.writers import Committer, Layout, Log, Snapshot, Write, storable
from lakehouse_ml.storage.provenance import get_provenance
from lakehouse_ml.storage.writes import IdempotentAppend, ReplaceBatch, collect, shorten_address

if TYPE_CHECKING:
    import pyarrow as pa
    from kedro_datasets._typing import TablePreview
    from pyspark.sql import DataFrame, SparkSession

    from lakehouse_ml.use_cases.contracts import Table

log = logging.getLogger(__name__)

Mode = Literal["append", "overwrite", "replace"]

# How far back a commit is looked for that a node made, at first and at most: beyond, the node simply runs again. A
# range of days has a commit a day.
_HISTORY = (200, 2_000)
# What readers have to know of a table, and delta-rs and Sail do. Whatever else there is, they might misread: with
# column mapping delta-rs gives NULL for every value, silently.
_KNOWN = frozenset({"timestampNtz"})
# Commits that leave every row as it is; a catalog makes some of them by itself.
_UPKEEP = frozenset({
    "OPTIMIZE", "VACUUM START", "VACUUM END", "ADD CONSTRAINT", "DROP CONSTRAINT", "SET TBLPROPERTIES",
    "UNSET TBLPROPERTIES", "CHANGE COLUMN", "UPDATE COLUMN METADATA", "UPDATE TABLE METADATA", "COMPUTE STATS",
    "UPGRADE PROTOCOL", "ADD FEATURE", "CREATE TABLE",
})  # fmt: skip
_WEEK = 7 * 24
# What a node made is looked up in commits, which Delta removes after 30 days at a checkpoint: a model would be trained
# again without a new row, and lineage would end there. A commit's text is small.
_PROPERTIES = {"delta.logRetentionDuration": "interval 3650 days"}


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
        """Nothing is opened before `load` or `save`.

        Args:
            filepath: Folder or address of the table, or its name.
            kind: What that is: a `path`, or a name in a `schema` of the engine's catalog, `[catalog.]schema.table`.
            mode: What saving a plain frame does. `merge` updates rows with equal `keys` (null equals null) and
                inserts the others.
            keys: Columns that identify a row, for `merge`.
            at_version: Version to load instead of the newest; such an entry can't be saved to.
            at_time: Time whose newest version is loaded, UTC unless it says otherwise; can't be saved to either.
            frame: What `load` gives.
            made_of: Column of a saved pandas frame that is to hold the inputs' versions (JSON), for tables whose rows
                must name them.
            new_columns: Whether saved rows may bring columns that the table doesn't have; its other rows then hold
                null there. No column goes, and none changes its type.
            keep_unchanged: Whether an overwrite by a Spark frame with the rows that are stored already, in any order,
                leaves the table as it is for everything that reads it; only a commit says that they were made again.
            partition_by: Columns whose values part the files of a table that is made.
            properties: Delta's table properties, of a table that is made. Its log is kept ten years unless they say
                otherwise.
            constraints: Conditions in SQL by name, of a table that is made: rows that one isn't true of are refused.
            metadata: For kedro-viz.
        """
        if mode == "merge" and not keys:
            raise TableError(f"Table {filepath}: mode `merge` needs `keys` in the catalog.")
        if kind == "schema" and filepath.startswith("/"):
            # Kedro takes each relative `filepath` for a file's, and has put the project's folder before the name.
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
            properties={**_PROPERTIES, **(properties or {})},
            constraints=constraints or {},
        )
        self.metadata = metadata

    @property
    def address(self) -> str:
        """Where the table lies, or its name."""
        return self._path

    def document(self, contract: Table) -> None:
        """Let a table that is made or overwritten tell what a contract says of its rows and columns."""
        comments = {column.name: column.doc for column in contract.columns}
        self._layout = replace(self._layout, comment=contract.grain, comments=comments)

    def load(self) -> Any:
        """The rows of the newest (or the pinned) version.

        Raises:
            TableError: No table there, or one with features that would be misread.
        """
        if self._frame == "spark":
            return self.frame()
        return self._log.rows(self._snapshot().version).to_pandas()

    def frame(self, session: SparkSession | None = None) -> DataFrame:
        """The rows that `load` reads, as a frame of a session, by default the project's own.

        Raises:
            TableError: As of `load`.
        """
        version = self._snapshot().version
        if self.kind == "schema":
            return spark.frame(spark.named(self._path), version, session)
        reader = (session or ENGINE.session()).read.format("delta").option("versionAsOf", version)
        return reader.load(ENGINE.readable_path(self._path))

    def save(self, data: Any) -> None:
        """Commit a frame, a batch of one, or rows that are to be there once, in one atomic step.

        Raises:
            TableError: Rows outside the batch, duplicate keys, other columns than the table's, rows that break one of
                its constraints, a lost race.
        """
        pinned = f"version {self._at_version}" if self._at_version is not None else self._at_time
        if pinned is not None:
            raise TableError(f"Table {self._path} is pinned to {pinned} and can't be written.")
        if isinstance(data, ReplaceBatch):
            self._save_batch(data)
        elif isinstance(data, IdempotentAppend):
            self._save_once(data)
        else:
            self._save_plain(data)

    def restore(self, version: int) -> None:
        """Make an older version the newest; what came after stays in the table's history.

        Raises:
            TableError: There is no such version any more.
        """
        self._log.snapshot(version)
        self._committer.restore(version, _says({"restored": version}))

    def optimise(self) -> None:
        """Put small files together; rows and `token` stay."""
        self._committer.optimise(_says())

    def vacuum(self, hours: int = _WEEK, *, even_young: bool = False) -> None:
        """Remove files that no version of the last so many hours needs: older versions can't be read afterwards.

        Raises:
            TableError: Less than a week, and not said explicitly.
        """
        if hours < _WEEK and not even_young:
            raise TableError(
                f"Table {self._path}: files of the last {_WEEK} hours stay, for a run may still read or write them, "
                f"and {hours} are fewer. If nobody does: vacuum({hours}, even_young=True)."
            )
        self._committer.vacuum(hours)

    def commits(self) -> Iterator[dict[str, Any]]:
        """What commits say of themselves, `version`, `operation` and `at` (UTC) among it, newest first.

        Of the version that `load` reads and of older ones; many are read only if few don't suffice.
        """
        pinned = self._at_version is not None or self._at_time is not None
        newest = self._snapshot().version if pinned else None
        if newest is None:
            self._check_there()
        read = 0
        for most in _HISTORY:
            found = self._log.commits(most)
            for commit in found[read:]:
                if newest is None or commit.version <= newest:
                    own = {"version": commit.version, "operation": commit.operation, "at": commit.at}
                    yield {**_said(commit.says), **own}
            read = len(found)
            if read < most:
                return

    def origin_commits(self, version: int | None = None, batch: str | None = None) -> list[dict[str, Any]]:
        """The commits that the rows of a version come from, newest first; of one batch, the one that stored it.

        As in `commits`. Of a batch that an overwrite may have brought, that overwrite.
        """
        found: list[dict[str, Any]] = []
        covered: set[str] = set()
        for commit in self._changes():
            scope = set(commit.get("scope", []))
            newer = version is not None and commit["version"] > version
            if newer or commit.get("nothing") or (scope and (scope <= covered or batch not in {None, *scope})):
                continue
            if "restored" in commit:
                return found + self.origin_commits(commit["restored"], batch)
            found.append(commit)
            covered |= scope
            if batch is not None or (not scope and self._mode == "overwrite"):
                break
        return found

    def _save_plain(self, data: Any) -> None:
        if self._made_of:
            made = get_provenance()
            data = data.assign(**{self._made_of: json.dumps(dict(made.inputs) if made else {})})
        told: dict[str, Any] = (
            {"rows": _content(data)} if self._keep_unchanged and hasattr(data, "sparkSession") else {}
        )
        if told and self._stored_content() == told["rows"]:
            # The rows are written again, for not every engine records a commit without any; readers see no change.
            told["nothing"] = True
        with self._committer.taken(data) as rows:
            if self._keys and (extra := self._committer.repeats(rows, self._keys)):
                raise TableError(
                    f"{extra} rows for {self._path} repeat the key ({', '.join(self._keys)}): nothing was written."
                )
            if self._mode == "merge" and self._exists():
                self._committer.merge(rows, self._keys, self._how("append", rows))
            else:
                mode: Mode = "append" if self._mode == "append" else "overwrite"
                self._committer.write(rows, self._how(mode, rows, told))

    def _stored_content(self) -> str | None:
        """What the newest commit that changed rows says of their content."""
        if not self._exists():
            return None
        return next((commit.get("rows") for commit in self._changes() if not commit.get("nothing")), None)

    def _save_once(self, data: IdempotentAppend) -> None:
        if self._exists():
            before = self._log.appended(data.writer)
            if before is not None and before >= data.number:
                return
        with self._committer.taken(data.rows) as rows:
            self._committer.write(rows, self._how("append", rows, once=(data.writer, data.number)))

    def _save_batch(self, batch: ReplaceBatch) -> None:
        """Replace a batch; one of several that an interrupted run of the same node left complete stays."""
        if batch.rows is None:
            return
        which = "/".join(batch.values)
        of_how_many = f"  {which} ({batch.number} of {batch.of})"
        if batch.of > 1 and self._keeps(batch):
            log.info("%s: there already", of_how_many)
            return
        if batch.keeps_stored and self._has_rows_of(batch):
            log.info("  %s: stored already, and its outcomes are known: it stays as it is", which)
            self._write_again(batch)
            return
        told: dict[str, Any] = {"scope": list(batch.values)}
        if not batch.values:
            told["nothing"] = True
        if batch.of > 1:
            told["part"] = [batch.number, batch.of]
        with self._committer.taken(batch.rows) as rows:
            # A batch of nothing appends nothing: the table is there to be read, the commit tells what was looked at.
            mode: Mode = "replace" if batch.values else "append"
            self._committer.write(rows, self._how(mode, rows, told, batch=batch))
        if batch.of > 1:
            log.info("%s", of_how_many)

    def _write_again(self, batch: ReplaceBatch) -> None:
        """Put the stored rows of a batch in their own place: Spark records no commit without rows."""
        stored = self.load()
        if hasattr(stored, "sparkSession"):
            rows = stored.where(batch.predicate)
        else:
            rows = stored[stored[batch.column].astype("string").isin(batch.values)]
        with self._committer.taken(rows) as same:
            self._committer.write(same, self._how("replace", same, {"nothing": True}, batch=batch))

    def _has_rows_of(self, batch: ReplaceBatch) -> bool:
        """Whether rows of a batch are stored."""
        return self._exists() and any(self.count(batch.column, value) for value in batch.values)

    def _keeps(self, batch: ReplaceBatch) -> bool:
        """Whether this batch was stored by a run with the fingerprint of this one, and nothing replaced it since."""
        made = get_provenance()
        if made is None or not self._exists():
            return False
        for commit in self._changes():
            scope = set(commit.get("scope", []))
            if not scope or scope & set(batch.values):
                return commit.get("fingerprint") == made.fingerprint and scope == set(batch.values)
        return False

    def preview(self, nrows: int = 10) -> TablePreview:
        """The first rows as kedro-viz shows them, read without the engine where the table lies at a path."""
        rows = self._log.rows(self._snapshot().version, limit=nrows)
        cells = [
            [value if isinstance(value, int | str) else _cell(value) for value in row.values()]
            for row in rows.to_pylist()
        ]
        return cast("TablePreview", {"index": list(range(len(cells))), "columns": rows.column_names, "data": cells})

    def token(self) -> str | None:
        """The version that `load` would read, and of which table."""
        if not self._exists():
            return None
        found = self._present()
        # A table that was removed and made anew begins at version 0 again: its id tells them apart.
        return f"v{self._changed(found)} of {found.id[:8]}"

    def batches_since(self, tokens: Iterable[str]) -> set[str]:
        """The batches that nodes stored after the version that one of these tokens names; all, if none does.

        A withdrawal is no node's: its own command completes it.
        """
        own = re.compile(rf"v(\d+) of {re.escape(self._present().id[:8])}")
        last = max((int(named[1]) for named in map(own.fullmatch, tokens) if named), default=-1)
        later = takewhile(lambda commit: commit["version"] > last, self._changes())
        return {batch for commit in later if commit.get("inputs") for batch in commit.get("scope", [])}

    def _changed(self, found: Snapshot) -> int:
        """The newest version that has other rows than the one before: a batch of nothing changes none.

        Of a table without rows the version that made it, whatever compacted or described it since.
        """
        newest = found.version
        if self._at_version is None:
            for commit in self._changes():
                newest = int(commit["version"])
                if not commit.get("nothing"):
                    break
        return newest

    def _changes(self) -> Iterator[dict[str, Any]]:
        """Commits that may have changed rows."""
        return (commit for commit in self.commits() if commit["operation"] not in _UPKEEP)

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether the newest commit (on its batch, for a batch) has this fingerprint."""
        if not self._exists():
            return False
        newer: set[str] = set()
        parts: set[int] = set()
        for commit in self._changes():
            scope = set(commit.get("scope", []))
            if commit.get("fingerprint") == fingerprint:
                # The parts of a result may be stored in any order, by several runs: each has to be what is there.
                number, of = commit.get("part", (1, 1))
                # A commit of all rows, or one that says that rows stayed, names no batch: any newer one changed it.
                if number not in parts and newer and (not scope or scope & newer):
                    return False
                parts.add(number)
                if len(parts) == of:
                    return True
                continue
            if not scope and self._mode != "merge":
                return False
            newer |= scope
        return False

    def count(self, column: str, value: str) -> int:
        """How many rows have a text in a column."""
        return self._log.count(self._snapshot().version, column, value)

    def last_batch(self) -> str | None:
        """The batch that was stored last, of several at once the last of them; None where none was."""
        if not self._exists():
            return None
        return next((commit["scope"][-1] for commit in self._changes() if commit.get("scope")), None)

    def _exists(self) -> bool:
        return self._log.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": shorten_address(self._path), "mode": self._mode, "at_version": self._at_version}

    @property
    def _by_spark(self) -> bool:
        """Whether Spark reads and commits; a pandas frame at a path needs no engine."""
        return self.kind == "schema" or (self._frame == "spark" and ENGINE.writes_delta)

    @property
    def _log(self) -> Log:
        # A log at a path is read in milliseconds without a JVM, whoever wrote it.
        if self.kind == "path":
            return delta_rs.Log(self._path)
        if not ENGINE.writes_delta:
            raise TableError(
                f"Table {self._path} is a name in a catalog, which this engine has not: name a folder or an address "
                f"(lake_kind: path), or run with Apache Spark (--env spark)."
            )
        return spark.Log(self._path)

    @property
    def _committer(self) -> Committer:
        if not self._by_spark:
            return delta_rs.Committer(self._path)
        name = spark.named(self._path) if self.kind == "schema" else spark.at_path(self._path)
        return spark.Committer(self._path, name, self._log)

    def _snapshot(self) -> Snapshot:
        """The version that is loaded.

        Raises:
            TableError: No table there, none at that time, or one with features that would be misread.
        """
        self._check_there()
        return self._present()

    def _check_there(self) -> None:
        if not self._exists():
            raise TableError(f"There is no table at {self._path} yet: run the stage that writes it first.")

    def _present(self) -> Snapshot:
        """As `_snapshot`, of a table that is known to be there: in a catalog each look is a query."""
        found = self._log.snapshot(self._at_version if self._at_time is None else self._version_at(self._at_time))
        unknown = found.features - _KNOWN
        if unknown and not self._by_spark:
            raise writers.misread(self._path, ", ".join(sorted(unknown)))
        return found

    def _version_at(self, time: datetime) -> int:
        found = self._log.commits(_HISTORY[-1])
        for commit in found:
            if commit.at <= time:
                return commit.version
        raise TableError(
            f"The table at {self._path} has no version of {time:%Y-%m-%d %H:%M:%S} or before: the oldest that is known "
            f"is {found[-1].version}, of {found[-1].at:%Y-%m-%d %H:%M:%S} UTC."
        )

    def _how(
        self, mode: Mode, rows: writers.Rows,
        told: Mapping[str, Any] | None = None, **given: Any,
    ) -> Write:  # fmt: skip
        """How rows go in: as they are into a new table or in place of all, else with the table's columns and types.

        Raises:
            TableError: Names each column that differs; a committer would fill, cast or drop it silently.
        """
        schema = storable(rows.schema, self._layout.comments)
        makes = not self._exists()
        if makes or mode == "overwrite":
            return Write(mode, schema, _says(told), self._layout, makes, **given)
        stored = {field.name: field for field in storable(self._present().schema)}
        new = [name for name in schema.names if name not in stored]
        faults = _faults(rows.schema, schema, stored) + (
            [] if self._new_columns else [f"column {name} is not the table's" for name in new]
        )
        if faults:
            raise TableError(
                f"The rows don't fit the table at {self._path}: {'; '.join(faults)}. Nothing was written. If its "
                f"columns changed with the code, start a new lake: LAKE=<folder>."
            )
        import pyarrow as pa

        fitting = pa.schema([stored.get(field.name, field) for field in schema])
        return Write(mode, fitting, _says(told), self._layout, makes, adds=bool(new), **given)


def _faults(given: pa.Schema, schema: pa.Schema, stored: Mapping[str, pa.Field]) -> list[str]:
    """What keeps columns from being written as those of the table."""
    import pyarrow as pa

    return [f"column {name} is missing" for name in stored if name not in schema.names] + [
        f"column {field.name} is {field.type}, the table's is {stored[field.name].type}"
        for field in schema
        if field.name in stored and field.type != stored[field.name].type
        and not pa.types.is_null(given.field(field.name).type)
    ]  # fmt: skip


def _content(frame: DataFrame) -> str:
    """Columns and rows as a text that is the same for the same rows in any order, by any engine.

    Sums of the upper and of the lower half of each row's 64-bit hash, so that no sum of hashes overflows.
    """
    from pyspark.sql import functions as F

    row = F.xxhash64(*(F.col(f"`{name}`") for name in frame.columns))
    low, high = row.bitwiseAND(F.lit(2**32 - 1)), F.shiftrightunsigned(row, 32)
    sums = frame.agg(F.count(F.lit(1)).alias("n"), F.sum(low).alias("low"), F.sum(high).alias("high"))
    n, *halves = collect(sums).iloc[0].fillna(0).astype("int64").tolist()
    columns = ", ".join(f"{name} {kind}" for name, kind in frame.dtypes)
    return hashlib.sha256(f"{columns}: {n} rows, {halves}".encode()).hexdigest()[:32]


def _says(told: Mapping[str, Any] | None = None) -> str:
    """What a commit says of itself: which batch it is of, if it is, and what its rows were made of."""
    made = get_provenance()
    return json.dumps({"scope": [], **(told or {}), **(json.loads(made.to_json()) if made else {})})


def _said(text: str | None) -> dict[str, Any]:
    """What a commit of ours says of itself; others may say what they like."""
    try:
        said = json.loads(text or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if isnan(value) else f"{value:.6g}"
    return "" if value is None else str(value)
