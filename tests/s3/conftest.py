"""A loopback S3 API server and an MLflow server, in processes of their own, as the tests' environment names them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stores import Store

_TOLD = {"AWS_ALLOW_HTTP": "true", "AWS_CONDITIONAL_PUT": "etag", "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms"}


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """The server; this process's own variables name it, as a run's do after it has read conf."""
    pytest.importorskip("moto")
    call = [sys.executable, str(Path(__file__).with_name("server.py"))]
    server = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    lake_store = Store(f"http://127.0.0.1:{int(server.stdout.readline())}", "lakes")
    lake_store.put(f"/{lake_store.bucket}")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**lake_store.variables(), "AWS_ENDPOINT_URL": lake_store.url, **_TOLD}.items():
            patch.setenv(name, value)
        yield lake_store
    server.communicate(timeout=30)


@pytest.fixture(scope="session")
def spark(_no_jvm_yet: None, store: Store, spark: Any) -> Any:
    """The chosen engine's session, started when the variables were set: a JVM's workers have those of its start."""
    return spark


@pytest.fixture(scope="session")
def _no_jvm_yet(request: pytest.FixtureRequest) -> None:
    from lakehouse_ml.engine.sessions import ENGINE

    if request.config.getoption("--engine") == "spark" and ENGINE._session is not None:
        pytest.skip("a JVM runs that was started without the server's variables: run tests/s3 by itself")


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    call = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            call,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    _wait_for(url, server, folder / "log")
    yield url
    os.killpg(server.pid, 9)
    server.wait(30)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(log.read_text(encoding="utf-8"))
