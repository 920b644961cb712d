"""`python -m lakehouse_ml`: the installed package's entry point, with the arguments of `kedro run`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lakehouse_ml import project


def main(argv: Sequence[str] | None = None) -> None:
    """Run as `kedro run` does; returns on success, and ends the process with a sentence on failure."""
    project.configure_logging()  # before Kedro, whose import decides what is logged
    import click

    from lakehouse_ml.cli.run import run

    project.configure()
    try:
        run.main(args=list(sys.argv[1:] if argv is None else argv), prog_name=__package__, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
