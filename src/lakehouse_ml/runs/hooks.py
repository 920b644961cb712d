"""Hooks by which a run reaches the engine, the tracking store and the terminal."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from kedro.framework.hooks import hook_impl
from kedro.framework.project import settings

from lakehouse_ml import project
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.engine.spec import EngineSpec
from lakehouse_ml.errors import EngineError, TableError
from lakehouse_ml.pipelines import SEARCH, STAGES
from lakehouse_ml.runs import next_commands
from lakehouse_ml.storage.retry import with_retries

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

    from lakehouse_ml.config.loader import ProjectConfigLoader

log = logging.getLogger(__name__)

# More names than these are summed up.
_FEW = 2


class EngineHooks:
    """Chooses the engine, checks what a pipeline needs before its run is recorded, and starts worker processes."""

    def __init__(self) -> None:
        """No pipeline runs yet."""
        self._should_start_workers = False

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Fix the engine that conf names; it starts when data is first touched."""
        ENGINE.choose(EngineSpec.model_validate(context.config_loader["spark"]))

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Check what can be checked before MLflow's run begins: a refusal leaves no failed run.

        Raises:
            LakehouseError: An input, a Volume or the engine is missing.
        """
        for name in sorted(pipeline.datasets()):
            _describe_columns(name, catalog.get(name), catalog)  # a wrong entry is refused before the first node runs
        _check_volumes(pipeline, catalog)
        ENGINE.describe()  # a session of Databricks has to be what conf says
        if not run_params.get("only_missing_outputs"):  # then not every node runs
            with_retries(partial(_check_inputs, pipeline, catalog, _overrides(run_params)))
        has_search = any(node.name.endswith(f".{SEARCH}") for node in pipeline.nodes)
        self._should_start_workers = has_search and ENGINE.kind == "sail"  # a JVM has its own use for the cores

    @hook_impl
    def before_node_run(self) -> None:
        """Start the workers of the search before the first node that has something new."""
        if self._should_start_workers:
            self._should_start_workers = False
            from lakehouse_ml.modelling.estimators import sklearn as estimators

            estimators.start_workers()


@dataclass
class _TrackedRun:
    """The MLflow run that records a run of a pipeline.

    Attributes:
        id: In the store.
        catalog: Of the pipeline.
        job_run: The run of a job that this one is a task of; empty where there is none.
        is_shared: Whether it is of several use cases: what is logged then carries the name of its own.
        is_attached: Whether it is below the job's run.
        has_results: Whether a node has saved something.
    """

    id: str
    catalog: DataCatalog
    job_run: str = ""
    is_shared: bool = False
    is_attached: bool = False
    has_results: bool = False


class TrackingHooks:
    """Tags and fills the MLflow run that kedro-mlflow opens, and ends it."""

    def __init__(self) -> None:
        """No run is open yet."""
        self._lake: str | None = None
        self._was_open = False
        self._run: _TrackedRun | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note whether a run is open already: it is its owner's, so it is tagged and filled, and left open."""
        import mlflow

        self._was_open = mlflow.active_run() is not None
        self._lake = cast("ProjectConfigLoader", context.config_loader).lake.address

    @hook_impl(wrapper=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> Generator[None, Any, Any]:
        """Tag the run that kedro-mlflow opens: use case, command, engine, environment and code.

        The tags by which `end_abandoned` finds it are there from its first moment; the others follow.
        """
        from lakehouse_ml.runs import tracking

        own = {"project_path": str(run_params["project_path"])} | ({"lake": self._lake} if self._lake else {})
        with tracking.tagged_at_creation(own):
            result = yield
        self._tag(run_params, pipeline, catalog)
        return result

    def _tag(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Tag the open run, and end those that a killed process left open."""
        import mlflow

        from lakehouse_ml.runs import tracking
        from lakehouse_ml.runs.experiment import describe_experiment
        from lakehouse_ml.storage import provenance

        self._run = None
        active, code = mlflow.active_run(), find_code_version(run_params["project_path"])
        provenance.set_run(str(active.info.run_id) if active else None, code["git_sha"])
        if active is None:
            return
        use_cases = sorted({node.namespace.split(".")[0] for node in pipeline.nodes if node.namespace})
        job_run = str((run_params.get("runtime_params") or {}).get("job_run") or "")
        run = _TrackedRun(active.info.run_id, catalog, job_run, is_shared=len(use_cases) > 1)
        self._run = run
        tracking.end_abandoned(active, self._lake)
        client = mlflow.MlflowClient()
        describe_experiment(client, active.info.experiment_id)
        if "kedro_command" in client.get_run(run.id).data.tags:
            client.delete_tag(run.id, "kedro_command")  # kedro-mlflow's guess, where `command` is what was typed
        tags = {
            "mlflow.runName": build_run_name(use_cases, pipeline),
            "use_case": ",".join(use_cases),
            "command": rebuild_command(sys.argv),
            **ENGINE.describe(),
            "environment": _environment(run_params),
            **({"lake": self._lake} if self._lake else {}),
            **code,
        }
        # kedro-mlflow's own tags, where MLflow has cut them.
        theirs = {name: str(value) for name, value in run_params.items() if value}
        tags |= {name: value for name, value in theirs.items() if tracking.shorten(value) != value}
        mlflow.set_tags({name: tracking.shorten(value) for name, value in tags.items()})

    @hook_impl(trylast=True)
    def before_node_run(self, inputs: dict[str, Any]) -> None:
        """Log long parameters whole, after kedro-mlflow has logged them cut, and attach a task to the run of its job.

        A task is attached before the first node that has something new.
        """
        if self._run is None:
            return
        from lakehouse_ml.runs import job_run, tracking

        tracking.log_long_parameters(inputs)
        if self._run.job_run and not self._run.is_attached:
            job_run.attach_task(self._run.job_run, self._run.id)
            self._run.is_attached = True

    @hook_impl
    def before_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Log metrics, trials and verdicts to the MLflow run.

        Before they are saved: a node whose results are stored is skipped, so what a killed run had not logged by then
        would be in no run. Killed in between, it is logged by two.
        """
        from lakehouse_ml.runs import tracking

        if self._run is not None:
            tracking.log_result(dataset_name, data, self._run.catalog, is_shared=self._run.is_shared)

    @hook_impl
    def after_dataset_saved(self) -> None:
        """Note that the run has a result."""
        if self._run is not None:
            self._run.has_results = True

    @hook_impl
    def after_pipeline_run(self) -> None:
        """End the run; one in which every step was skipped leaves no MLflow run behind."""
        from lakehouse_ml.runs import job_run, tracking

        run = self._run
        if run is None:
            return
        if not self._was_open:
            tracking.end(run.id, has_results=run.has_results)
        if run.is_attached:
            job_run.finish_task(run.id)
        elif run.job_run:
            job_run.confirm_repair(run.job_run, run.id)

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Record the failure on the run of the job, once kedro-mlflow has recorded it on the task's."""
        from lakehouse_ml.runs import job_run

        if self._run is not None and self._run.is_attached:
            with suppress(Exception):  # the store may be what failed
                job_run.finish_task(self._run.id)


class SummaryHooks:
    """Measures the nodes and prints the summary of a run."""

    def __init__(self) -> None:
        """The first run's time starts with the process."""
        self._started = time.perf_counter()
        self._node_started = 0.0
        self._seconds: dict[str, float] = {}

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Forget the nodes of an earlier run."""
        self._seconds = {}

    @hook_impl
    def before_node_run(self) -> None:
        """Start the clock of a node."""
        self._node_started = time.perf_counter()

    @hook_impl
    def after_dataset_saved(self, node: Node) -> None:
        """Count the time up to a node's last output."""
        self._seconds[node.name] = time.perf_counter() - self._node_started

    @hook_impl(trylast=True)
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Print the summary, once everything else about the run is done."""
        from lakehouse_ml.runs import summary

        total = time.perf_counter() - self._started
        overrides = _overrides(run_params)
        text = with_retries(lambda: summary.describe_run(pipeline, catalog, self._seconds, total, **overrides))
        click.echo(text, color=_should_colour())
        self._started = time.perf_counter()


def _environment(run_params: dict[str, Any]) -> str:
    return str(run_params.get("env") or settings.CONFIG_LOADER_ARGS["default_run_env"])


def _overrides(run_params: dict[str, Any]) -> dict[str, str | None]:
    """Landing folder, lake and environment of a run that doesn't use the usual ones."""
    runtime_parameters = run_params.get("runtime_params") or {}
    env = _environment(run_params)
    is_usual = env == settings.CONFIG_LOADER_ARGS["default_run_env"]
    return {
        "landing": runtime_parameters.get("landing"),
        "lake": runtime_parameters.get("lake"),
        "env": None if is_usual else env,
    }


def _describe_columns(name: str, dataset: Any, catalog: DataCatalog) -> None:
    """Give a table the descriptions of the contract that its entry is bound to; SQL shows them."""
    spec = catalog.validator_specs.get(name)
    if spec is not None and hasattr(dataset, "document"):
        from kedro.validation.core import resolve_validator

        dataset.document(resolve_validator(spec))


def _check_inputs(pipeline: Pipeline, catalog: DataCatalog, overrides: dict[str, str | None]) -> None:
    """Refuse a pipeline that reads files or tables which are not there.

    Raises:
        LakehouseError: Names the first of them, and what writes it.
    """
    from lakehouse_ml.datasets.delta_table import DeltaTable
    from lakehouse_ml.datasets.landing_files import LandingFiles

    for name in sorted(pipeline.inputs()):
        dataset = catalog.get(name)
        if isinstance(dataset, LandingFiles):
            dataset.check_files_exist()
        elif isinstance(dataset, DeltaTable) and not dataset.exists():
            use_case, _, table = name.partition(".")
            raise TableError(
                f"{use_case} has no table {table} in this lake yet ({dataset.address}). Run all stages of the use case "
                f"first: {next_commands.run_all(use_case, **overrides)}"
            )


def _check_volumes(pipeline: Pipeline, catalog: DataCatalog) -> None:
    """Where no Volume is mounted, its path would be a folder of this machine.

    Raises:
        EngineError: Names what can't be read or written here.
    """
    conf = catalog.config_resolver
    entries = {name: conf.config.get(name) or conf.resolve_pattern(name) for name in pipeline.datasets()}
    in_volume = sorted(
        name for name, entry in entries.items() if str(entry.get("filepath", "")).startswith("/Volumes/")
    )
    if in_volume and not Path("/Volumes").is_dir():
        raise EngineError(
            f"{', '.join(in_volume)} lie in a Volume, and none is mounted on this machine: run the stages that read or "
            f"write them as a job, and here the others (--pipelines)."
        )


def _should_colour() -> bool:
    """Whether the terminal shows colours and its owner allows them (see no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def rebuild_command(argv: Sequence[str]) -> str:
    """Rebuild the command that started this process: `make run` with its variables, or a program."""
    program, arguments = Path(argv[0]), list(argv[1:])
    if program.parts[-3:] == ("lakehouse_ml", "cli", "make_run.py"):
        # make passes every variable on, set or not.
        options = {name: value for name, value in zip(arguments[::2], arguments[1::2], strict=False) if value}
        is_report = options.pop("--pipelines", None) is not None
        if is_report:
            options.pop("--quiet", None)  # make's own
        typed = [f"{name.lstrip('-').upper().replace('-', '_')}={value}" for name, value in options.items()]
        return shlex.join(["make", "report" if is_report else "run", *typed])
    if program.parts[-2:] == ("lakehouse_ml", "__main__.py"):
        return shlex.join(["python", "-m", "lakehouse_ml", *arguments])
    return shlex.join([program.name, *arguments])


def build_run_name(use_cases: Sequence[str], pipeline: Pipeline) -> str:
    """Name use cases and stages, in a length that MLflow's list of runs shows."""
    stages = [stage for stage in STAGES if any(f".{stage}." in node.name for node in pipeline.nodes)]
    first = STAGES.index(stages[0]) if stages else 0
    if len(stages) == len(STAGES):
        stage_text = "whole life"
    elif len(stages) > _FEW:
        is_range = stages == list(STAGES[first : first + len(stages)])
        stage_text = f"{stages[0]} to {stages[-1]}" if is_range else f"{len(stages)} stages"
    else:
        stage_text = ", ".join(stages)
    return f"{' and '.join(use_cases) if len(use_cases) <= _FEW else f'{len(use_cases)} use cases'}: {stage_text}"


def find_code_version(project_path: str) -> dict[str, str]:
    """Find the commit of the checkout, or of the wheel and its contents: a cluster has no git."""
    if project.INSTALLED:
        return {"git_sha": project.read_build()["git_sha"], "wheel_sha256": project.read_build()["sha256"]}
    call = ["git", "-C", project_path, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return {"git_sha": subprocess.run(call, capture_output=True, text=True, check=True, timeout=10).stdout.strip()}
    except (OSError, subprocess.SubprocessError):
        return {"git_sha": "unknown"}
