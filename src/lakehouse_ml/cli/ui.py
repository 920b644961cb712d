"""MLflow's pages of a lake: the experiment opens at its runs, as a list with the columns that matter for a use case.

MLflow's page has two modes, and without a word it opens in the one for language models, which hides the registry. Tags
of the experiment set the mode and hold views; an address names both.

    python -m lakehouse_ml.cli.ui --lake LAKE   # what `make ui` runs: the addresses, then the server
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.project import PROJECT, configure, configure_logging

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own names.
_KIND, _NOTE, _VIEW = "mlflow.experimentKind", "mlflow.note.content", "mlflow.sharedViewState."
_MODE = "workflowType=machine_learning"
_DESCRIPTION = "Runs of the pipelines, with the trials of their searches below. *Views* lists those of one use case."
# Columns of a view and their widths in pixels, in order.
_COLUMNS: Mapping[str, int] = {
    "attributes.`Run Name`": 350,
    "runDateAndNestInfo": 150,
    "duration": 90,
    "metrics.`holdout_f1`": 170,
    "metrics.`holdout_roc_auc`": 170,
    "metrics.`f1`": 170,
    "tags.`verdict`": 100,
    "tags.`model_version`": 120,
    "tags.`drift`": 130,
    "tags.`chosen`": 90,
}


def experiment_tags(use_cases: Iterable[str], created: int) -> dict[str, str]:
    """The tags by which MLflow's page shows an experiment as one of trained models, with a view per use case.

    Args:
        use_cases: Their names.
        created: When the experiment was, in ms: the views are as old.
    """
    views = {f"{_VIEW}{name}": _view(name, created) for name in use_cases}
    return {_KIND: "custom_model_development", _NOTE: _DESCRIPTION, **views}


def describe_experiment(client: MlflowClient, experiment_id: str) -> None:
    """Set the tags of `experiment_tags` where they are missing or older; a description that somebody wrote stays."""
    from lakehouse_ml.use_cases import USE_CASES

    experiment = client.get_experiment(experiment_id)
    tags = experiment_tags((use_case.name for use_case in USE_CASES), experiment.creation_time or 0)
    for key, value in tags.items():
        stored = experiment.tags.get(key)
        if stored != value and not (stored and key == _NOTE):
            client.set_experiment_tag(experiment_id, key, value)


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
    registered = [
        (f"{server}/#/models/{quote(name, safe='')}?{_MODE}", f"the registered model of {use_case}")
        for use_case, name in models.items()
    ]
    return runs + registered


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
    file = tracking_store.file_of(store)
    server = store.rstrip("/") if file is None else f"http://{conf.ui.host}:{conf.ui.port}"
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(conf.tracking.experiment.name)
    if experiment is None:
        raise LakehouseError(
            f"There is no experiment {conf.tracking.experiment.name} in {store}. Run `make run` first."
        )
    describe_experiment(client, experiment.experiment_id)
    pages = list_addresses(server, experiment.experiment_id, _registered(client, context.config_loader["globals"]))
    width = max(len(address) for address, _ in pages)
    text = "\n".join(f"{address:<{width}}   {what}" for address, what in pages)
    own = ["--backend-store-uri", store, "--host", conf.ui.host, "--port", str(conf.ui.port)]
    return text, [sys.executable, "-m", "mlflow", "ui", *own] if file is not None else []


def _registered(client: MlflowClient, own: Mapping[str, str]) -> dict[str, str]:
    from lakehouse_ml.config import locations
    from lakehouse_ml.use_cases import USE_CASES

    names = {use_case.name: locations.model(own["models"], use_case.name) for use_case in USE_CASES}
    stored = {model.name for model in client.search_registered_models()}
    return {use_case: name for use_case, name in names.items() if name in stored}


def _view(use_case: str, created: int) -> str:
    """A view as MLflow's page stores it, whose choices are JSON in JSON."""
    state = {
        "searchFilter": f"tags.use_case LIKE '%{use_case}%'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": [*_COLUMNS, "attributes.`Duration`"],
        "columnOrder": list(_COLUMNS),
        "columnWidths": dict(_COLUMNS),
    }
    view = {"name": f"Runs of {use_case}", "createdAt": created, "updatedAt": created, "state": json.dumps(state)}
    return json.dumps(view)


if __name__ == "__main__":
    main()
