"""What the MLflow run shows of a Kedro run: metrics, a nested run per trial, and the verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
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


def log_result(dataset_name: str, data: Any, catalog: DataCatalog, *, is_shared: bool = False) -> None:
    """Log a result of a node, by the name of the dataset; without an open run, nothing happens.

    Args:
        dataset_name: With its use case.
        data: What is saved there.
        catalog: Of the run.
        is_shared: Whether the run is of several use cases: metrics, tags and files then carry the name of theirs.
    """
    import mlflow

    if mlflow.active_run() is None:
        return
    use_case, _, name = dataset_name.partition(".")
    own, folder = (f"{use_case}.", f"{use_case}/") if is_shared else ("", "")
    if name == "metrics_trials":
        _log_trials(use_case, data)
    elif name == "candidate_model":
        _log_candidate(data, catalog, own, folder)
    elif name == "metrics_holdout":
        _log_holdout(data, own, folder)
    elif name == "promotion_model":
        _log_promotion(data, own)
    elif name == "report_drift":
        mlflow.log_dict(data.content, folder + data.address("drift.json"))
        mlflow.set_tag(f"{own}drift", data.content["status"])
    elif name == "report_page":
        mlflow.log_text(data.content, folder + data.address("report.html"))


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
    """A text that fits into a tag of MLflow's, which would cut it without a mark."""
    from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

    mark = " … (cut)"
    return text if len(text) <= MAX_TAG_VAL_LENGTH else text[: MAX_TAG_VAL_LENGTH - len(mark)] + mark


def end(run_id: str, *, did_something: bool) -> None:
    """Close the run that kedro-mlflow opened; one in which every result was there already leaves no trace.

    kedro-mlflow opens its run once more for each node and closes it once: in a process that goes on (a notebook, a
    job's) the next session would log into it.
    """
    import mlflow

    while (active := mlflow.active_run()) is not None and active.info.run_id == run_id:
        mlflow.end_run()
    if not did_something:
        mlflow.delete_run(run_id)


def end_abandoned(active: Run, lake: str | None = None) -> None:
    """End as killed what a dead process left open in the experiment of the active run.

    Only whoever holds the lake may call this: then no other run of ours is alive, in a store that lies in the lake, or
    among a server's runs of that lake. Of a server's other runs others may be at work.

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


def _log_trials(use_case: str, trials: pd.DataFrame) -> None:
    import mlflow

    for trial in trials.to_dict("records"):
        name = f"{trial['trial']} {trial['estimator']}"
        tags = {"use_case": use_case, "chosen": str(bool(trial["chosen"]))}
        with mlflow.start_run(run_name=name, nested=True, tags=tags):
            mlflow.log_params({"estimator": trial["estimator"], **json.loads(trial["params"])})
            shown = {name: trial[name] for name in (*METRICS, "fit_seconds", "threshold")}
            mlflow.log_metrics(_finite(shown))


def _log_candidate(candidate: Candidate, catalog: DataCatalog, own: str, folder: str) -> None:
    import mlflow

    mlflow.log_dict(dict(candidate.card.importance), f"{folder}importance.json")
    mlflow.log_metrics(_finite({f"{own}cv_{name}": value for name, value in candidate.card.metrics.items()}))
    made = get_provenance()
    for name, token in (made.inputs if made else {}).items():
        if name in catalog and isinstance(table := catalog.get(name), DeltaTable):
            _log_input(candidate, name, table, int(token.split()[0].removeprefix("v")))


def _log_input(candidate: Candidate, name: str, table: DeltaTable, version: int) -> None:
    """The table that the model was trained on, with its Delta version."""
    import mlflow
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.pandas_dataset import from_pandas

    where = "delta_table_name" if table.kind == "schema" else "path"
    source = DeltaDatasetSource(**{where: table.address}, delta_table_version=version)
    dataset = from_pandas(candidate.example, source=source, name=f"{name}@v{version}")
    mlflow.log_input(dataset, context="training")


def _log_holdout(metrics: pd.DataFrame, own: str, folder: str) -> None:
    import mlflow

    everybody = metrics[metrics["segment"] == "all"]
    logged: dict[str, float] = {}
    for row in everybody.to_dict("records"):
        prefix = own + ("holdout" if row["model"] == "candidate" else "incumbent_holdout")
        logged[f"{prefix}_{row['metric']}"] = row["value"]
        logged[f"{prefix}_{row['metric']}_low"], logged[f"{prefix}_{row['metric']}_high"] = row["low"], row["high"]
    mlflow.log_metrics(_finite(logged))
    mlflow.log_table(metrics, f"{folder}holdout_metrics.json")


def _log_promotion(promotion: Promotion, own: str) -> None:
    import mlflow

    told = {"approve": "was promoted to champion", "refuse": "was refused", "request": "awaits approval"}
    values = {"verdict": promotion.decision, "verdict_reason": promotion.reason, "model_version": promotion.version}
    mlflow.set_tags({f"{own}{name}": value for name, value in values.items()})
    # What MLflow shows as the run's description: a paragraph for each use case.
    says = f"Version {promotion.version} {told[promotion.decision]}. {promotion.reason}"
    active = mlflow.active_run()
    before = mlflow.get_run(active.info.run_id).data.tags.get(_NOTE) if own and active else None
    mlflow.set_tag(_NOTE, "\n\n".join(filter(None, [before, f"{own.rstrip('.')}: {says}" if own else says])))


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
