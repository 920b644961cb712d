"""Log and writer of Delta tables by Apache Spark, at a path or in a catalog: frames and SQL, as Spark Connect has."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.errors import TableError, first_line
from lakehouse_ml.storage.delta import writers
from lakehouse_ml.storage.delta.writers import Commit, Snapshot, WritePlan, normalise_schema
from lakehouse_ml.storage.failures import is_disk_failure, is_store_failure
from lakehouse_ml.storage.writes import ReplaceBatch

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, Row, SparkSession

_ROW_OUTSIDE_BATCH = "lakehouse_ml: a row lies outside the batch"
_COMMIT_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_RETENTION = "spark.databricks.delta.retentionDurationCheck.enabled"
_CREATED = "CREATE OR REPLACE TABLE AS SELECT"
_LOST_RACE = re.compile(
    r"DELTA_CONCURRENT|Concurrent\w+Exception|ALREADY_EXISTS|(Protocol|Metadata)ChangedException"
    r"|DELTA_(PROTOCOL|METADATA)_CHANGED"
)
# Errors for an unknown catalog. Spark's built-in catalog takes the first part of such a name for a schema.
_NO_CATALOG = re.compile(r"REQUIRES_SINGLE_PART_NAMESPACE|CATALOG_NOT_FOUND")
_BATCH_MISMATCH = "DELTA_REPLACE_WHERE_MISMATCH"
# While a batch is replaced, Delta reports a violated constraint as a mismatch too.
_BROKEN_CONSTRAINT = re.compile(rf"DELTA_VIOLATE_CONSTRAINT|DELTA_NOT_NULL_CONSTRAINT|{_BATCH_MISMATCH}")
# Commit metadata is a setting of the session, so threads that set it take turns.
_SETTINGS = threading.Lock()


@dataclass(frozen=True)
class PreparedFrame:
    """A frame and its Arrow schema."""

    frame: DataFrame
    schema: pa.Schema


class CatalogLog:
    """Log of a table in a catalog, which only Spark can resolve."""

    def __init__(self, address: str) -> None:
        """No query runs yet."""
        self._address = address
        self._name = quote_name(address)

    def exists(self) -> bool:
        """Whether the table exists."""
        with self._raising_read_errors():
            return bool(ENGINE.session().catalog.tableExists(self._name))

    def read_snapshot(self, version: int | None = None) -> Snapshot:
        """The given version, by default the newest."""
        snapshot = CatalogSnapshot(self, version)
        if version is not None:
            _ = snapshot.schema  # raises an error if the version does not exist
        return snapshot

    def read_detail(self) -> Row:
        """Id, comment and properties of the table."""
        with self._raising_read_errors():
            return ENGINE.session().sql(f"DESCRIBE DETAIL {self._name}").collect()[0]

    def read_schema(self, version: int | None) -> pa.Schema:
        """Columns of a version, by default the newest."""
        with self._raising_read_errors():
            return _arrow_schema(read_frame(self._name, version))

    def read_frame(self, version: int | None, session: SparkSession | None = None) -> DataFrame:
        """Rows of a version, as a frame of a session whose columns are known."""
        with self._raising_read_errors():
            frame = read_frame(self._name, version, session)
            _ = frame.schema  # a client of Spark Connect asks its server only now
            return frame

    def read_commits(self, limit: int) -> list[Commit]:
        """At most `limit` commits, newest first."""
        with self._raising_read_errors():
            history = ENGINE.session().sql(f"DESCRIBE HISTORY {self._name} LIMIT {limit:d}")
            columns = ("version", "CAST(timestamp AS double) AS seconds", "operation", "userMetadata")
            rows = history.selectExpr(*columns).collect()
            return [Commit(version, _to_utc(seconds), operation, text) for version, seconds, operation, text in rows]

    def read_rows(self, version: int | None, limit: int | None = None) -> pa.Table:
        """Rows of a version, in memory."""
        with self._raising_read_errors():
            rows = read_frame(self._name, version)
            return (rows if limit is None else rows.limit(limit)).toArrow()

    def count_rows(self, version: int | None, column: str, value: str) -> int:
        """Number of rows whose text column has this value."""
        from pyspark.sql import functions as F

        with self._raising_read_errors():
            return read_frame(self._name, version).where(F.col(f"`{column}`") == F.lit(value)).count()

    def last_transaction(self, writer: str) -> int | None:  # noqa: ARG002 - Delta asks the log itself when Spark appends
        """None: SQL does not expose it, and Spark itself skips a repeated append."""
        return None

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
            if "DELTA_UNSUPPORTED_FEATURES" in str(error):
                raise writers.unsupported_feature_error(self._address, first_line(error)) from error
            if _NO_CATALOG.search(str(error)):
                raise writers.unknown_catalog_error(self._address, first_line(error)) from error
            raise writers.damaged_table_error(self._address, first_line(error)) from error


class CatalogSnapshot:
    """One version of a table in a catalog. Each part is a query, which runs at its first use: few callers need all."""

    features: frozenset[str] = frozenset()

    def __init__(self, log: CatalogLog, version: int | None) -> None:
        """No query runs yet."""
        self._log = log
        self._version = version

    @cached_property
    def version(self) -> int:
        """Version number."""
        return self._log.read_commits(1)[0].version if self._version is None else self._version

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns with their stored types."""
        return self._log.read_schema(self._version)

    @property
    def id(self) -> str:
        """Id of the table."""
        return str(self._detail["id"])

    @property
    def properties(self) -> Mapping[str, str]:
        """Table properties, constraints included."""
        return dict(self._detail["properties"])

    @property
    def comment(self) -> str:
        """What a row is."""
        return str(self._detail["description"] or "")

    @cached_property
    def _detail(self) -> Row:
        return self._log.read_detail()


