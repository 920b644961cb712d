"""Where a Kedro run touches the rest of the world: engine, tracking store, terminal."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import suppress
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
from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.runs import next_commands
from lakehouse_ml.storage.retry import with_retries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

    from lakehouse_ml.config.loader import ProjectConfigLoader

log = logging.getLogger(__name__)

# More names than these are summed up.
_FEW = 2


class ProjectHooks:
    """Chooses the engine, tags and fills the MLflow run, and ends a run with its summary."""

    def __init__(self) -> None:
        """Nothing has run yet."""
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._node_started = 0.0
        self._may_search = False
        self._env = ""
        self._lake: str | None = None
        self._catalog: DataCatalog | None = None
        self._run_id: str | None = None
        self._run_is_ours = True
        self._job_run = ""
        self._joined = False
        self._is_shared = False

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Fix the engine that conf names; it starts when data is first touched."""
        import mlflow

        # A run that was open before belongs to whoever opened it: it is tagged and filled, and left open.
        self._run_is_ours = mlflow.active_run() is None
        self._env = context.env or settings.CONFIG_LOADER_ARGS["default_run_env"]
        self._lake = cast("ProjectConfigLoader", context.config_loader).lake.address
        ENGINE.choose(EngineSpec.model_validate(context.config_loader["spark"]))

    @hook_impl(wrapper=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> Generator[None, Any, Any]:
        """Check what can be checked without MLflow; once its run has begun, tag it: a refusal leaves no failed run."""
        for name in sorted(pipeline.datasets()):
            _document(name, catalog.get(name), catalog)  # a wrong entry is told before the first node runs
        _check_volumes(pipeline, catalog)
        computes = ENGINE.describe()  # a session of Databricks has to be what conf says, before the first node runs
        if not run_params.get("only_missing_outputs"):  # then not every node runs
            with_retries(partial(_check_inputs, pipeline, catalog, self._overrides(run_params)))
        result = yield
        self._tag(run_params, pipeline, catalog, computes)
        return result

    def _overrides(self, run_params: dict[str, Any]) -> dict[str, str | None]:
        """Landing folder, lake and environment of a run that doesn't use the usual ones."""
        typed = run_params.get("runtime_params") or {}
        usual = self._env == settings.CONFIG_LOADER_ARGS["default_run_env"]
        return {"landing": typed.get("landing"), "lake": typed.get("lake"), "env": None if usual else self._env}

    def _tag(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog, computes: dict[str, str]
    ) -> None:
        """Say on the MLflow run what it is: use case, command, engine, environment, code; end killed ones."""
        import mlflow

        from lakehouse_ml.runs import tracking
        from lakehouse_ml.runs.experiment import describe_experiment
        from lakehouse_ml.storage import provenance

        self._catalog, self._seconds, self._run_id = catalog, {}, None
        searches = any(node.name.endswith(".training.search") for node in pipeline.nodes)
        self._may_search = searches and ENGINE.kind == "sail"  # a JVM has its own use for the cores
        active, code = mlflow.active_run(), code_version(run_params["project_path"])
        provenance.set_run(str(active.info.run_id) if active else None, code["git_sha"])
        if active is None:
            return
        self._run_id = active.info.run_id
        tracking.end_abandoned(active, self._lake)
        client = mlflow.MlflowClient()
        describe_experiment(client, active.info.experiment_id)
        if "kedro_command" in client.get_run(self._run_id).data.tags:
            client.delete_tag(self._run_id, "kedro_command")  # kedro-mlflow's guess, where `command` is what was typed
        use_cases = sorted({node.namespace.split(".")[0] for node in pipeline.nodes if node.namespace})
        self._is_shared = len(use_cases) > 1
        tags = {
            "mlflow.runName": run_name(use_cases, pipeline),
            "use_case": ",".join(use_cases),
            "command": typed_command(sys.argv),
            **computes,
            "environment": self._env,
            **({"lake": self._lake} if self._lake else {}),
            **code,
        }
        # kedro-mlflow's own tags, where MLflow has cut them.
        theirs = {name: str(value) for name, value in run_params.items() if value}
        tags |= {name: value for name, value in theirs.items() if tracking.shorten(value) != value}
        mlflow.set_tags({name: tracking.shorten(value) for name, value in tags.items()})
        self._job_run, self._joined = str((run_params.get("runtime_params") or {}).get("job_run") or ""), False

    @hook_impl(trylast=True)
    def before_node_run(self, inputs: dict[str, Any]) -> None:
        """Start the clock of a node, and before the first that has something new, join the job and start workers.

        It comes after kedro-mlflow has logged the node's parameters, of which the long ones are logged whole.
        """
        if self._run_id:
            from lakehouse_ml.runs import tracking

            tracking.log_long_parameters(inputs)
        self._node_started = time.perf_counter()
        if self._job_run and self._run_id and not self._joined:
            from lakehouse_ml.runs import job_run

            job_run.join(self._job_run, self._run_id)
            self._joined = True
        if self._may_search:
            self._may_search = False
            from lakehouse_ml.modelling.estimators import sklearn as estimators

            estimators.start_workers()

    @hook_impl
    def before_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Log metrics, trials and verdicts to the MLflow run.

        Before they are saved: a node whose results are stored is skipped, so what a killed run had not logged by then
        would be in no run. Killed in between, it is logged by two.
        """
        from lakehouse_ml.runs import tracking

        if self._catalog is not None:
            tracking.log_result(dataset_name, data, self._catalog, is_shared=self._is_shared)

    @hook_impl
    def after_dataset_saved(self, node: Node) -> None:
        """Count the time."""
        self._seconds[node.name] = time.perf_counter() - self._node_started

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Print the summary; a run in which nothing had to be done leaves no MLflow run behind."""
        from lakehouse_ml.runs import job_run, summary, tracking

        if self._run_id and self._run_is_ours:
            tracking.end(self._run_id, did_something=bool(self._seconds))
        if self._run_id and self._joined:
            job_run.left(self._run_id)
        elif self._run_id and self._job_run:
            job_run.confirm(self._job_run, self._run_id)
        total = time.perf_counter() - self._started
        overrides = self._overrides(run_params)
        text = with_retries(lambda: summary.of_run(pipeline, catalog, self._seconds, total, **overrides))
        click.echo(text, color=_coloured())
        self._started = time.perf_counter()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Tell the run of the job, once kedro-mlflow has told the task's, that it failed."""
        from lakehouse_ml.runs import job_run

        if self._run_id and self._joined:
            with suppress(Exception):  # the store may be what failed
                job_run.left(self._run_id)


def _document(name: str, dataset: Any, catalog: DataCatalog) -> None:
    """Let a table tell by SQL what the contract says that its entry is bound to."""
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
            dataset.check_there()
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
    known = catalog.config_resolver
    entries = {name: known.config.get(name) or known.resolve_pattern(name) for name in pipeline.datasets()}
    held = sorted(name for name, entry in entries.items() if str(entry.get("filepath", "")).startswith("/Volumes/"))
    if held and not Path("/Volumes").is_dir():
        raise EngineError(
            f"{', '.join(held)} lie in a Volume, and none is mounted on this machine: run the stages that read or "
            f"write them as a job, and here the others (--pipelines)."
        )


def _coloured() -> bool:
    """Colours are for a terminal whose owner hasn't said otherwise (see no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def typed_command(argv: Sequence[str]) -> str:
    """What was typed to start this process: `make run` with its variables, `python -m lakehouse_ml`, or the program."""
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


def run_name(use_cases: Sequence[str], pipeline: Pipeline) -> str:
    """Use cases and stages, in a length that MLflow's list of runs shows."""
    stages = [stage for stage in STAGES if any(f".{stage}." in node.name for node in pipeline.nodes)]
    first = STAGES.index(stages[0]) if stages else 0
    if len(stages) == len(STAGES):
        what = "whole life"
    elif len(stages) > _FEW:
        is_range = stages == list(STAGES[first : first + len(stages)])
        what = f"{stages[0]} to {stages[-1]}" if is_range else f"{len(stages)} stages"
    else:
        what = ", ".join(stages)
    return f"{' and '.join(use_cases) if len(use_cases) <= _FEW else f'{len(use_cases)} use cases'}: {what}"


def code_version(project_path: str) -> dict[str, str]:
    """Commit of the checkout, or that of the wheel and what it holds: a cluster has no git."""
    if project.INSTALLED:
        return {"git_sha": project.built()["git_sha"], "wheel_sha256": project.built()["sha256"]}
    call = ["git", "-C", project_path, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return {"git_sha": subprocess.run(call, capture_output=True, text=True, check=True, timeout=10).stdout.strip()}
    except (OSError, subprocess.SubprocessError):
        return {"git_sha": "unknown"}
