"""Processes of this environment that start with the libraries already imported.

Importing Kedro, MLflow, Spark's client and scikit-learn takes most of the time of a short command. A server imports
them once; each command is then a fork of it: a process of its own, with its own environment, folder, streams, signals
and exit code. What a test starts is a client that passes on signals and the exit code; if the client is killed, so is
the command. The project's own modules are not imported beforehand: some look at the environment while they are.

    subprocess.run(warm([sys.executable, "-m", "lakehouse_ml", …]), …)

Another environment has it too: `python` there becomes this client, `cold` being the real one (`install`). The command
is in a process group of its own, so whatever starts further processes and is ended with its group, as a server is by
Ctrl-C, is started with COLD in its environment.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import warnings
from contextlib import suppress
from pathlib import Path

_PASSED_ON = (signal.SIGINT, signal.SIGTERM)
# By the environment's Python: the name of the socket, and the process, which lives while its standard input is open.
_SERVERS: dict[Path, tuple[str, object]] = {}
_PYTHON = """\
#!{real} -IS
import os, sys
words, server = sys.argv[1:], "{scripts}/warm"
wanted = os.path.exists(server) and "COLD" not in os.environ
if wanted and words and (words[0] in ("-", "-c", "-m") or words[0].endswith("/kedro")):
    client = {{"__name__": "warm"}}
    exec(compile(open("{warm}").read(), "{warm}", "exec"), client)
    client["_client"](open(server).read(), words)
os.execv("{scripts}/cold", ["{scripts}/cold", *words])
"""


def warm(call: list[str]) -> list[str]:
    """The same call of this environment's Python or of one of its scripts, by the server."""
    assert call[0].startswith(sys.prefix), call
    if not hasattr(os, "pidfd_open"):
        return call
    words = call[1:] if call[0] == sys.executable else call
    return [sys.executable, "-IS", __file__, _server(Path(sys.executable)), *words]


def install(scripts: Path) -> None:
    """Have an environment's `python` ask its server, or be as it was while none runs (see `serve`)."""
    if not hasattr(os, "pidfd_open"):
        return
    real = (scripts / "python").resolve()
    for name in ("python", "python3"):
        (scripts / name).unlink(missing_ok=True)
    (scripts / "cold").symlink_to(real)
    (scripts / "python").write_text(_PYTHON.format(real=real, warm=__file__, scripts=scripts), encoding="utf-8")
    (scripts / "python").chmod(0o755)
    (scripts / "python3").symlink_to("python")


def serve(scripts: Path) -> None:
    """Start the server of an environment that was installed; it lives as long as this process."""
    if (scripts / "cold").exists() and not (scripts / "warm").exists():
        (scripts / "warm").write_text(_server(scripts / "cold"), encoding="utf-8")


def _server(python: Path) -> str:
    """The address of an environment's server, which is started if it does not run yet."""
    if python not in _SERVERS:
        _SERVERS[python] = _start(python)
    return _SERVERS[python][0]


def _start(python: Path) -> tuple[str, object]:
    import subprocess
    from uuid import uuid4

    address = f"lakehouse-ml-{uuid4().hex}"
    call = [str(python), __file__, address]
    # xdist names this checkout's folders in PYTHONPATH.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    server = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=own)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return address, server


