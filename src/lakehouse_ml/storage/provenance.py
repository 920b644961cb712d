"""What a result was made of: a fingerprint of code, parameters and input versions, kept with every commit.

Equal fingerprints mean an equal result, so a node whose outputs already carry its fingerprint need not run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

PACKAGE = Path(__file__).parents[1]

# Begins a fingerprint; those of lakes made before have none, and covered every source of the package.
SCHEME = "2-"

# How rows are read, computed and stored.
_EVERY_STAGE = (
    "config/results.py", "config/spec.py", "datasets", "engine", "modelling/population.py", "storage",
    "use_cases/base.py", "use_cases/columns.py", "use_cases/contracts.py", "use_cases/formats.py", "use_cases/sql.py",
)  # fmt: skip
# The token of the training rows is a hash of their content: features, rules and storage reach a model through them.
_SEARCH = (
    "config/spec.py", "modelling/card.py", "modelling/drift.py", "modelling/estimators", "modelling/metrics.py",
    "modelling/population.py", "modelling/split.py", "pipelines/training",
)  # fmt: skip
# What a stage uses beside that and its own folder. Messages, retries, locks and front doors make no result.
_STAGES: Mapping[str, tuple[str, ...]] = {
    "data_ingestion": (),
    "data_quality": (),
    "feature_engineering": (),
    "training": _SEARCH,
    "evaluation": ("modelling",),
    "batch_scoring": ("modelling",),
    "monitoring": ("modelling", "report", "use_cases/wording.py"),
}


@dataclass(frozen=True)
class Provenance:
    """Who made a result, and of what: node, input versions by dataset name, and their fingerprint.

    The run (MLflow's id of it) and the git commit tell who else to ask; they don't make a result another one.
    """

    node: str
    inputs: Mapping[str, str]
    fingerprint: str
    run: str | None = None
    git: str | None = None

    def to_json(self) -> str:
        """One line for a commit's metadata or a tag."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None}, sort_keys=True)


@runtime_checkable
class HasToken(Protocol):
    """A dataset that can say cheaply which state of its data a load would give."""

    def token(self) -> str | None:
        """A short text that changes whenever the data does; None while there is none."""


@runtime_checkable
class HasFingerprint(Protocol):
    """A dataset that keeps the provenance of what it holds."""

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether what is stored now was made with this fingerprint."""


_current: ContextVar[Provenance | None] = ContextVar("lakehouse_ml_provenance", default=None)


_run: ContextVar[tuple[str | None, str | None]] = ContextVar("lakehouse_ml_run", default=(None, None))


def set_run(run: str | None, git: str | None) -> None:
    """Let all that is described from now on be of this run and this git commit."""
    _run.set((run, git))


def get_provenance() -> Provenance | None:
    """The provenance of the node that is running, if the runner told it."""
    return _current.get()


@contextmanager
def attach_provenance(provenance: Provenance | None) -> Iterator[None]:
    """Let everything that is saved inside carry this provenance."""
    reset = _current.set(provenance)
    try:
        yield
    finally:
        _current.reset(reset)


def describe(node: str, inputs: Mapping[str, str], constants: Mapping[str, Any] | None = None) -> Provenance:
    """The provenance of a node's results.

    Args:
        node: `<use case>.<stage>.<name>`.
        inputs: The token of each input, parameters included.
        constants: Arguments that the use case binds to the node's function. Plain values count as they are, functions
            and contracts by the code that they are made of.
    """
    plain = {name: value for name, value in (constants or {}).items() if _is_plain(value)}
    basis = json.dumps([node, sorted(inputs.items()), sorted(plain.items()), code_hash(node)])
    fingerprint = f"{SCHEME}{hashlib.sha256(basis.encode()).hexdigest()[:32]}"
    return Provenance(node, dict(inputs), fingerprint, *_run.get())


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or (isinstance(value, tuple) and all(map(_is_plain, value)))


def code_hash(node: str, root: Path = PACKAGE) -> str:
    """SHA-256 over the sources below `root` that the result of a node is made of (`sources`)."""
    return _hash(root, *list_sources(node))


@cache
def _hash(root: Path, *parts: str) -> str:
    digest = hashlib.sha256()
    for file in _files(root, parts):
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _files(root: Path, parts: Iterable[str]) -> list[Path]:
    """Python and templates in these files and folders, without generators of example data."""
    found = {file for part in parts for file in [root / part, *(root / part).rglob("*")]}
    code = (file for file in found if file.is_file() and file.suffix in (".py", ".j2"))
    return sorted(file for file in code if file.name != "synthetic.py")


def list_sources(node: str) -> tuple[str, ...]:
    """Files and folders of the package that the result of a node is made of; of a node outside the grid, all."""
    use_case, _, step = node.partition(".")
    stage = step.partition(".")[0]
    if step == "training.search":
        return _SEARCH
    if stage not in _STAGES:
        return ("",)
    return (f"use_cases/{use_case}", f"pipelines/{stage}", *_EVERY_STAGE, *_STAGES[stage])
