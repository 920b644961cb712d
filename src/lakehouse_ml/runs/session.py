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
from lakehouse_ml.preflight.environment import Environment, describe
from lakehouse_ml.registry import tracking_store
from lakehouse_ml.runs import selection
from lakehouse_ml.runs.failures import explain
from lakehouse_ml.runs.runner import UpToDateRunner
from lakehouse_ml.storage import files
from lakehouse_ml.storage.lock import check_path, lake_lock
from lakehouse_ml.storage.retry import with_retries
from lakehouse_ml.use_cases import USE_CASES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kedro.framework.context import KedroContext
    from kedro.runner import AbstractRunner

    from lakehouse_ml.config.lake import Lake
    from lakehouse_ml.config.loader import ProjectConfigLoader
    from lakehouse_ml.config.prices import Prices

log = logging.getLogger(__name__)


class Stopped(click.ClickException):
    """The user's Ctrl-C, with the exit code that shells give it."""

    exit_code = 130

    def __init__(self) -> None:
        """Say how to go on."""
        super().__init__(errors.STOPPED)

    def show(self, file: Any = None) -> None:
        """Print the message without the word error."""
        click.echo(f"\n{self.message}", file=file, err=True)


class ProjectSession(KedroSession):
    """Kedro's session with this project's runner; a mistake of the user ends in a sentence and exit code 1."""

    _loader: ProjectConfigLoader | None = None

    def _get_config_loader(self) -> ProjectConfigLoader:
        """Return one loader for the whole session: conf is read once."""
        if self._loader is None:
            self._loader = cast("ProjectConfigLoader", super()._get_config_loader())
        return self._loader

    def load_context(self) -> KedroContext:
        """Return the project's context.

        Raises:
            LakehouseError: There is no such environment, or a variable that it names is not set.
        """
        self._check_folders()
        conf, loader = self._conf(), self._get_config_loader()
        named: set[str] = set()
        for fault in conf.unset_addresses(loader, named):
            raise errors.ConfError(fault)
        for kind in ("globals", "spark", "mlflow"):
            for fault in conf.unset_variables(kind, loader[kind], named):
                raise errors.ConfError(fault)
        _follow_move(self._prepare_lake(), loader)
        return super().load_context()

    def run(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Run pipelines; arguments as Kedro's. The lake is locked meanwhile: a second run on it is refused.

        Raises:
            click.ClickException: A mistake or a state of the world that its message tells how to mend.
        """
        options["runner"] = _choose_runner(options.get("runner"))
        conf, root, outer = None, "", _find_open_run()
        try:
            _check_names(options.get("pipeline_names") or [])
            self._check_folders()
            conf = self._conf()
            loader = self._get_config_loader()
            conf.check(loader)
            lake = self._prepare_lake()
            root = lake.root
            selection.check_selection(options, pipelines["__default__"])
            if not {"data_ingestion", "__default__"}.intersection(options.get("pipeline_names") or ["__default__"]):
                with_retries(self.check_lake)
            if not any(options.get(name) for name in selection.SELECTIONS) and not lake.is_schema:
                options["namespaces"] = selection.select_use_cases(loader["catalog"], USE_CASES)
            with self._lock(lake, loader):
                return super().run(*args, **options)
        except KeyboardInterrupt:
            # Ctrl-C ends the engine's server too, and MLflow asks the session where the registry is.
            ENGINE.stop()
            _end_runs("KILLED", outer)
            raise Stopped from None
        except Exception as error:
            _end_runs("FAILED", outer)
            sentence = _find_mistake(error, conf) or explain(error, root) or _find_kedro_refusal(error)
            if sentence is None:
                raise
            raise click.ClickException(str(sentence)) from error

    @contextmanager
    def lock_context(self, *, may_begin: bool = False) -> Iterator[KedroContext]:
        """Open the context of a lake and lock the lake meanwhile, as a run does.

        Args:
            may_begin: Whether the lake may be a new one; otherwise it has to exist.

        Raises:
            LakehouseError: No lake found, another run works on it, a mistake in conf, or a state of the machine.
        """
        conf, root = None, ""
        try:
            self._check_folders()
            conf = self._conf()
            loader = self._get_config_loader()
            conf.check(loader)
            lake = self._prepare_lake()
            root = lake.root
            if not may_begin:
                self.check_lake()
            with self._lock(lake, loader):
                yield self.load_context()
        except Exception as error:
            sentence = _find_mistake(error, conf) or explain(error, root)
            if sentence is None or sentence is error:
                raise
            raise errors.LakehouseError(str(sentence)) from error

    def check_lake(self) -> None:
        """Refuse to read where no run has been: opening a lake there would begin one.

        Raises:
            LakehouseError: No lake found, or a mistake in conf.
        """
        self._check_folders()
        lake = self._prepare_lake()
        if not lake.is_schema:
            _check_lake(lake.root)

    def check_runs(self) -> None:
        """Refuse to show runs where there is no tracking store yet: opening it would begin one.

        Raises:
            LakehouseError: No lake or no store found, or a mistake in conf.
        """
        self.check_lake()
        file = tracking_store.find_file(_tracking(self._get_config_loader())[0])
        if file is not None and not file.is_file():
            raise errors.LakehouseError(f"No runs found in {file.parent}: {file.name} is missing. Run `make run`.")

    @staticmethod
    @contextmanager
    def _lock(lake: Lake, loader: ProjectConfigLoader) -> Iterator[None]:
        """Lock a lake at a path, and see that it has a tracking store whose addresses are the lake's own.

        In a catalog the tables' own commits decide.
        """
        lock = nullcontext() if lake.is_schema else lake_lock(lake.root)
        with lock, temporary_files.use_run_folder():
            store, experiment = _tracking(loader)
            tracking_store.create(store)
            tracking_store.relocate(store, experiment)
            yield

    def preflight(self, addresses: Mapping[str, Mapping[str, str]] | None = None) -> list[str]:
        """Find what is wrong with the environment, judged by conf and the bundle's addresses; a sentence each.

        Args:
            addresses: The runtime parameters that the bundle's jobs pass on, by environment.

        Raises:
            LakehouseError: There is no such environment.
        """
        self._check_folders()
        args = settings.CONFIG_LOADER_ARGS

        def load(env: str) -> ProjectConfigLoader:
            loader: ProjectConfigLoader = settings.CONFIG_LOADER_CLASS(
                conf_source=self._conf_source, env=env, runtime_params=of_jobs(env), **args
            )
            return loader

        def of_jobs(env: str) -> dict[str, str]:
            return dict((addresses or {}).get(env) or {})

        env = self.store.get("env") or args["default_run_env"]
        stages = {name: pipelines[name] for name in STAGES}
        return Preflight(Path(self._conf_source), env, load, stages, of_jobs(env)).faults()

    def environment(self) -> Environment:
        """Describe what the environment would use; nothing is started.

        Raises:
            LakehouseError: There is no such environment, or its conf can't be read.
        """
        self._check_folders()
        with _explain_mistakes(self._conf()) as conf:
            self._prepare_lake()
            return describe(conf, self._get_config_loader())

    def prices(self) -> Prices:
        """What compute costs, by conf.

        Raises:
            LakehouseError: There is no such environment, or a mistake in prices.yml.
        """
        from lakehouse_ml.config.prices import Prices

        self._check_folders()
        with _explain_mistakes(self._conf()) as conf:
            return conf.parse("prices", Prices, self._get_config_loader())

    def landing(self) -> Path:
        """The landing folder that conf names, above those of the use cases.

        Raises:
            click.ClickException: A mistake in conf.
        """
        try:
            self._check_folders()
            return Path(self._get_config_loader().landing)
        except Exception as error:
            mistake = _find_mistake(error, self._conf())
            if mistake is None:
                raise
            raise click.ClickException(str(mistake)) from error

    def _prepare_lake(self) -> Lake:
        """Set this process's variables as conf says, so that nothing opens another store, and return the lake."""
        loader = self._get_config_loader()
        redirects.ignore_variables()
        s3.export_s3_environment(loader["globals"])
        return loader.lake

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
            environments = sorted(path.name for path in conf.iterdir() if path.is_dir())
            raise errors.ConfError(f"There is no environment {env}: {conf} has {', '.join(environments)}.")


def _choose_runner(runner: AbstractRunner | None) -> AbstractRunner:
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


def _tracking(loader: ProjectConfigLoader) -> tuple[str, tracking_store.Experiment]:
    """The tracking store's address and the experiment that conf names."""
    conf = loader["mlflow"]
    experiment = conf["tracking"]["experiment"]
    artifacts = (experiment.get("create_experiment_kwargs") or {}).get("artifact_location")
    return conf["server"].get("mlflow_tracking_uri") or "", tracking_store.Experiment(experiment["name"], artifacts)


def _follow_move(lake: Lake, loader: ProjectConfigLoader) -> None:
    """Let a reader, which holds no lock, find the artefacts of a lake that was moved since the last run.

    A lake that can't be written keeps its old addresses: its tables can be read, its models say what to do.
    """
    store, experiment = _tracking(loader)
    former = tracking_store.find_former_folders(store, experiment)
    if not former:
        return
    try:
        with lake_lock(lake.root):
            tracking_store.relocate(store, experiment)
    except errors.BusyError:  # the run that has the lake relocates it
        return
    except (OSError, sqlite3.OperationalError) as error:
        log.warning(
            "The lake %s was moved from %s and can't be written (%s): its tables can be read, its models and the files "
            "of its runs are not found. Make it writable and run again.",
            lake.root,
            min(map(str, former)),
            error,
        )


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


@contextmanager
def _explain_mistakes(conf: Conf) -> Iterator[Conf]:
    """Turn a mistake in conf into its sentence.

    Raises:
        ConfError: The sentence.
    """
    try:
        yield conf
    except Exception as error:
        mistake = _find_mistake(error, conf)
        if mistake is None:
            raise
        raise errors.ConfError(str(mistake)) from error


def _find_mistake(error: Exception, conf: Conf | None) -> Exception | str | None:
    """Find the user's mistake behind an error, in data or in conf; None where there is none."""
    return errors.find(error) or errors.printable((conf.explain(error) if conf else None) or "") or None


def _find_open_run() -> str | None:
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
            job_run.finish_task(active.info.run_id)


def _check_names(pipelines: Sequence[str]) -> None:
    unknown = sorted(set(pipelines) - {*STAGES, "__default__"})
    if unknown:
        raise errors.LakehouseError(f"Unknown pipeline {', '.join(unknown)}: the pipelines are {', '.join(STAGES)}.")


def _find_kedro_refusal(error: Exception) -> Exception | None:
    """Return an error by which Kedro itself refuses conf or arguments before any node runs; None for any other."""
    from kedro.config import MissingConfigException
    from kedro.validation.exceptions import ParameterValidationError

    if isinstance(error, MissingConfigException | ParameterValidationError):
        return error
    if isinstance(error, ValueError) and str(error).startswith("Pipeline does not contain nodes"):
        return error
    return error if isinstance(error, DatasetError) and error.__cause__ is None else None
