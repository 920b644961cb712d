"""The Spark session of an environment. One kind per process, chosen by conf, never another one instead."""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse_ml.config import redirects, s3
from lakehouse_ml.engine import temporary_files, workspace
from lakehouse_ml.engine.spec import EngineSpec, missing
from lakehouse_ml.errors import EngineError, first_line

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.connect.client.retries import RetryPolicy

log = logging.getLogger(__name__)


class Engine:
    """Starts the session when a dataset first asks for it: commands that touch no data don't pay for it."""

    def __init__(self) -> None:
        """No engine is chosen yet."""
        self._spec: EngineSpec | None = None
        self._session: SparkSession | None = None
        self._given: SparkSession | None = None
        self._server: Any = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    @property
    def kind(self) -> str:
        """Name of the chosen engine."""
        return self._chosen().engine

    @property
    def writes_delta(self) -> bool:
        """Whether it writes Delta tables itself, and has a catalog; Sail's writer can't be trusted with a batch."""
        return self._spec is not None and self._spec.engine != "sail"

    def choose(self, spec: EngineSpec) -> None:
        """Fix the engine of this process.

        Raises:
            EngineError: Another one was started before.
        """
        if self._session is not None and self._spec != spec:
            raise EngineError(f"This process already computes with {self.kind}; start another one for {spec.engine}.")
        self._spec = spec

    def session(self) -> SparkSession:
        """The running session, started at the first call."""
        if self._session is None:
            self._session = self._started(self._chosen())
            self._session.conf.set("spark.sql.session.timeZone", "UTC")
        return self._session

    def describe(self) -> dict[str, str]:
        """What computes, as a run's tags; a session of Databricks is started for it, so that it can be what it says."""
        spec = self._chosen()
        for fault in missing(spec):
            raise EngineError(fault)
        if spec.engine == "sail":
            return {"engine": "sail", "engine.version": version("pysail")}
        if spec.engine == "spark":
            return {"engine": "spark", "engine.version": version("pyspark"), "engine.compute": spec.master}
        return {"engine": spec.engine, "engine.version": self.session().version, "engine.compute": str(spec.compute)}

    def readable_path(self, path: str) -> str:
        """Where the engine finds a table: Sail's Delta reader looks in vain where a URL would need escapes.

        Such a folder (a blank or an umlaut in its name is enough) is read through a link to it that lives as long as
        the session.
        """
        from urllib.parse import quote

        if self.kind != "sail" or "://" in path or quote(path) == path:
            return path
        link = self._temporary_folder() / hashlib.sha256(path.encode()).hexdigest()[:16]
        if not link.is_symlink():
            link.symlink_to(Path(path).absolute(), target_is_directory=True)
        return str(link)

    def stage(self, frame: DataFrame, folder: Path) -> pa.dataset.Dataset:
        """Compute a frame once, into files below a folder that is there, and open these as an Arrow dataset."""
        import pyarrow as pa
        import pyarrow.dataset as pads

        # Sail writes Arrow itself: nothing is encoded that is decoded again at once (features: five times as fast).
        written, read = ("arrow", "ipc") if self.kind == "sail" else ("parquet", "parquet")
        staged = folder / "rows"
        frame.write.format(written).save(str(staged))
        if any(staged.glob(f"*.{written}")):
            return pads.dataset(staged, format=read)
        return pads.dataset(pa.table(frame.limit(0).toArrow()))

    def stop(self) -> None:
        """End the session and what was started for it; the next call of `session` starts anew."""
        # A session that was there before is its owner's.
        if self._session is not None and self._session is not self._given and self.kind != "databricks":
            # Ctrl-C ends the server as well: its client would try for minutes to say goodbye to it.
            if self.kind == "sail":
                session: Any = self._session
                session.client.set_retry_policies([])
            self._session.stop()
        self._session = None
        if self._server is not None:
            self._server.stop()
            self._server = None
        # A JVM lives as long as this process, and so does its temporary folder.
        if self._temporary is not None and self.kind == "sail":
            self._temporary.cleanup()
            self._temporary = None

    def _temporary_folder(self) -> Path:
        """A folder of this process: what is in it when the process is killed, the next run removes."""
        if self._temporary is None:
            self._temporary = temporary_files.new_folder()
        return Path(self._temporary.name)

    def _chosen(self) -> EngineSpec:
        if self._spec is None:
            raise EngineError("No engine is chosen: load the project through Kedro, which reads conf/<env>/spark.yml.")
        return self._spec

    def _started(self, spec: EngineSpec) -> SparkSession:
        for fault in missing(spec):
            raise EngineError(fault)
        if spec.engine == "sail":
            return self._start_sail()
        if spec.engine == "spark":
            return _served(spec) if spec.serves else self._start_spark(spec)
        if spec.engine == "connect":
            return workspace.connect_session(str(spec.compute))
        return workspace.job_session()

    def _start_sail(self) -> SparkSession:
        self._given = _given("sail")
        if self._given is not None:
            return self._given
        _forget_other_sessions()
        _check_address_space()
        # Sail logs its start and its stop to stderr unless told before it loads; neither is news to anybody.
        os.environ.setdefault("RUST_LOG", "error")
        from pysail.spark import SparkConnectServer
        from pyspark.sql import SparkSession

        self._server = SparkConnectServer("127.0.0.1", 0)
        self._server.start(background=True)
        host, port = self._server.listening_address
        log.debug("Sail listens on %s:%s", host, port)
        # The server lives in this process: no proxy of the user's lies between. (gRPC reads no NO_PROXY.)
        os.environ["no_grpc_proxy"] = ",".join(filter(None, [os.environ.get("no_grpc_proxy"), host]))  # noqa: SIM112 - its own spelling
        session: Any = SparkSession.builder.remote(f"sc://{host}:{port}").getOrCreate()
        # No network lies between that could break: results need not be kept for a client that comes back, and so no
        # thread of the client has to tell the server which ones it may forget.
        session.client.disable_reattachable_execute()
        session.client.set_retry_policies([*session.client.get_retry_policies(), _ask_again()])
        # A thread of theirs that still runs while the interpreter is taken down aborts the process.
        atexit.register(self.stop)
        started: SparkSession = session
        return started

    def _start_spark(self, spec: EngineSpec) -> SparkSession:
        """Apache Spark in a JVM of its own.

        Raises:
            EngineError: Spark doesn't start.
        """
        from pyspark.sql import SparkSession

        from lakehouse_ml.engine import jars

        self._given = _given("spark")
        if self._given is not None:
            return self._given
        _forget_other_sessions()
        redirects.ignore_variables(redirects.OF_JVM)
        # Workers run this very Python; what Spark logs of itself is told by conf beside this file.
        os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
        os.environ["SPARK_CONF_DIR"] = str(Path(__file__).parent / "spark_conf")
        paths = {f"spark.{who}.extraClassPath": jars.class_path() for who in ("driver", "executor")}
        settings = DELTA | _SPARK | s3.spark_settings() | paths
        if spec.master.startswith("local"):
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            own = str(self._temporary_folder())
            settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
            settings |= {"spark.local.dir": own, "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={own}"}
        builder = SparkSession.builder.master(spec.master).appName("lakehouse-ml")
        for name, value in (settings | spec.settings).items():
            builder = builder.config(name, _spelt(value))
        log.info("  Apache Spark starts on %s", spec.master)
        try:
            return builder.getOrCreate()
        except Exception as error:
            raise EngineError(
                f"Apache Spark doesn't start on {spec.master} ({first_line(error)}). It needs Java 17 or newer, and a "
                f"master that answers; its own words stand above."
            ) from error


