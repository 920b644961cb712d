"""Where a Kedro run touches the rest of the world: engine, tracking store, terminal."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.hooks import hook_impl
from kedro.framework.project import settings

from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.spark import ENGINE, EngineSpec

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

log = logging.getLogger(__name__)


class ProjectHooks:
    """Chooses the engine, tags and fills the MLflow run, and ends a run with its summary."""

    def __init__(self) -> None:
        """Nothing has run yet."""
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._node_started = 0.0
        self._may_search = False
        self._env = ""
        self._catalog: DataCatalog | None = None
        self._run_id: str | None = None
        self._run_is_ours = True

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Fix the engine that conf names; it starts when data is first touched."""
        import mlflow

        # A run that was open before belongs to whoever opened it: it is tagged and filled, and left open.
        self._run_is_ours = mlflow.active_run() is None
        self._env = context.env or settings.CONFIG_LOADER_ARGS["default_run_env"]
        ENGINE.choose(EngineSpec.model_validate(context.config_loader["spark"]))

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Say on the MLflow run what it is: use case, command, engine, environment, code; end killed ones."""
        import mlflow

        from lakehouse_ml import tracking

        for name in sorted(pipeline.datasets()):
            catalog.get(name)  # a wrong entry is told before the first node runs
        self._catalog, self._seconds, self._run_id = catalog, {}, None
        searches = any(node.name.endswith(".training.search") for node in pipeline.nodes)
        self._may_search = searches and ENGINE.kind == "sail"  # a JVM has its own use for the cores
        active = mlflow.active_run()
        if active is None:
            return
        self._run_id = active.info.run_id
        tracking.end_abandoned(active)
        use_cases = sorted({node.namespace.split(".")[0] for node in pipeline.nodes if node.namespace})
        tags = {
            "mlflow.runName": f"{' and '.join(use_cases)}: {_stages(pipeline)}",
            "use_case": ",".join(use_cases),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "engine": ENGINE.kind,
            "environment": self._env,
            **_git(run_params["project_path"]),
        }
        mlflow.set_tags(tags)

    @hook_impl
    def before_node_run(self) -> None:
        """Start the clock of a node, and before the first that has something new, what a search will need."""
        self._node_started = time.perf_counter()
        if self._may_search:
            self._may_search = False
            from lakehouse_ml.estimators import sklearn as estimators

            estimators.start_workers()

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Count the time, and log metrics, trials and verdicts to the MLflow run."""
        self._seconds[node.name] = time.perf_counter() - self._node_started
        from lakehouse_ml import tracking

        if self._catalog is not None:
            tracking.log_saved(dataset_name, data, self._catalog)

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Print the summary; a run in which nothing had to be done leaves no MLflow run behind."""
        from lakehouse_ml import summary, tracking

        if self._run_id and self._run_is_ours:
            tracking.end(self._run_id, did_something=bool(self._seconds))
        total = time.perf_counter() - self._started
        lake = (run_params.get("runtime_params") or {}).get("lake")
        click.echo(summary.of_run(pipeline, catalog, self._seconds, total, lake), color=_coloured())
        self._started = time.perf_counter()


def _coloured() -> bool:
    """Colours are for a terminal whose owner hasn't said otherwise (see no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _stages(pipeline: Pipeline) -> str:
    stages = [stage for stage in STAGES if any(f".{stage}." in node.name for node in pipeline.nodes)]
    return "whole life" if len(stages) == len(STAGES) else ", ".join(stages)


def _git(project_path: str) -> dict[str, str]:
    """Commit of the checkout, or the one that a job was given (`LAKEHOUSE_ML_GIT_SHA`: a cluster has no git)."""
    given = os.environ.get("LAKEHOUSE_ML_GIT_SHA")
    if given:
        return {"git_sha": given}
    call = ["git", "-C", project_path, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return {"git_sha": subprocess.run(call, capture_output=True, text=True, check=True, timeout=10).stdout.strip()}
    except (OSError, subprocess.SubprocessError):
        return {"git_sha": "unknown"}
