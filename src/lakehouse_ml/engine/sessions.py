"""The Spark session of an environment: one engine per process, chosen by conf, without a fallback."""

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
from lakehouse_ml.engine.retries import retry_for_seconds
from lakehouse_ml.engine.spec import EngineSpec, find_missing
from lakehouse_ml.errors import EngineError, first_line

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.connect.client.retries import RetryPolicy

log = logging.getLogger(__name__)


class Engine:
    """Starts the session at the first use by a dataset: commands without data need none."""

    def __init__(self) -> None:
        """Start without an engine; `choose` sets it."""
        self._spec: EngineSpec | None = None
        self._session: SparkSession | None = None
        self._existing_session: SparkSession | None = None
        self._server: Any = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    @property
    def kind(self) -> str:
        """Name of the chosen engine."""
        return self._require_spec().engine

    @property
    def writes_delta(self) -> bool:
        """Whether the engine itself writes Delta tables and has a catalog. Sail's writer does not check batches."""
        return self._spec is not None and self._spec.engine != "sail"

    def choose(self, spec: EngineSpec) -> None:
        """Set the engine of this process.

        Raises:
            EngineError: Another engine was started before.
        """
        if self._session is not None and self._spec != spec:
            raise EngineError(
                f"This process already runs the engine {self.kind}; start another process for {spec.engine}."
            )
        self._spec = spec

    def session(self) -> SparkSession:
        """Return the session; the first call starts it."""
        if self._session is None:
            self._session = self._start(self._require_spec())
            self._session.conf.set("spark.sql.session.timeZone", "UTC")
        return self._session

    def describe(self) -> dict[str, str]:
        """Describe the engine by tags of a run. Starts a session of Databricks, whose version only it knows."""
        spec = self._require_spec()
        for fault in find_missing(spec):
            raise EngineError(fault)
        if spec.engine == "sail":
            return {"engine": "sail", "engine.version": version("pysail")}
        if spec.engine == "spark":
            # With a server, the client may be a package without an engine, pyspark-client.
            engine_version = self.session().version if spec.is_remote_server else version("pyspark")
            return {"engine": "spark", "engine.version": engine_version, "engine.compute": spec.master}
        compute = spec.compute or str(workspace.detect_compute())
        return {"engine": spec.engine, "engine.version": self.session().version, "engine.compute": compute}

    def readable_path(self, path: str) -> str:
        """The path by which the engine can read a table: Sail's Delta reader fails on paths that a URL must escape.

        Such a folder (a blank or an umlaut is enough) is read through a link that exists as long as the session.
        """
        from urllib.parse import quote

        if self.kind != "sail" or "://" in path or quote(path) == path:
            return path
        link = self._temporary_folder() / hashlib.sha256(path.encode()).hexdigest()[:16]
        if not link.is_symlink():
            link.symlink_to(Path(path).absolute(), target_is_directory=True)
        return str(link)

    def stage(self, frame: DataFrame, folder: Path) -> pa.dataset.Dataset:
        """Compute a frame once, into files in an existing folder, and open them as an Arrow dataset."""
        import pyarrow as pa
        import pyarrow.dataset as pads

        # Sail writes Arrow files natively, which saves encoding to Parquet and decoding (features: five times as fast).
        write_format, read_format = ("arrow", "ipc") if self.kind == "sail" else ("parquet", "parquet")
        staged = folder / "rows"
        frame.write.format(write_format).save(str(staged))
        if any(staged.glob(f"*.{write_format}")):
            return pads.dataset(staged, format=read_format)
        return pads.dataset(pa.table(frame.limit(0).toArrow()))

    def stop(self) -> None:
        """Stop the session and its server; the next call of `session` starts them again."""
        # A session that existed before belongs to its owner.
        if self._session is not None and self._session is not self._existing_session and self.kind != "databricks":
            # Ctrl-C also ends the server, and without this its client would retry for minutes to release the session.
            if self.kind == "sail":
                session: Any = self._session
                session.client.set_retry_policies([])
            self._session.stop()
        self._session = None
        if self._server is not None:
            self._server.stop()
            self._server = None
        # A JVM lives as long as this process, and needs its temporary folder until then.
        if self._temporary is not None and self.kind == "sail":
            self._temporary.cleanup()
            self._temporary = None

    def _temporary_folder(self) -> Path:
        """A temporary folder of this process; if the process is killed, the next run removes it."""
        if self._temporary is None:
            self._temporary = temporary_files.create_folder()
        return Path(self._temporary.name)

    def _require_spec(self) -> EngineSpec:
        if self._spec is None:
            raise EngineError("No engine is chosen: load the project through Kedro, which reads conf/<env>/spark.yml.")
        return self._spec

    def _start(self, spec: EngineSpec) -> SparkSession:
        for fault in find_missing(spec):
            raise EngineError(fault)
        if spec.engine == "sail":
            return self._start_sail()
        if spec.engine == "spark":
            return self._connect_server(spec) if spec.is_remote_server else self._start_spark(spec)
        if spec.engine == "connect":
            return workspace.connect_session(str(spec.compute))
        return workspace.job_session()

    def _start_sail(self) -> SparkSession:
        self._existing_session = _find_existing_session("sail")
        if self._existing_session is not None:
            return self._existing_session
        _forget_other_sessions()
        _check_address_space()
        # Sail logs start and stop to stderr, unless this is set before it loads.
        os.environ.setdefault("RUST_LOG", "error")
        from pysail.spark import SparkConnectServer
        from pyspark.sql import SparkSession

        self._server = SparkConnectServer("127.0.0.1", 0)
        self._server.start(background=True)
        host, port = self._server.listening_address
        log.debug("Sail listens on %s:%s", host, port)
        # The server is in this process, so no proxy may be used; gRPC does not read NO_PROXY.
        os.environ["no_grpc_proxy"] = ",".join(filter(None, [os.environ.get("no_grpc_proxy"), host]))  # noqa: SIM112 - its own spelling
        session: Any = SparkSession.builder.remote(f"sc://{host}:{port}").getOrCreate()
        # Without a network no client reconnects, so the server need not keep results, and the client needs no thread to
        # release them.
        session.client.disable_reattachable_execute()
        session.client.set_retry_policies([*session.client.get_retry_policies(), _decode_retry_policy()])
        # A thread of Sail that still runs while the interpreter shuts down aborts the process.
        atexit.register(self.stop)
        typed_session: SparkSession = session
        return typed_session

    def _start_spark(self, spec: EngineSpec) -> SparkSession:
        """Start Apache Spark in a JVM.

        Raises:
            EngineError: Spark does not start.
        """
        from pyspark.sql import SparkSession

        from lakehouse_ml.engine import jars

        self._existing_session = _find_existing_session("spark")
        if self._existing_session is not None:
            return self._existing_session
        _forget_other_sessions()
        redirects.ignore_variables(redirects.OF_JVM)
        # Workers run this Python. The folder beside this file configures Spark's own logging.
        os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
        os.environ["SPARK_CONF_DIR"] = str(Path(__file__).parent / "spark_conf")
        paths = {f"spark.{who}.extraClassPath": jars.class_path() for who in ("driver", "executor")}
        settings = DELTA | _SPARK | s3.spark_settings() | paths
        if spec.master.startswith("local"):
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            folder = str(self._temporary_folder())
            settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
            settings |= {"spark.local.dir": folder, "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={folder}"}
        builder = SparkSession.builder.master(spec.master).appName("lakehouse-ml")
        for name, value in (settings | spec.settings).items():
            builder = builder.config(name, format_setting(value))
        log.info("  Apache Spark starts on %s", spec.master)
        try:
            return builder.getOrCreate()
        except Exception as error:
            raise EngineError(
                f"Apache Spark does not start on {spec.master} ({first_line(error)}). It needs Java 17 or newer and a "
                f"reachable master; see its log above."
            ) from error

    def _connect_server(self, spec: EngineSpec) -> SparkSession:
        """Connect to the Spark Connect server of a cluster.

        Raises:
            EngineError: The server does not answer, or is not Apache Spark.
        """
        from pyspark.sql import SparkSession

        self._existing_session = _find_existing_session("Spark Connect")
        try:
            session: SparkSession = self._existing_session or SparkSession.builder.remote(spec.master).getOrCreate()
            with retry_for_seconds(session):
                actual = _detect_engine(session)
        except Exception as error:
            raise EngineError(f"No Spark Connect server answers at {spec.master} ({first_line(error)}).") from error
        if actual != "Spark Connect":
            raise EngineError(f"conf says engine: spark, and {spec.master} is {actual}.")
        for name, value in spec.settings.items():
            if session.conf.isModifiable(name):
                session.conf.set(name, format_setting(value))
        return session