class SparkWriter:
    """Commits to a table in a catalog, or at a path as `delta.<path>`."""

    def __init__(self, address: str, name: str, log: writers.TableLog) -> None:
        """No query runs yet."""
        self._address = address
        self._name = name
        self._log = log

    @contextmanager
    def prepare(self, data: Any) -> Iterator[PreparedFrame]:
        """Use the frame as it is: the commit computes it, once."""
        import pyarrow as pa
        from pyspark.sql.pandas.types import from_arrow_schema

        if not hasattr(data, "sparkSession"):
            table = pa.Table.from_pandas(data, preserve_index=False)
            # The client of Databricks cannot infer types without a row.
            args: Any = (table,) if table.num_rows else ([], from_arrow_schema(table.schema))
            data = ENGINE.session().createDataFrame(*args)
        yield PreparedFrame(data, _arrow_schema(data))

    def count_duplicate_keys(self, rows: PreparedFrame, keys: Sequence[str]) -> int:
        """Number of rows that repeat the key of another row."""
        from pyspark.sql import functions as F

        per_key = rows.frame.groupBy(*keys).count()
        return int(per_key.agg(F.coalesce(F.sum(F.col("count") - 1), F.lit(0))).collect()[0][0])

    def write(self, rows: PreparedFrame, plan: WritePlan) -> None:
        """Append, overwrite or replace."""
        from pyspark.sql import functions as F

        frame = _align_columns(rows.frame, plan)
        with self._raising_table_errors(rows, plan):
            # Creating a table checks no constraint and records no transaction, so the rows are appended after it.
            if plan.creates_table and (plan.layout.constraints or plan.transaction):
                self._create(frame.limit(0), plan)
                for name, predicate in plan.layout.constraints.items():
                    ENGINE.session().sql(f"ALTER TABLE {self._name} ADD CONSTRAINT `{name}` CHECK ({predicate})")
            elif plan.creates_table:
                self._create(frame, plan)
                return
            writer = frame.writeTo(self._name).option("userMetadata", plan.commit_metadata)
            if plan.transaction:
                writer.option("txnAppId", plan.transaction[0]).option("txnVersion", str(plan.transaction[1]))
            if plan.adds_columns:
                writer.option("mergeSchema", "true")
            if plan.creates_table or plan.mode == "append":
                writer.append()
            elif plan.mode == "replace" and plan.batch:
                writer.overwrite(_batch_condition(frame, plan.batch))
            else:
                self._update_comment(plan.layout.comment)
                writer.option("overwriteSchema", "true").overwrite(F.lit(True))  # noqa: FBT003 - PySpark's signature

    def merge(self, rows: PreparedFrame, keys: Sequence[str], plan: WritePlan) -> None:
        """Update rows with equal keys (null equals null) and insert the others."""
        source = f"lakehouse_ml_{uuid.uuid4().hex}"
        on = " AND ".join(f"s.`{key}` <=> t.`{key}`" for key in keys)
        evolution = "WITH SCHEMA EVOLUTION " if plan.adds_columns else ""
        _align_columns(rows.frame, plan).createOrReplaceTempView(source)
        try:
            with self._raising_table_errors(rows, plan):
                self._execute(
                    f"MERGE {evolution}INTO {self._name} t USING {source} s ON {on} "
                    f"WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *",
                    {_COMMIT_METADATA: plan.commit_metadata},
                )
        finally:
            ENGINE.session().catalog.dropTempView(source)

    def restore(self, version: int, commit_metadata: str) -> None:
        """Make an older version the newest."""
        with self._raising_table_errors():
            statement = f"RESTORE TABLE {self._name} TO VERSION AS OF {version:d}"
            self._execute(statement, {_COMMIT_METADATA: commit_metadata})

    def optimise(self, commit_metadata: str) -> None:
        """Compact small files."""
        with self._raising_table_errors():
            self._execute(f"OPTIMIZE {self._name}", {_COMMIT_METADATA: commit_metadata})

    def vacuum(self, hours: int) -> None:
        """Remove files that no version of the last `hours` hours needs."""
        with self._raising_table_errors():
            self._execute(f"VACUUM {self._name} RETAIN {hours:d} HOURS", {_RETENTION: "false"} if hours < 168 else {})

    def _create(self, frame: DataFrame, plan: WritePlan) -> None:
        from pyspark.sql import functions as F

        writer = frame.writeTo(self._name).using("delta").option("userMetadata", plan.commit_metadata)
        for name, value in plan.layout.properties.items():
            writer.tableProperty(name, value)
        if plan.layout.comment:
            writer.tableProperty("comment", plan.layout.comment)
        if plan.layout.partition_by:
            writer.partitionedBy(*map(F.col, plan.layout.partition_by))
        # `create` drops the commit metadata; `createOrReplace` keeps it.
        writer.createOrReplace()
        own_versions = [
            commit.version
            for commit in self._log.read_commits(100)
            if commit.metadata == plan.commit_metadata and commit.operation == _CREATED
        ]
        if own_versions and own_versions[0] > 0:
            # Another writer created the table after we checked that it does not exist: restore theirs.
            self.restore(own_versions[0] - 1, plan.commit_metadata)
            raise writers.lost_race_error(self._address, RuntimeError("the table was created meanwhile"))

    def _update_comment(self, comment: str) -> None:
        """Set the comment of the table: an overwrite updates those of the columns only."""
        if comment and comment != self._log.read_snapshot().comment:
            literal = comment.replace("\\", "\\\\").replace("'", "\\'")
            ENGINE.session().sql(f"ALTER TABLE {self._name} SET TBLPROPERTIES ('comment' = '{literal}')")

    @staticmethod
    def _execute(statement: str, settings: dict[str, str]) -> None:
        session = ENGINE.session()
        with _SETTINGS:
            for name, value in settings.items():
                session.conf.set(name, value)
            try:
                session.sql(statement).collect()
            finally:
                for name in settings:
                    session.conf.unset(name)

    @contextmanager
    def _raising_table_errors(self, rows: PreparedFrame | None = None, plan: WritePlan | None = None) -> Iterator[None]:
        """Turn Delta's refusal of a commit into a `TableError`; failures of store and disk pass."""
        try:
            yield
        except Exception as error:
            if is_store_failure(error) or is_disk_failure(error):
                raise
            text = str(error)
            if rows and plan and plan.batch and (_BATCH_MISMATCH in text or _ROW_OUTSIDE_BATCH in text):
                n_outside = rows.frame.where(~_is_in_batch(rows.frame, plan.batch)).count()
                if n_outside:
                    raise writers.rows_outside_batch_error(n_outside, plan.batch, self._address) from error
            if _BROKEN_CONSTRAINT.search(text):
                raise writers.broken_constraint_error(self._address, self._log.read_snapshot(), error) from error
            if _LOST_RACE.search(text):
                raise writers.lost_race_error(self._address, error) from error
            if "[DELTA_" in text:
                raise writers.failed_write_error(self._address, error) from error
            raise


