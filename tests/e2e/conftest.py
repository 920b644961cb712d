"""Lakes that several files of tests use: one of docs and notebooks, and one on which stages run in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkouts import PROJECT, QUICK_SEARCH, copied, shown

from few_rows import told_in_conf
from lakehouse_ml.use_cases.churn.synthetic import write_csv
from lakehouse_ml.use_cases.predictive_maintenance.synthetic import simulate, write


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """A shell's background job ignores Ctrl-C, and so would the processes that it starts.

    This is no `preexec_fn`: that forks a process in which gRPC runs, whose poller may then abort the child before it
    becomes the command (grpc/grpc issue 43055).
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def readers_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, with fewer customers to land."""
    copy = copied(tmp_path_factory.mktemp("docs") / "project")
    write_csv(copy / "data" / "landing" / "churn" / "customers_simulated.csv", n=1_600)
    return copy


@pytest.fixture
def lived(readers_checkout: Path) -> Path:
    """That copy with a champion and scores in its own lake, made again if somebody has removed it."""
    (readers_checkout / "conf" / "local" / "parameters.yml").write_text(QUICK_SEARCH, encoding="utf-8")
    engine = readers_checkout / "conf" / "spark" / "spark.yml"
    engine.write_text(told_in_conf(engine.read_text(encoding="utf-8")), encoding="utf-8")
    if not (readers_checkout / "data" / "mlflow.db").exists():
        shown("make run", readers_checkout)
    return readers_checkout


@pytest.fixture
def plant(lived: Path) -> Path:
    """The same with the life of a small plant in its lake: 24 machines, from 2015-01-01 to 2015-03-16."""
    landing = lived / "data" / "landing" / "predictive_maintenance"
    if not landing.exists():
        write(landing, simulate(24, 75, seed=1))
    if not list(lived.glob("data/*/predictive_maintenance/score_machines")):
        shown("make run USE_CASE=predictive_maintenance", lived)
    return lived


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Runs stages of the project over any lake and conf."""
    import mlflow
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    landing = tmp_path_factory.mktemp("landing")
    write_csv(landing / "customers.csv", n=200, seed=1)
    tracked_before = mlflow.get_tracking_uri()
    bootstrap_project(PROJECT)

    def run(lake: Path, *stages: str, conf: Path = PROJECT / "conf", files: Path = landing, **options: Any) -> Any:
        params = {"lake": str(lake), "landing": str(files)}
        with settings.SESSION_CLASS.create(PROJECT, runtime_params=params, conf_source=str(conf)) as session:
            return session.run(**{"pipeline_names": list(stages), "namespaces": ["churn"], **options})

    yield run
    mlflow.set_tracking_uri(tracked_before)


@pytest.fixture(scope="module")
def ingested(start: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake after its first two stages."""
    lake = tmp_path_factory.mktemp("whole") / "lake"
    start(lake, "data_ingestion", "data_quality")
    return lake