# Spark settings that enable Delta.
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
    """Refuse a limit under which Sail or one of its libraries aborts the process without a message.

    Raises:
        EngineError: Names the limit and the minimum.
    """
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _ADDRESS_SPACE:
        raise EngineError(
            f"A process may use {limit / (1 << 30):.1f} GiB of address space here (ulimit -v), and the engine needs at "
            f"least {_ADDRESS_SPACE >> 30} GiB: raise the limit (ulimit -v unlimited), then run again."
        )


def format_setting(value: object) -> str:
    """A setting in Spark's notation."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _forget_other_sessions() -> None:
    """Remove variables that another session or a shell has set: Spark would connect to the server that they name."""
    redirects.ignore_variables(redirects.OF_SPARK)
    os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)  # a mode that PySpark sets itself


# Bytes that Sail's threads and its libraries reserve; they use only a small part.
_ADDRESS_SPACE = 6 << 30


def _find_existing_session(kind: str) -> SparkSession | None:
    """Find a session that this process had before, as in a job. It is used as it is, and never stopped.

    Raises:
        EngineError: The session belongs to another engine.
    """
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    if session is None:
        return None
    actual = _detect_engine(session)
    if actual != kind:
        raise EngineError(f"conf says engine: {kind}, and this process has a session of {actual} already.")
    return session


def _detect_engine(session: SparkSession) -> str:
    """The engine of a session. `version()` returns Sail's own version on Sail, else that of the session."""
    engine_version = str(session.sql("SELECT version()").collect()[0][0])
    if not engine_version.startswith(session.version):
        return "sail"
    return "Spark Connect" if "connect" in type(session).__module__ else "spark"


def _decode_retry_policy() -> RetryPolicy:
    """Retry requests whose response could not be decoded, which happened once in a few thousand runs.

    Only requests with a single response are repeated, such as for a schema or a setting. A stream of rows is not,
    because some rows may have been used already, nor is a write.
    """
    from pyspark.sql.connect.client.retries import RetryPolicy

    def is_undecodable(error: Any) -> bool:
        is_single_response = hasattr(error, "details") and not hasattr(error, "__next__")
        return is_single_response and error.details() == "Exception deserializing response!"

    policy: Any = RetryPolicy(max_retries=3, initial_backoff=50)
    policy.can_retry = is_undecodable
    typed_policy: RetryPolicy = policy
    return typed_policy


ENGINE = Engine()