# What makes Spark know Delta.
DELTA: dict[str, str] = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
_SPARK: dict[str, str] = {
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def _check_address_space() -> None:
    """Refuse a limit under which Sail, or a library beneath it, aborts the process without a word.

    Raises:
        EngineError: Names the limit, and what is needed.
    """
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _ADDRESS_SPACE:
        raise EngineError(
            f"A process may use {limit / (1 << 30):.1f} GiB of address space here (ulimit -v), and the engine needs at "
            f"least {_ADDRESS_SPACE >> 30} GiB: raise the limit (ulimit -v unlimited), then run again."
        )


def _spelt(value: object) -> str:
    """A setting as Spark reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _forget_other_sessions() -> None:
    """Remove variables that a session of another kind, or a shell, left: Spark would connect to what they name."""
    redirects.ignore_variables(redirects.OF_SPARK)
    os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)  # a mode that PySpark sets itself


def _served(spec: EngineSpec) -> SparkSession:
    """A session on the Spark Connect server of a cluster.

    Raises:
        EngineError: It doesn't answer, or is none of Apache Spark.
    """
    from pyspark.sql import SparkSession

    try:
        session: SparkSession = SparkSession.builder.remote(spec.master).getOrCreate()
        actual = _kind(session)
    except Exception as error:
        raise EngineError(f"No Spark Connect server answers at {spec.master} ({first_line(error)}).") from error
    if actual != "Spark Connect":
        raise EngineError(f"conf says engine: spark, and {spec.master} is {actual}.")
    for name, value in spec.settings.items():
        if session.conf.isModifiable(name):
            session.conf.set(name, _spelt(value))
    return session


# Bytes that Sail's threads and the libraries loaded with it reserve, most of which they never touch.
_ADDRESS_SPACE = 6 << 30


def _given(kind: str) -> SparkSession | None:
    """The session that this process had before, as a job's has: it is used as it is, and left to whoever made it.

    Raises:
        EngineError: It is of another kind.
    """
    from pyspark.sql import SparkSession

    found = SparkSession.getActiveSession()
    if found is None:
        return None
    actual = _kind(found)
    if actual != kind:
        raise EngineError(f"conf says engine: {kind}, and this process has a session of {actual} already.")
    return found


def _kind(session: SparkSession) -> str:
    """What computes. Asked for its version, Sail tells its own, and Spark that of the session."""
    told = str(session.sql("SELECT version()").collect()[0][0])
    if not told.startswith(session.version):
        return "sail"
    return "Spark Connect" if "connect" in type(session).__module__ else "spark"


def _ask_again() -> RetryPolicy:
    """Repeats a question whose answer came but couldn't be decoded, which was seen once in a few thousand runs.

    Only calls with one answer are repeated: they ask for a schema or a setting. A stream of rows isn't, for it may have
    handed on some, nor a write.
    """
    from pyspark.sql.connect.client.retries import RetryPolicy

    def unreadable(error: Any) -> bool:
        one_answer = hasattr(error, "details") and not hasattr(error, "__next__")
        return one_answer and error.details() == "Exception deserializing response!"

    policy: Any = RetryPolicy(max_retries=3, initial_backoff=50)
    policy.can_retry = unreadable
    again: RetryPolicy = policy
    return again


ENGINE = Engine()
