"""Write and read one of each thing that a run needs, and say which right is missing and who grants it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from lakehouse_ml.config.lake import Lake
from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.errors import first_line
from lakehouse_ml.storage import files
from lakehouse_ml.storage.delta.spark import quote_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from lakehouse_ml.config.loader import ProjectConfigLoader

# In a schema the table is `lakehouse_ml_smoke`.
_TABLE = "00_smoke/lakehouse_ml/smoke"
_MODEL = "lakehouse_ml_smoke"


@dataclass(frozen=True)
class Attempt:
    """One thing that was tried.

    Attributes:
        name: What: table, files, landing, experiment or registry.
        address: Where.
        error: Why it failed; empty if it worked.
        remedy: Who has to do what about it; empty if it worked.
    """

    name: str
    address: str
    error: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class _Probe:
    name: str
    address: str
    attempt: Callable[[], None]
    find_remedy: Callable[[], str]


def try_everything(loader: ProjectConfigLoader) -> list[Attempt]:
    """Write, read and remove a table, a file, a run and a model, and list the landing folder.

    Args:
        loader: The conf of a session whose lake is open.
    """
    return [_try(probe) for probe in _list_probes(loader)]


def _try(probe: _Probe) -> Attempt:
    try:
        probe.attempt()
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # Kedro's own error says only that a dataset failed
            cause = cause.__cause__
        return Attempt(probe.name, probe.address, first_line(cause), probe.find_remedy())
    return Attempt(probe.name, probe.address)


def _list_probes(loader: ProjectConfigLoader) -> list[_Probe]:
    lake, landing, experiment = loader.lake, loader.landing, loader.named("experiment")
    table, model = lake.table_location(_TABLE), lake.model_name(_MODEL)
    return [
        _Probe(
            "table",
            table,
            lambda: _try_table(table, lake),
            lambda: _grant(lake, "CREATE TABLE, SELECT, MODIFY"),
        ),
        _Probe(
            "files",
            loader.files,
            lambda: _try_files(loader.files),
            lambda: _grant_volume(loader.files, "READ VOLUME, WRITE VOLUME"),
        ),
        _Probe(
            "landing",
            landing,
            lambda: _try_landing(landing),
            lambda: _grant_volume(landing, "READ VOLUME"),
        ),
        _Probe(
            "experiment",
            experiment,
            lambda: _try_experiment(experiment),
            lambda: _share_experiment(lake, experiment),
        ),
        _Probe("registry", model, lambda: _try_registry(model), lambda: _grant(lake, "CREATE MODEL")),
    ]


def _try_table(address: str, lake: Lake) -> None:
    import pandas as pd

    rows = pd.DataFrame({"id": [1], "text": ["written by smoke"]})
    table = DeltaTable(filepath=address, kind=lake.kind, frame="pandas")
    try:
        table.save(rows)
        if not table.load().equals(rows):
            raise RuntimeError(f"The rows read from {address} differ from those written.")
    finally:
        _remove_table(address, lake)


def _remove_table(address: str, lake: Lake) -> None:
    if lake.is_schema:
        ENGINE.session().sql(f"DROP TABLE IF EXISTS {quote_name(address)}").collect()
        return
    fs, path = files.locate(address)
    with suppress(FileNotFoundError):
        fs.rm(path.rpartition("/")[0].rpartition("/")[0], recursive=True)


def _try_files(folder: str) -> None:
    address = f"{folder}/smoke_{uuid4().hex}.txt"
    files.write_text(address, "written by smoke")
    fs, path = files.locate(address)
    try:
        with files.open_bytes(address) as stream:
            if stream.read() != b"written by smoke":
                raise RuntimeError(f"The text read from {address} differs from the one written.")
    finally:
        fs.rm(path)


def _try_landing(folder: str) -> None:
    fs, path = files.locate(folder)
    fs.ls(path)


def _try_experiment(name: str) -> None:
    client = _client()
    experiment = client.get_experiment_by_name(name)
    identity = experiment.experiment_id if experiment else client.create_experiment(name)
    run = client.create_run(identity, run_name="smoke").info.run_id
    client.log_metric(run, "smoke", 1.0)
    client.set_terminated(run)
    client.delete_run(run)


def _try_registry(name: str) -> None:
    client = _client()
    client.create_registered_model(name)
    try:
        client.get_registered_model(name)
    finally:
        client.delete_registered_model(name)


def _client() -> MlflowClient:
    import mlflow

    return mlflow.MlflowClient()


def _grant(lake: Lake, privileges: str) -> str:
    if not lake.is_schema:
        return f"Make {lake.root} writable for who runs this."
    catalog, _, _ = lake.root.partition(".")
    return (
        f"The owner of the schema: GRANT USE SCHEMA, {privileges} ON SCHEMA {lake.root} TO `{_find_user()}`; the owner "
        f"of the catalog: GRANT USE CATALOG ON CATALOG {catalog} TO `{_find_user()}`."
    )


def _grant_volume(folder: str, privileges: str) -> str:
    parts = folder.split("/")
    if folder.startswith("/Volumes/") and len(parts) > 4:
        volume = ".".join(parts[2:5])
        return f"The owner of the Volume: GRANT {privileges} ON VOLUME {volume} TO `{_find_user()}`."
    if "://" in folder:
        return f"The owner of the external location of {folder}: GRANT READ FILES; or the bucket's policy."
    return f"Create {folder} and make it readable for who runs this."


def _share_experiment(lake: Lake, name: str) -> str:
    if not lake.is_schema:
        return "Start the tracking server, or look at its log."
    return f"Who manages the experiment {name}: give `{_find_user()}` the permission CAN_MANAGE on it."


def _find_user() -> str:
    """The identity of the session in a workspace."""
    with suppress(Exception):
        return str(ENGINE.session().sql("SELECT current_user()").collect()[0][0])
    return "<who runs the job>"
