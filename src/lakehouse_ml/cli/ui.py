"""`make ui`: MLflow's pages of a lake, opened at its runs and models.

python -m lakehouse_ml.cli.ui --lake LAKE   # prints the addresses, then becomes the server
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.project import PROJECT, configure, configure_logging
from lakehouse_ml.runs.experiment import describe_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from lakehouse_ml.config.lake import Lake

_MODE = "workflowType=machine_learning"


def list_addresses(server: str, experiment_id: str, models: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pages to open, each with what it shows: the runs of every use case, and its registered model.

    Args:
        server: Its address, without a slash at the end.
        experiment_id: The experiment with the runs.
        models: Name of the registered model by use case; of those that have one.
    """
    from lakehouse_ml.use_cases import USE_CASES

    runs = [
        (f"{server}/#/experiments/{experiment_id}/runs?{_MODE}&viewStateShareKey={one.name}", f"runs of {one.name}")
        for one in USE_CASES
    ]
    model_links = [
        (f"{server}/#/models/{quote(name, safe='')}?{_MODE}", f"the registered model of {use_case}")
        for use_case, name in models.items()
    ]
    return runs + model_links


def main(argv: Sequence[str] | None = None) -> None:
    """Print the pages' addresses; where the runs are in a file, this process becomes the server that shows them.

    Raises:
        SystemExit: With a sentence, where there are no runs to show.
    """
    configure_logging()  # before Kedro, whose import decides what is logged
    import click

    parser = argparse.ArgumentParser(prog="make ui", description=main.__doc__)
    parser.add_argument("--lake", default="", help="folder of another lake than conf's")
    parser.add_argument("--env", default="", help="a folder of conf/")
    chosen = parser.parse_args(argv)
    try:
        text, command = _prepare(chosen.lake, chosen.env)
    except LakehouseError as error:
        raise SystemExit(f"Error: {error}") from error
    click.echo(text)
    if command:
        os.execv(command[0], command)  # noqa: S606 - this very Python


def _prepare(lake: str, env: str) -> tuple[str, list[str]]:
    """The text to print, and the command of the server; none where one runs already.

    Raises:
        LakehouseError: There is no lake, or it has no runs yet.
    """
    import mlflow
    from kedro.framework.project import settings

    from lakehouse_ml.registry import tracking_store

    configure()
    session = settings.SESSION_CLASS.create(PROJECT, env=env or None, runtime_params={"lake": lake} if lake else {})
    session.check_runs()
    context = session.load_context()
    store, conf = mlflow.get_tracking_uri(), context.mlflow
    file = tracking_store.find_file(store)
    server = store.rstrip("/") if file is None else f"http://{conf.ui.host}:{conf.ui.port}"
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(conf.tracking.experiment.name)
    if experiment is None:
        raise LakehouseError(
            f"There is no experiment {conf.tracking.experiment.name} in {store}. Run `make run` first."
        )
    describe_experiment(client, experiment.experiment_id)
    pages = list_addresses(
        server, experiment.experiment_id, _find_registered_models(client, context.config_loader.lake)
    )
    width = max(len(address) for address, _ in pages)
    text = "\n".join(f"{address:<{width}}   {what}" for address, what in pages)
    own = ["--backend-store-uri", store, "--host", conf.ui.host, "--port", str(conf.ui.port)]
    return text, [sys.executable, "-m", "mlflow", "ui", *own] if file is not None else []


def _find_registered_models(client: MlflowClient, lake: Lake) -> dict[str, str]:
    from lakehouse_ml.use_cases import USE_CASES

    names = {use_case.name: lake.model_name(use_case.name) for use_case in USE_CASES}
    stored = {model.name for model in client.search_registered_models()}
    return {use_case: name for use_case, name in names.items() if name in stored}


if __name__ == "__main__":
    main()