def quote_name(address: str) -> str:
    """Quote each part of a table name for SQL."""
    return ".".join(f"`{part}`" for part in address.split("."))


def path_as_name(path: str) -> str:
    """The SQL name of a table at a path."""
    return f"delta.`{path}`"


def read_frame(name: str, version: int | None, session: SparkSession | None = None) -> DataFrame:
    """Rows of a version of a table, by default the newest."""
    reader = (session or ENGINE.session()).read
    return (reader if version is None else reader.option("versionAsOf", version)).table(name)


def _align_columns(frame: DataFrame, plan: WritePlan) -> DataFrame:
    """Order, cast and comment columns as planned; rows outside the batch of a new table raise an error."""
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.types import from_arrow_schema

    checked_column = plan.batch.column if plan.batch and (plan.creates_table or plan.mode == "append") else None
    columns = []
    for field in from_arrow_schema(normalise_schema(plan.schema)):
        column = F.col(f"`{field.name}`")
        if plan.batch and field.name == checked_column:
            # Delta checks `replaceWhere` only where rows are replaced.
            column = F.when(_is_in_batch(frame, plan.batch), column).otherwise(F.raise_error(F.lit(_ROW_OUTSIDE_BATCH)))
        comment = plan.layout.comments.get(field.name)
        columns.append(
            column.cast(field.dataType).alias(field.name, **({"metadata": {"comment": comment}} if comment else {}))
        )
    return frame.select(*columns)


def _is_in_batch(frame: DataFrame, batch: ReplaceBatch) -> Column:
    """Whether a row belongs to the batch; never null."""
    from pyspark.sql import functions as F

    return F.coalesce(_batch_condition(frame, batch), F.lit(False))  # noqa: FBT003 - PySpark's signature


def _batch_condition(frame: DataFrame, batch: ReplaceBatch) -> Column:
    """The batch as a condition that Delta can push down: a column compared with literals of its type."""
    from pyspark.sql import functions as F

    kind = frame.schema[batch.column].dataType
    return F.col(f"`{batch.column}`").isin([F.lit(value).cast(kind) for value in batch.values])


def _arrow_schema(frame: DataFrame) -> pa.Schema:
    from inspect import signature

    from pyspark.sql.pandas.types import to_arrow_schema

    # Spark 4.1 assumes UTC; the pyspark of Databricks and later versions require the argument.
    options: dict[str, Any] = {"timezone": "UTC"} if "timezone" in signature(to_arrow_schema).parameters else {}
    return to_arrow_schema(frame.schema, **options)


def _to_utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
