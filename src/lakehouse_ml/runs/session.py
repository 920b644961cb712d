"""The session: it checks conf, locks the lake, runs pipelines, and ends in a sentence where the user can act."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from kedro.framework.project import pipelines, settings
from kedro.framework.session import KedroSession
from kedro.io import DatasetError
from kedro.runner import SequentialRunner

from lakehouse_ml import errors
from lakehouse_ml.config import redirects, s3
from lakehouse_ml.engine import temporary_files
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.preflight.checks import Preflight
from lakehouse_ml.preflight.conf import Conf
from lakehouse_ml.preflight.environment import Environment, described
from lakehouse_ml.registry import tracking_store
from lakehouse_ml.runs import selection
from lakehouse_ml.runs.failures import explain
from lakehouse_ml.runs.runner import UpToDateRunner
from lakehouse_ml.storage import files
from lakehouse_ml.storage.lock import check_path, lake_lock
from lakehouse_ml.storage.retry import with_retries
from lakehouse_ml.use_cases import USE_CASES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro.config import AbstractConfigLoader
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.runner import AbstractRunner

log = logging.getLogger(__name__)


class Stopped(click.ClickException):
    """The user's Ctrl-C, with the exit code that shells give it."""

    exit_code = 130

    def show(self, file: Any = None) -> None:
        """Print the message; it is no error."""
        click.echo(f"\n{self.message}", file=file, err=True)


