"""How MLflow's page shows the project's experiment: as one of trained models, with a view for each use case.

Without these tags the page opens in the mode for language models, which hides the registry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own names.
_KIND, _NOTE, _VIEW = "mlflow.experimentKind", "mlflow.note.content", "mlflow.sharedViewState."
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
