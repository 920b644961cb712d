"""Where this project is: a checkout, or what a wheel has installed, which carries the shipped conf inside."""

from __future__ import annotations

import json
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
INSTALLED = (_PACKAGE / "shipped_conf").is_dir()
# What relative folders are meant from. A wheel has no project folder: there it is the one that the process started in.
PROJECT = Path.cwd() if INSTALLED else _PACKAGE.parents[1]
CONF = _PACKAGE / "shipped_conf" if INSTALLED else PROJECT / "conf"


def built() -> dict[str, str]:
    """What the installed wheel was built of: `git_sha`, and `sha256` of its contents. Nothing in a checkout."""
    told: dict[str, str] = json.loads((_PACKAGE / "build.json").read_text(encoding="utf-8")) if INSTALLED else {}
    return told


def configure() -> None:
    """Tell Kedro in this process which project it works for."""
    from kedro.framework.project import configure_project
    from kedro.framework.startup import bootstrap_project

    if INSTALLED:
        configure_project(_PACKAGE.name)
    else:
        bootstrap_project(PROJECT)