class ProjectSession(KedroSession):
    """Kedro's session with this project's runner; a mistake of the user ends in a sentence and exit code 1."""

    _loader: AbstractConfigLoader | None = None

    def _get_config_loader(self) -> AbstractConfigLoader:
        """One loader for the whole session: conf is read once, and checked as it is used."""
        if self._loader is None:
            self._loader = super()._get_config_loader()
        return self._loader

    def load_context(self) -> KedroContext:
        """The project's context; an environment that isn't there, or waits for a variable, is refused by name."""
        self._check_folders()
        conf, loader = self._conf(), self._get_config_loader()
        told: set[str] = set()
        for kind in ("globals", "spark", "mlflow"):
            for fault in conf.waiting(kind, loader[kind], told):
                raise errors.ConfError(fault)
        _follow_move(self._lake(loader), loader)
        return super().load_context()

    def run(self, *args: Any, **given: Any) -> dict[str, Any]:
        """Run pipelines; arguments as Kedro's. The lake is held meanwhile: a second run on it is refused.

        Raises:
            click.ClickException: A mistake or a state of the world that its message tells how to mend.
        """
        given["runner"] = _runner(given.get("runner"))
        conf, lake, outer = None, "", _open_run()
        try:
            _check_names(given.get("pipeline_names") or [])
            self._check_folders()
            conf = self._conf()
            loader = self._get_config_loader()
            conf.check(loader)
            lake = self._lake(loader)
            selection.check_selection(given, pipelines["__default__"])
            if not {"data_ingestion", "__default__"}.intersection(given.get("pipeline_names") or ["__default__"]):
                with_retries(self.check_lake)
            if not any(given.get(name) for name in selection.SELECTIONS) and loader["globals"]["lake_kind"] == "path":
                given["namespaces"] = selection.with_data(loader["catalog"], USE_CASES)
            with self._holding(lake, loader):
                return super().run(*args, **given)
        except KeyboardInterrupt:
            # Ctrl-C ends the engine's server too, and MLflow asks the session where the registry is.
            ENGINE.stop()
            _end_runs("KILLED", outer)
            raise Stopped("Stopped. Run again to go on where it was.") from None
        except Exception as error:
            _end_runs("FAILED", outer)
            told = _sentence(error, conf) or explain(error, lake) or _configuration(error)
            if told is None:
                raise
            raise click.ClickException(str(told)) from error

    @contextmanager
    def holding(self) -> Iterator[DataCatalog]:
        """Open the catalog of an existing lake and lock the lake meanwhile, as a run does.

        Raises:
            LakehouseError: No lake found, another run works on it, a mistake in conf, or a state of the machine.
        """
        conf, lake = None, ""
        try:
            self._check_folders()
            conf = self._conf()
            loader = self._get_config_loader()
            conf.check(loader)
            lake = self._lake(loader)
            self.check_lake()
            with self._holding(lake, loader):
                catalog: Any = self.load_context().catalog
                yield catalog
        except Exception as error:
            told = _sentence(error, conf) or explain(error, lake)
            if told is None or told is error:
                raise
            raise errors.LakehouseError(str(told)) from error

    def check_lake(self) -> None:
        """Refuse to read where no run has been: opening a lake there would begin one.

        Raises:
            LakehouseError: No lake found, or a mistake in conf.
        """
        self._check_folders()
        loader = self._get_config_loader()
        if loader["globals"]["lake_kind"] == "path":
            _check_lake(self._lake(loader))

    def check_runs(self) -> None:
        """Refuse to show runs where there is no tracking store yet: opening it would begin one.

        Raises:
            LakehouseError: No lake or no store found, or a mistake in conf.
        """
        self.check_lake()
        file = tracking_store.file_of(_tracking(self._get_config_loader())[0])
        if file is not None and not file.is_file():
            raise errors.LakehouseError(f"No runs found in {file.parent}: {file.name} is missing. Run `make run`.")

    @staticmethod
    @contextmanager
    def _holding(lake: str, loader: AbstractConfigLoader) -> Iterator[None]:
        """Lock a lake at a path, and see that it has a tracking store whose addresses are the lake's own.

        In a catalog the tables' own commits decide.
        """
        lock = nullcontext() if loader["globals"]["lake_kind"] == "schema" else lake_lock(lake)
        with lock, temporary_files.run_folder():
            store, experiment = _tracking(loader)
            tracking_store.create(store)
            tracking_store.relocate(store, experiment)
            yield

    def preflight(self) -> list[str]:
        """What is wrong with the environment, judged by conf alone; a sentence each.

        Raises:
            LakehouseError: There is no such environment.
        """
        self._check_folders()
        args = settings.CONFIG_LOADER_ARGS

        def load(env: str) -> AbstractConfigLoader:
            loader: AbstractConfigLoader = settings.CONFIG_LOADER_CLASS(conf_source=self._conf_source, env=env, **args)
            return loader

        env = self.store.get("env") or args["default_run_env"]
        return Preflight(Path(self._conf_source), env, load, {name: pipelines[name] for name in STAGES}).faults()

    def environment(self) -> Environment:
        """What the environment would compute with; nothing is started.

        Raises:
            LakehouseError: There is no such environment, or its conf can't be read.
        """
        self._check_folders()
        conf = self._conf()
        try:
            loader = self._get_config_loader()
            return described(conf, loader, self._lake(loader))
        except Exception as error:
            told = _sentence(error, conf)
            if told is None:
                raise
            raise errors.ConfError(str(told)) from error

    def landing(self) -> Path:
        """The landing folder that conf names, above those of the use cases.

        Raises:
            click.ClickException: A mistake in conf.
        """
        try:
            self._check_folders()
            return Path(self._address("landing", self._get_config_loader()))
        except Exception as error:
            told = _sentence(error, self._conf())
            if told is None:
                raise
            raise click.ClickException(str(told)) from error

    def _lake(self, loader: AbstractConfigLoader) -> str:
        """The lake's address, after everything that opens it was told how, and from nowhere else."""
        redirects.check_conf(loader)
        redirects.ignore_variables()
        s3.export_s3_environment(loader["globals"])
        return self._address("lake", loader)

    def _address(self, name: str, loader: AbstractConfigLoader) -> str:
        """A global that is an address: the one that the run was given, or conf's."""
        given = (self.store.get("runtime_params") or {}).get(name)
        own, resolvers = loader["globals"], settings.CONFIG_LOADER_ARGS["custom_resolvers"]
        kind = own["lake_kind"] if name == "lake" else "path"
        address: str = resolvers["lake"](kind, given or own[name])
        return address

    def _conf(self) -> Conf:
        return Conf(self._folders(), self.store.get("runtime_params") or {})

    def _folders(self) -> tuple[Path, ...]:
        args = settings.CONFIG_LOADER_ARGS
        env = self.store.get("env") or args["default_run_env"]
        return tuple(Path(self._conf_source) / name for name in (env, args["base_env"]))

    def _check_folders(self) -> None:
        """Raises a sentence where a lake can't be, where conf isn't, or where it has no folder of the environment."""
        runtime = self.store.get("runtime_params") or {}
        redirects.check_addresses("--params", runtime)
        check_path(str(runtime.get("lake") or ""))
        landing = str(runtime.get("landing") or "")
        if not errors.is_utf8(landing):
            raise errors.LandingError(
                f"The path of the landing folder must be UTF-8, and '{landing}' isn't: rename the folder, then run "
                f"again."
            )
        conf, args = Path(self._conf_source), settings.CONFIG_LOADER_ARGS
        if "://" in self._conf_source or conf.suffix in (".gz", ".zip"):
            return
        if not (conf / args["base_env"]).is_dir():
            raise errors.ConfError(
                f"There is no conf of lakehouse-ml in {conf}: start from the project's folder, or name the conf, "
                f"--conf-source <folder>."
            )
        env = self.store.get("env")
        if env and not (conf / env).is_dir():
            known = sorted(path.name for path in conf.iterdir() if path.is_dir())
            raise errors.ConfError(f"There is no environment {env}: {conf} has {', '.join(known)}.")


