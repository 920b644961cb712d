"""Tables by Apache Spark itself, at a path or under a name of a catalog, by what Spark Connect has: frames and SQL."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.errors import TableError, first_line
from lakehouse_ml.storage.delta import writers
from lakehouse_ml.storage.delta.writers import Commit, Snapshot, Write, storable
from lakehouse_ml.storage.failures import is_disk_failure, is_store_failure
from lakehouse_ml.storage.writes import ReplaceBatch

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, SparkSession

_STRANGER = "lakehouse_ml: a row lies outside the batch"
_SAYS = "spark.databricks.delta.commitInfo.userMetadata"
_RETENTION = "spark.databricks.delta.retentionDurationCheck.enabled"
_MADE = "CREATE OR REPLACE TABLE AS SELECT"
_LOST = re.compile(
    r"DELTA_CONCURRENT|Concurrent\w+Exception|ALREADY_EXISTS|(Protocol|Metadata)ChangedException"
    r"|DELTA_(PROTOCOL|METADATA)_CHANGED"
)
# What Spark's own catalog, which has schemas only, says of a name whose first part is no catalog's.
_NO_CATALOG = re.compile(r"REQUIRES_SINGLE_PART_NAMESPACE|CATALOG_NOT_FOUND")
_MISMATCH = "DELTA_REPLACE_WHERE_MISMATCH"
# While a batch is replaced, Delta gives the mismatch's name to every condition that is broken.
_VIOLATED = re.compile(rf"DELTA_VIOLATE_CONSTRAINT|DELTA_NOT_NULL_CONSTRAINT|{_MISMATCH}")
# A setting is the whole session's: two threads that each say something of their commit take turns.
_SETTINGS = threading.Lock()


@dataclass(frozen=True)
class Taken:
    """A frame and its columns as Arrow has them."""

    frame: DataFrame
    schema: pa.Schema


class Log:
    """The log of a table under a name, which only Spark can find."""

    def __init__(self, address: str) -> None:
        """Nothing is asked yet."""
        self._address = address
        self._name = named(address)

    def exists(self) -> bool:
        """Whether there is one."""
        with self._read():
            return bool(ENGINE.session().catalog.tableExists(self._name))

    def snapshot(self, version: int | None = None) -> Snapshot:
        """The newest version, or another one."""
        with self._read():
            detail = ENGINE.session().sql(f"DESCRIBE DETAIL {self._name}").collect()[0]
            schema = _arrow(frame(self._name, version))
            found = self.commits(1)[0].version if version is None else version
            comment = detail["description"] or ""
            return Snapshot(found, detail["id"], schema, frozenset(), dict(detail["properties"]), comment)

    def commits(self, most: int) -> list[Commit]:
        """The last so many, newest first."""
        with self._read():
            told = ENGINE.session().sql(f"DESCRIBE HISTORY {self._name} LIMIT {most:d}")
            seconds = "CAST(timestamp AS double) AS seconds"
            found = told.selectExpr("version", seconds, "operation", "userMetadata").collect()
            return [Commit(version, _moment(at), operation, says) for version, at, operation, says in found]

    def rows(self, version: int | None, limit: int | None = None) -> pa.Table:
        """Rows of a version, in memory."""
        with self._read():
            found = frame(self._name, version)
            return (found if limit is None else found.limit(limit)).toArrow()

    def count(self, version: int | None, column: str, value: str) -> int:
        """How many rows have a text in a column."""
        from pyspark.sql import functions as F

        with self._read():
            return frame(self._name, version).where(F.col(f"`{column}`") == F.lit(value)).count()

    def appended(self, writer: str) -> int | None:  # noqa: ARG002 - Delta asks the log itself when Spark appends
        """Not told by SQL; Spark leaves out what was appended before."""
        return None

    @contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except TableError:
            raise
        except Exception as error:
            if is_store_failure(error):
                raise
            if "DELTA_UNSUPPORTED_FEATURES" in str(error):
                raise writers.misread(self._address, first_line(error)) from error
            if _NO_CATALOG.search(str(error)):
                raise writers.nowhere(self._address, first_line(error)) from error
            raise writers.damaged(self._address, first_line(error)) from error


class Committer:
    """Commits to a table under a name, or at a path as `delta.<path>`."""

    def __init__(self, address: str, name: str, log: writers.Log) -> None:
        """Nothing is asked yet."""
        self._address = address
        self._name = name
        self._log = log

    @contextmanager
    def taken(self, data: Any) -> Iterator[Taken]:
        """The frame itself, computed once, by the commit."""
        import pyarrow as pa
        from pyspark.sql.pandas.types import from_arrow_schema

        if not hasattr(data, "sparkSession"):
            table = pa.Table.from_pandas(data, preserve_index=False)
            # Without a row, the client of Databricks asks for the types.
            given: Any = (table,) if table.num_rows else ([], from_arrow_schema(table.schema))
            data = ENGINE.session().createDataFrame(*given)
        yield Taken(data, _arrow(data))

    def repeats(self, rows: Taken, keys: Sequence[str]) -> int:
        """How many rows have a key that another row has."""
        from pyspark.sql import functions as F

        times = rows.frame.groupBy(*keys).count()
        return int(times.agg(F.coalesce(F.sum(F.col("count") - 1), F.lit(0))).collect()[0][0])

    def write(self, rows: Taken, how: Write) -> None:
        """Append, overwrite or replace."""
        from pyspark.sql import functions as F

        frame = _shaped(rows.frame, how)
        with self._refusing(rows, how):
            # What makes a table checks no condition and keeps no transaction: rows come after.
            if how.makes and (how.layout.constraints or how.once):
                self._make(frame.limit(0), how)
                for name, condition in how.layout.constraints.items():
                    ENGINE.session().sql(f"ALTER TABLE {self._name} ADD CONSTRAINT `{name}` CHECK ({condition})")
            elif how.makes:
                self._make(frame, how)
                return
            writer = frame.writeTo(self._name).option("userMetadata", how.says)
            if how.once:
                writer.option("txnAppId", how.once[0]).option("txnVersion", str(how.once[1]))
            if how.adds:
                writer.option("mergeSchema", "true")
            if how.makes or how.mode == "append":
                writer.append()
            elif how.mode == "replace" and how.batch:
                writer.overwrite(_listed(frame, how.batch))
            else:
                self._tell(how.layout.comment)
                writer.option("overwriteSchema", "true").overwrite(F.lit(True))  # noqa: FBT003 - as it is spelt

    def merge(self, rows: Taken, keys: Sequence[str], how: Write) -> None:
        """Update rows of equal keys, insert the others."""
        source = f"lakehouse_ml_{uuid.uuid4().hex}"
        same = " AND ".join(f"s.`{key}` <=> t.`{key}`" for key in keys)
        evolving = "WITH SCHEMA EVOLUTION " if how.adds else ""
        _shaped(rows.frame, how).createOrReplaceTempView(source)
        try:
            with self._refusing(rows, how):
                self._run(
                    f"MERGE {evolving}INTO {self._name} t USING {source} s ON {same} "
                    f"WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *",
                    {_SAYS: how.says},
                )
        finally:
            ENGINE.session().catalog.dropTempView(source)

    def restore(self, version: int, says: str) -> None:
        """Make an older version the newest."""
        with self._refusing():
            self._run(f"RESTORE TABLE {self._name} TO VERSION AS OF {version:d}", {_SAYS: says})

    def optimise(self, says: str) -> None:
        """Put small files together."""
        with self._refusing():
            self._run(f"OPTIMIZE {self._name}", {_SAYS: says})

    def vacuum(self, hours: int) -> None:
        """Remove files that no version of the last so many hours needs."""
        with self._refusing():
            self._run(f"VACUUM {self._name} RETAIN {hours:d} HOURS", {_RETENTION: "false"} if hours < 168 else {})

    def _make(self, frame: DataFrame, how: Write) -> None:
        from pyspark.sql import functions as F

        writer = frame.writeTo(self._name).using("delta").option("userMetadata", how.says)
        for name, value in how.layout.properties.items():
            writer.tableProperty(name, value)
        if how.layout.comment:
            writer.tableProperty("comment", how.layout.comment)
        if how.layout.partition_by:
            writer.partitionedBy(*map(F.col, how.layout.partition_by))
        # Delta keeps what the commit of a new table says of itself only if it might have replaced one.
        writer.createOrReplace()
        mine = [one.version for one in self._log.commits(100) if one.says == how.says and one.operation == _MADE]
        if mine and mine[0] > 0:
            # Somebody made the table after it was looked for: theirs stays.
            self.restore(mine[0] - 1, how.says)
            raise writers.lost_race(self._address, RuntimeError("the table was made meanwhile"))

    def _tell(self, comment: str) -> None:
        """Overwriting changes what columns say, and not what the table does."""
        if comment not in ("", self._log.snapshot().comment):
            literal = comment.replace("\\", "\\\\").replace("'", "\\'")
            ENGINE.session().sql(f"ALTER TABLE {self._name} SET TBLPROPERTIES ('comment' = '{literal}')")

    @staticmethod
    def _run(statement: str, settings: dict[str, str]) -> None:
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
    def _refusing(self, rows: Taken | None = None, how: Write | None = None) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if is_store_failure(error) or is_disk_failure(error):
                raise
            told = str(error)
            if rows and how and how.batch and (_MISMATCH in told or _STRANGER in told):
                strangers = rows.frame.where(~_inside(rows.frame, how.batch)).count()
                if strangers:
                    raise writers.outside(strangers, how.batch, self._address) from error
            if _VIOLATED.search(told):
                raise writers.violated(self._address, self._log.snapshot(), error) from error
            if _LOST.search(told):
                raise writers.lost_race(self._address, error) from error
            if "[DELTA_" in told:
                raise writers.unwritten(self._address, error) from error
            raise


def named(address: str) -> str:
    """The name of a table as SQL takes it literally."""
    return ".".join(f"`{part}`" for part in address.split("."))


def at_path(path: str) -> str:
    """A table at a path as SQL names it."""
    return f"delta.`{path}`"


def frame(name: str, version: int | None, session: SparkSession | None = None) -> DataFrame:
    """A version of a table."""
    reader = (session or ENGINE.session()).read
    return (reader if version is None else reader.option("versionAsOf", version)).table(name)


def _shaped(frame: DataFrame, how: Write) -> DataFrame:
    """The columns in their order and with their types and comments; no row of another batch in a new table."""
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.types import from_arrow_schema

    guarded = how.batch.column if how.batch and (how.makes or how.mode == "append") else None
    columns = []
    for field in from_arrow_schema(storable(how.schema)):
        column = F.col(f"`{field.name}`")
        if how.batch and field.name == guarded:
            # Delta checks a condition on what takes the place of rows, and on no others.
            column = F.when(_inside(frame, how.batch), column).otherwise(F.raise_error(F.lit(_STRANGER)))
        comment = how.layout.comments.get(field.name)
        columns.append(
            column.cast(field.dataType).alias(field.name, **({"metadata": {"comment": comment}} if comment else {}))
        )
    return frame.select(*columns)


def _inside(frame: DataFrame, batch: ReplaceBatch) -> Column:
    """Whether a row is one of the batch; never null."""
    from pyspark.sql import functions as F

    return F.coalesce(_listed(frame, batch), F.lit(False))  # noqa: FBT003 - as it is spelt


def _listed(frame: DataFrame, batch: ReplaceBatch) -> Column:
    """The batch in a form that Delta can push down: a column beside values of its type."""
    from pyspark.sql import functions as F

    kind = frame.schema[batch.column].dataType
    return F.col(f"`{batch.column}`").isin([F.lit(value).cast(kind) for value in batch.values])


def _arrow(frame: DataFrame) -> pa.Schema:
    from inspect import signature

    from pyspark.sql.pandas.types import to_arrow_schema

    # Spark 4.1 takes instants to be UTC; the pyspark of Databricks, as later ones, has to be told.
    told: dict[str, Any] = {"timezone": "UTC"} if "timezone" in signature(to_arrow_schema).parameters else {}
    return to_arrow_schema(frame.schema, **told)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
