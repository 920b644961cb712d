"""What people type: Kedro's commands with this project's, `make run` and `make ui`, and the tasks of a job.

Kedro looks here for the commands `cli` and `run`.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The commands, imported only when Kedro asks: logging is set up before Kedro is imported."""
    if name in ("cli", "run"):
        from lakehouse_ml.cli import commands

        return getattr(commands, name)
    raise AttributeError(name)
