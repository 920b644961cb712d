"""The command by which tests run the stages of a use case."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def run_command(use_case: str, conf: Path, params: Mapping[str, object], *options: str) -> list[str]:
    """`python -m lakehouse_ml` on the nodes of one use case, with a conf folder and runtime parameters."""
    typed = ",".join(f"{name}={value}" for name, value in params.items())
    call = [sys.executable, "-m", "lakehouse_ml", "--conf-source", str(conf)]
    return [*call, "--namespaces", use_case, "--params", typed, *options]
