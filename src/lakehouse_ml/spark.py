"""The Spark session of an environment. One kind per process, chosen by conf, never another one instead."""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from lakehouse_ml.errors import EngineError
from lakehouse_ml.spec import Spec

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.connect.client.retries import RetryPolicy

log = logging.getLogger(__name__)


class EngineSpec(Spec):
    """`conf/<env>/spark.yml`: which engine an environment computes with.

    Attributes:
        engine: `sail` is Spark Connect without a JVM; `spark` is Apache Spark with Delta's jars, on a JVM.
        master: Where `spark` computes: `local[*]`, or `spark://host:port`.
        settings: Spark's own, by their names.
    """

    engine: Literal["sail", "spark"]
    master: str = "local[*]"
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)


class Engine:
    """Starts the session when a dataset first asks for it: commands that touch no data don't pay for it."""

    def __init__(self) -> None:
        """No engine is chosen yet."""
        self._spec: EngineSpec | None = None
        self._session: SparkSession | None = None
        self._server: Any = None
        self._links: tempfile.TemporaryDirectory[str] | None = None

    @property
    def kind(self) -> str:
        """Name of the chosen engine."""
        return self._chosen().engine

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
            self._chosen()
            self._session = self._start_sail() if self.kind == "sail" else self._start_spark(self._chosen())
            self._session.conf.set("spark.sql.session.timeZone", "UTC")
        return self._session

    def readable(self, path: str) -> str:
        """Where the engine finds a table: Sail's Delta reader looks in vain where a URL would need escapes.

        Such a folder (a blank or an umlaut in its name is enough) is read through a link to it that lives as long as
        the session.
        """
        from urllib.parse import quote

        if self.kind != "sail" or "://" in path or quote(path) == path:
            return path
        if self._links is None:
            self._links = tempfile.TemporaryDirectory(prefix="lakehouse-ml-")
        link = Path(self._links.name) / hashlib.sha256(path.encode()).hexdigest()[:16]
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
        if self._session is not None:
            # Ctrl-C ends the server as well: its client would try for minutes to say goodbye to it.
            if self.kind == "sail":
                session: Any = self._session
                session.client.set_retry_policies([])
            self._session.stop()
            self._session = None
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._links is not None:
            self._links.cleanup()
            self._links = None

    def _chosen(self) -> EngineSpec:
        if self._spec is None:
            raise EngineError("No engine is chosen: load the project through Kedro, which reads conf/<env>/spark.yml.")
        return self._spec

    def _start_sail(self) -> SparkSession:
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

    @staticmethod
    def _start_spark(spec: EngineSpec) -> SparkSession:
        """Apache Spark in a JVM of its own.

        Raises:
            EngineError: What is missing (Spark, its jars, Java), and how to get it.
        """
        from pyspark.sql import SparkSession

        from lakehouse_ml import jars

        jars.check_machine()
        # What a session of another kind has left in the environment, that of a parent too, would be asked for instead.
        for left in ("SPARK_REMOTE", "SPARK_LOCAL_REMOTE", "SPARK_CONNECT_MODE_ENABLED"):
            os.environ.pop(left, None)
        # Workers run this very Python; what Spark logs of itself is told by conf beside this file.
        os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
        os.environ.setdefault("SPARK_CONF_DIR", str(Path(__file__).parent / "spark_conf"))
        settings = _SPARK | {"spark.driver.extraClassPath": jars.class_path()}
        if spec.master.startswith("local"):
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        builder = SparkSession.builder.master(spec.master).appName("lakehouse-ml")
        for name, value in (settings | spec.settings).items():
            builder = builder.config(name, str(value).lower() if isinstance(value, bool) else str(value))
        log.info("  Apache Spark starts on %s", spec.master)
        try:
            return builder.getOrCreate()
        except Exception as error:
            first = str(error).strip().splitlines()[0]
            raise EngineError(
                f"Apache Spark doesn't start on {spec.master} ({first}). It needs Java 17 or newer, and a master that "
                f"answers; its own words stand above."
            ) from error


_SPARK: dict[str, str] = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


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
