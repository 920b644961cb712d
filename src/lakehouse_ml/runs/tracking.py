"""What a Kedro run logs to its MLflow run: metrics, a nested run for each trial, and the verdict."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from kedro.io import DataCatalog

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.modelling.card import Candidate, Promotion
from lakehouse_ml.modelling.metrics import METRICS
from lakehouse_ml.storage.provenance import get_provenance

if TYPE_CHECKING:
    from mlflow.entities import Run

_NOTE = "mlflow.note.content"
# MLflow reads it, as JSON, whenever it creates a run.
_TAGS_OF_NEW_RUNS = "MLFLOW_RUN_CONTEXT"
_DECISIONS = {"approve": "was promoted to champion", "refuse": "was refused", "request": "awaits approval"}


@dataclass(frozen=True)
class _Result:
    """A node's result on its way to the MLflow run.

    Attributes:
        use_case: Whose.
        data: What the node returned.
        catalog: Of the run.
        prefix: Comes before names of metrics and tags: empty, or the use case where the run is of several.
        folder: Comes before names of files, likewise.
    """

    use_case: str
    data: Any
    catalog: DataCatalog
    prefix: str
    folder: str


def log_result(dataset_name: str, data: Any, catalog: DataCatalog, *, is_shared: bool = False) -> None:
    """Log a result of a node, if `_LOGGERS` has its dataset; without an open run, nothing happens.

    Args:
        dataset_name: With its use case.
        data: What is saved there.
        catalog: Of the run.
        is_shared: Whether the run is of several use cases: metrics, tags and files then carry the name of theirs.
    """
    import mlflow

    use_case, _, name = dataset_name.partition(".")
    if name not in _LOGGERS or mlflow.active_run() is None:
        return
    prefix, folder = (f"{use_case}.", f"{use_case}/") if is_shared else ("", "")
    _LOGGERS[name](_Result(use_case, data, catalog, prefix, folder))


def log_long_parameters(inputs: Mapping[str, Any]) -> None:
    """Log each parameter that is too long for MLflow as a file, and name the file in the tag of its name.

    kedro-mlflow has set that tag, which MLflow cuts without a mark.

    Args:
        inputs: A node's, by dataset; those that are no parameters don't matter.
    """
    import mlflow
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

    for dataset, value in inputs.items():
        name = dataset.removeprefix("params:")
        if name == dataset or len(text := str(value)) <= MAX_PARAM_VAL_LENGTH or mlflow.active_run() is None:
            continue
        file = f"parameters/{name}.json"
        mlflow.log_text(text, file)
        mlflow.set_tag(name, f"{len(text):,} characters, in the run's file {file}")


def shorten(text: str) -> str:
    """Cut a text with a mark so that it fits into a tag; MLflow would cut it without one."""
    from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

    mark = " … (cut)"
    return text if len(text) <= MAX_TAG_VAL_LENGTH else text[: MAX_TAG_VAL_LENGTH - len(mark)] + mark


def end(run_id: str, *, has_results: bool) -> None:
    """Close the run that kedro-mlflow opened; one in which every step was skipped is deleted.

    kedro-mlflow opens its run once more for each node and closes it once: in a process that goes on (a notebook, a
    job's) the next session would log into it.
    """
    import mlflow

    while (active := mlflow.active_run()) is not None and active.info.run_id == run_id:
        mlflow.end_run()
    if not has_results:
        mlflow.delete_run(run_id)


@contextmanager
def tagged_at_creation(tags: Mapping[str, str]) -> Iterator[None]:
    """Give each run that is created inside these tags in the same transaction.

    A tag that is set afterwards is missing if the process is killed in between.
    """
    former_tags = os.environ.get(_TAGS_OF_NEW_RUNS)
    os.environ[_TAGS_OF_NEW_RUNS] = json.dumps({**json.loads(former_tags or "{}"), **tags})
    try:
        yield
    finally:
        if former_tags is None:
            del os.environ[_TAGS_OF_NEW_RUNS]
        else:
            os.environ[_TAGS_OF_NEW_RUNS] = former_tags


def end_abandoned(active: Run, lake: str | None = None) -> None:
    """End as KILLED the runs that a dead process left open in the experiment of the active run.

    Call it with the lake locked: then no other run of this project is alive in a store that lies in the lake, or among
    a server's runs of that lake. A server's other runs may be at work.

    Args:
        active: The run that is open now.
        lake: An address whose server knows the runs of other lakes, too: only those with this tag are meant.
    """
    import mlflow

    if lake is None and not mlflow.get_tracking_uri().startswith("sqlite:"):
        return
    client = mlflow.MlflowClient()
    alive = client.search_runs([active.info.experiment_id], "attributes.status = 'RUNNING'")
    lakes = {run.info.run_id: run.data.tags.get("lake") for run in alive}
    for run in alive:
        # A trial is of the lake of the run that it stands below.
        if lakes.get(run.data.tags.get("mlflow.parentRunId"), lakes[run.info.run_id]) != lake:
            continue
        # Kedro's tags, and the trials' one: a run that somebody opened by hand stays as it is.
        if run.info.run_id != active.info.run_id and run.data.tags.keys() & {"use_case", "project_path"}:
            client.set_terminated(run.info.run_id, "KILLED")


def _log_trials(result: _Result) -> None:
    """Log each trial of a search as a run below the active one."""
    import mlflow

    for trial in result.data.to_dict("records"):
        name = f"{trial['trial']} {trial['estimator']}"
        tags = {"use_case": result.use_case, "chosen": str(bool(trial["chosen"]))}
        with mlflow.start_run(run_name=name, nested=True, tags=tags):
            mlflow.log_params({"estimator": trial["estimator"], **json.loads(trial["params"])})
            shown = {name: trial[name] for name in (*METRICS, "fit_seconds", "threshold")}
            mlflow.log_metrics(_finite(shown))


def _log_candidate(result: _Result) -> None:
    """Log a candidate's metrics and importance, and the tables that it was trained on."""
    import mlflow

    candidate: Candidate = result.data
    mlflow.log_dict(dict(candidate.card.importance), f"{result.folder}importance.json")
    mlflow.log_metrics(_finite({f"{result.prefix}cv_{name}": value for name, value in candidate.card.metrics.items()}))
    origin = get_provenance()
    for name, token in (origin.inputs if origin else {}).items():
        if name in result.catalog and isinstance(table := result.catalog.get(name), DeltaTable):
            _log_input(candidate, name, table, int(token.split()[0].removeprefix("v")))


def _log_input(candidate: Candidate, name: str, table: DeltaTable, version: int) -> None:
    """Log the table that the model was trained on, with its Delta version."""
    import mlflow
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.pandas_dataset import from_pandas

    where = "delta_table_name" if table.kind == "schema" else "path"
    source = DeltaDatasetSource(**{where: table.address}, delta_table_version=version)
    dataset = from_pandas(candidate.example, source=source, name=f"{name}@v{version}")
    mlflow.log_input(dataset, context="training")


def _log_holdout(result: _Result) -> None:
    """Log the hold-out metrics of everybody as metrics, and those of every segment as a table."""
    import mlflow

    metrics: pd.DataFrame = result.data
    everybody = metrics[metrics["segment"] == "all"]
    logged: dict[str, float] = {}
    for row in everybody.to_dict("records"):
        model = result.prefix + ("holdout" if row["model"] == "candidate" else "incumbent_holdout")
        logged[f"{model}_{row['metric']}"] = row["value"]
        logged[f"{model}_{row['metric']}_low"], logged[f"{model}_{row['metric']}_high"] = row["low"], row["high"]
    mlflow.log_metrics(_finite(logged))
    mlflow.log_table(metrics, f"{result.folder}holdout_metrics.json")


def _log_promotion(result: _Result) -> None:
    """Log the verdict as tags and as the run's description, which has a paragraph for each use case."""
    import mlflow

    promotion: Promotion = result.data
    values = {"verdict": promotion.decision, "verdict_reason": promotion.reason, "model_version": promotion.version}
    mlflow.set_tags({f"{result.prefix}{name}": value for name, value in values.items()})
    sentence = f"Version {promotion.version} {_DECISIONS[promotion.decision]}. {promotion.reason}"
    active = mlflow.active_run()
    before = mlflow.get_run(active.info.run_id).data.tags.get(_NOTE) if result.prefix and active else None
    own = f"{result.use_case}: {sentence}" if result.prefix else sentence
    mlflow.set_tag(_NOTE, "\n\n".join(filter(None, [before, own])))


def _log_drift(result: _Result) -> None:
    import mlflow

    mlflow.log_dict(result.data.content, result.folder + result.data.address("drift.json"))
    mlflow.set_tag(f"{result.prefix}drift", result.data.content["status"])


def _log_page(result: _Result) -> None:
    import mlflow

    mlflow.log_text(result.data.content, result.folder + result.data.address("report.html"))


# What is logged, by the dataset's name without its use case.
_LOGGERS: Mapping[str, Callable[[_Result], None]] = {
    "metrics_trials": _log_trials,
    "candidate_model": _log_candidate,
    "metrics_holdout": _log_holdout,
    "promotion_model": _log_promotion,
    "report_drift": _log_drift,
    "report_page": _log_page,
}


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
