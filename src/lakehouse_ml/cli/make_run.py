"""`make run`: all stages of one or all use cases, on generated files if there are no others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from lakehouse_ml import project
from lakehouse_ml.errors import STOPPED, LakehouseError, suggest_name
from lakehouse_ml.project import PROJECT, configure
from lakehouse_ml.use_cases import USE_CASES

LANDING = PROJECT / "data" / "landing"
NAMES = tuple(use_case.name for use_case in USE_CASES)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and return the exit code; a user's mistake is one sentence on stderr."""
    try:
        return _run(_arguments(argv))
    except KeyboardInterrupt:  # while libraries are imported, too
        print(f"\n{STOPPED}", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    project.configure_logging()  # before Kedro, whose import decides what is logged
    import click
    from kedro.framework.project import settings

    configure()
    if options.quiet:
        project.log_only_warnings()
    names = list(NAMES) if options.use_case == "all" else [options.use_case]
    try:
        if not {*names} <= {*NAMES}:
            raise click.ClickException(
                f"USE_CASE: no use case is named {names[0]!r}. {suggest_name(names[0], [*NAMES, 'all'])}"
            )
        if options.landing is not None and len(names) > 1:
            raise click.ClickException("LANDING goes with one use case: name it, USE_CASE=" + "|".join(NAMES))
        params = {"landing": options.landing, "lake": options.lake}
        runtime = {key: value for key, value in params.items() if value}
        with settings.SESSION_CLASS.create(PROJECT, env=options.env, runtime_params=runtime) as session:
            if options.pipelines:
                # Of all use cases, the session takes those that have begun.
                session.run(pipeline_names=[options.pipelines], namespaces=None if options.use_case == "all" else names)
                return 0
            if options.landing is None and session.landing() == LANDING:
                for name in names:
                    _write_sample(name)
            session.run(namespaces=names)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--use-case", default="churn", help=", ".join([*NAMES, "all"]))
    parser.add_argument("--landing", default=None, help="folder with your files, instead of generated ones")
    parser.add_argument("--lake", default=None, help="folder for tables and models, instead of data/")
    parser.add_argument("--env", default=None, help="a folder of conf/")
    parser.add_argument("--quiet", default=None, help="anything: say only the summary and mistakes")
    parser.add_argument("--pipelines", default=None, help="one stage instead of all, on what is stored")
    options = parser.parse_args(argv)
    # An empty LANDING= on make's command line means none.
    return argparse.Namespace(**{key: value or None for key, value in vars(options).items()})


def _write_sample(use_case: str) -> None:
    """Generated files in the project's own landing folder, if it is empty."""
    import click

    folder = LANDING / use_case
    if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        return
    synthetic = import_module(f"lakehouse_ml.use_cases.{use_case}.synthetic")
    try:
        synthetic.write_sample(folder)
    except LakehouseError as error:
        raise click.ClickException(str(error)) from error
    print(f"No files in {folder.relative_to(PROJECT)}: simulated ones were written there.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