def _client(address: str, words: list[str]) -> None:
    """Have the command run with this process's streams, folder and environment, and end as it does."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(f"\0{address}")  # no file: the path of one may be too long
    request = json.dumps([words, str(Path.cwd()), dict(os.environ)]).encode()
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    for number in _PASSED_ON:
        signal.signal(number, lambda number, _: server.sendall(bytes([number])))
    answer = server.recv(4)
    status = int.from_bytes(answer, "big", signed=True) if answer else os.EX_SOFTWARE
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    os._exit(status)


def _serve(address: str) -> list[str]:
    """Accept commands until standard input ends; comes back in a fork alone, with the words of its command."""
    _import_libraries()
    gc.freeze()  # what is shared is not looked at again in every fork
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{address}")
    listener.listen(16)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            os._exit(0)
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _mind(client)
        client.close()


def _mind(client: socket.socket) -> list[str]:
    """Start the command, and watch it and its client; comes back in the command alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(client, 8, 3)
    request = b""
    while len(request) < int.from_bytes(head, "big"):
        request += client.recv(1 << 20)
    words, folder, environment = json.loads(request)
    command = os.fork()
    if command == 0:
        client.close()
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        for option in filter(None, environment.get("PYTHONWARNINGS", "").split(",")):
            warnings.simplefilter(option.split(":")[0])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return words
    for stream in (0, 1, 2, *streams):
        os.close(stream)
    ended = os.pidfd_open(command)
    while True:
        ready, _, _ = select.select([client, ended], [], [])
        if ended in ready:
            status = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
            client.sendall(status.to_bytes(4, "big", signed=True))
            os._exit(0)
        sent = client.recv(1)
        os.kill(command, sent[0] if sent else signal.SIGKILL)
        if not sent:
            os._exit(0)


def _import_libraries() -> None:
    from importlib import import_module

    from lakehouse_ml.project import configure_logging

    configure_logging()
    for name in (
        "pandas",
        "pyarrow.dataset",
        "kedro.framework.cli",
        "kedro.framework.session",
        "kedro.runner",
        "kedro_datasets.pandas",
        "mlflow.pyfunc",
        "mlflow.store.tracking.sqlalchemy_store",
        "alembic.command",
        "kedro_mlflow.framework.hooks",
        "sklearn.ensemble",
        "sklearn.pipeline",
        "sklearn.linear_model",
        "sklearn.calibration",
        "scipy.stats",
        "pyspark.sql.connect.session",
        "pyspark.sql.connect.functions",
        "pysail.spark",
        "deltalake",
        "skops.io",
        "matplotlib.figure",
        "matplotlib.backends.backend_svg",
        "jinja2",
        "sqlglot",
        "tenacity",
        "pyarrow.csv",
        "pyarrow.parquet",
        "fsspec.implementations.local",
        "sqlalchemy.dialects.sqlite",
        "mlflow.sklearn",
        "mlflow.store.tracking.sqlalchemy_workspace_store",
        "mlflow.store.model_registry.sqlalchemy_workspace_store",
        "opentelemetry.sdk.metrics.export",
        "pyspark.sql.connect.window",
    ):
        import_module(name)
    for name in ("git", "ipykernel.connect", "kedro_telemetry.plugin", "kedro_viz.integrations.kedro.hooks"):
        with suppress(ImportError):  # not in every environment
            import_module(name)
    _fill_caches()
    for name in [name for name in sys.modules if name.split(".")[0] == "lakehouse_ml"]:
        del sys.modules[name]


def _fill_caches() -> None:
    """Compute once what libraries keep per process: installed packages, fonts, and which module a file belongs to."""
    import inspect
    import io

    from matplotlib.figure import Figure
    from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

    warn_dependency_requirement_mismatches(["pandas"])
    figure = Figure(layout="constrained")
    figure.subplots()
    figure.savefig(io.StringIO(), format="svg")
    inspect.stack()


def _become(words: list[str]) -> None:
    """What Python does with its words: run a module, a text or a script as the main one."""
    import runpy

    kind, rest = words[0], words[1:]
    if kind == "-m":
        sys.path[0], sys.argv = str(Path.cwd()), rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind in ("-c", "-"):
        source, name = (rest.pop(0), "<string>") if kind == "-c" else (sys.stdin.read(), "<stdin>")
        sys.path[0], sys.argv = "", [kind, *rest]
        exec(compile(source, name, "exec"), {"__name__": "__main__"})
    else:
        sys.path[0], sys.argv = str(Path(kind).parent), words
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    if sys.flags.isolated:
        _client(sys.argv[1], sys.argv[2:])
    _become(_serve(sys.argv[1]))