def _runner(runner: AbstractRunner | None) -> AbstractRunner:
    """The project's runner in place of Kedro's sequential one.

    Raises:
        click.ClickException: A runner of threads or processes was asked for, or asynchronous loads and saves.
    """
    runs_alone = runner is None or isinstance(runner, SequentialRunner)
    if not runs_alone or (runner is not None and runner._is_async):  # noqa: SLF001 - Kedro has no other name for it
        option = "--async" if runs_alone else f"--runner {type(runner).__name__}"
        raise click.ClickException(
            f"{option} is not supported: each node may see only finished results of those before it, and the engine "
            f"uses all cores for one node already. Leave the option out."
        )
    return UpToDateRunner() if type(runner) in (type(None), SequentialRunner) else cast("AbstractRunner", runner)


def _tracking(loader: AbstractConfigLoader) -> tuple[str, tracking_store.Experiment]:
    """The tracking store's address and the experiment that conf names."""
    conf = loader["mlflow"]
    experiment = conf["tracking"]["experiment"]
    artifacts = (experiment.get("create_experiment_kwargs") or {}).get("artifact_location")
    return conf["server"].get("mlflow_tracking_uri") or "", tracking_store.Experiment(experiment["name"], artifacts)


def _follow_move(lake: str, loader: AbstractConfigLoader) -> None:
    """Let a reader, which holds no lock, find the artefacts of a lake that was moved since the last run.

    A lake that can't be written keeps its old addresses: its tables can be read, its models say what to do.
    """
    store, experiment = _tracking(loader)
    former = tracking_store.former_folders(store, experiment)
    if not former:
        return
    try:
        with lake_lock(lake):
            tracking_store.relocate(store, experiment)
    except errors.BusyError:  # the run that has the lake relocates it
        return
    except (OSError, sqlite3.OperationalError) as error:
        log.warning(
            "The lake %s was moved from %s and can't be written (%s): its tables can be read, its models and the files "
            "of its runs are not found. Make it writable and run again.", lake, *sorted(map(str, former))[:1], error,
        )  # fmt: skip


def _check_lake(lake: str) -> None:
    """Refuse an address where no run has been: opening a lake there would begin one.

    Raises:
        LakehouseError: No lake found.
    """
    fs, root = files.locate(lake)
    # A run leaves its lock file in a folder, and not at an address, where there are no empty folders.
    is_lake = "://" in lake or fs.exists(f"{root}/.lock") or fs.glob(f"{root}/*/*/*/_delta_log")
    if not is_lake or not fs.isdir(root):
        raise errors.LakehouseError(f"No lake found in {lake}. Run all stages first, or name the folder of a lake.")


def _sentence(error: Exception, conf: Conf | None) -> Exception | str | None:
    """The user's mistake behind an error, in data or in conf."""
    return errors.find(error) or errors.printable((conf.explain(error) if conf else None) or "") or None


def _open_run() -> str | None:
    """The id of an MLflow run that was open before: it is its owner's."""
    import mlflow

    active = mlflow.active_run()
    return str(active.info.run_id) if active else None


def _end_runs(status: str, outer: str | None) -> None:
    """Close what was opened in MLflow, as far as that is possible: the store may be what failed."""
    import mlflow

    from lakehouse_ml.runs import job_run

    with suppress(Exception):
        while (active := mlflow.active_run()) is not None and active.info.run_id != outer:
            mlflow.end_run(status)
            job_run.left(active.info.run_id)


def _check_names(pipelines: Sequence[str]) -> None:
    unknown = sorted(set(pipelines) - {*STAGES, "__default__"})
    if unknown:
        raise errors.LakehouseError(f"There is no pipeline {', '.join(unknown)}: there are {', '.join(STAGES)}.")


def _configuration(error: Exception) -> Exception | None:
    """Errors by which Kedro itself refuses conf or arguments, before any node ran."""
    from kedro.config import MissingConfigException
    from kedro.validation.exceptions import ParameterValidationError

    if isinstance(error, MissingConfigException | ParameterValidationError):
        return error
    if isinstance(error, ValueError) and str(error).startswith("Pipeline does not contain nodes"):
        return error
    return error if isinstance(error, DatasetError) and error.__cause__ is None else None
