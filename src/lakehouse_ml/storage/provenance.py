"""Provenance of results: a fingerprint of code, parameters and input versions, stored with every commit.

Equal fingerprints mean equal results, so a node whose outputs have its fingerprint need not run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

PACKAGE = Path(__file__).parents[1]

# Prefix of fingerprints. Those of older lakes have none, and covered every source of the package.
SCHEME = "2-"

# Code that reads, computes and stores rows in every stage.
_EVERY_STAGE = (
    "config/results.py",
    "config/spec.py",
    "datasets",
    "engine",
    "modelling/population.py",
    "storage",
    "use_cases/base.py",
    "use_cases/columns.py",
    "use_cases/contracts.py",
    "use_cases/formats.py",
    "use_cases/sql.py",
)
# The token of the training rows is a hash of their content, so features, rules and storage need no entry here.
_SEARCH = (
    "config/spec.py",
    "modelling/card.py",
    "modelling/drift.py",
    "modelling/estimators",
    "modelling/metrics.py",
    "modelling/population.py",
    "modelling/split.py",
    "pipelines/training",
)
# What a stage uses besides that and its own folder. Messages, the command line and runs make no result.
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
    """Origin of a result: node, input versions by dataset name, and their fingerprint.

    The run (its MLflow id) and the git commit are for people; they are no part of the fingerprint.
    """

    node: str
    inputs: Mapping[str, str]
    fingerprint: str
    run: str | None = None
    git: str | None = None

    def to_json(self) -> str:
        """One line of JSON, for the metadata of a commit or for a tag."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None}, sort_keys=True)


@runtime_checkable
class HasToken(Protocol):
    """A dataset that can cheaply identify the state of its data."""

    def token(self) -> str | None:
        """A short text that changes whenever the data changes; None without data."""


@runtime_checkable
class HasFingerprint(Protocol):
    """A dataset that stores the provenance of its data."""

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether the stored data has this fingerprint."""


_current: ContextVar[Provenance | None] = ContextVar("lakehouse_ml_provenance", default=None)


_run: ContextVar[tuple[str | None, str | None]] = ContextVar("lakehouse_ml_run", default=(None, None))


def set_run(run: str | None, git: str | None) -> None:
    """Set the run and the git commit for every later `describe`."""
    _run.set((run, git))


def get_provenance() -> Provenance | None:
    """The provenance of the running node; None outside of a run."""
    return _current.get()


@contextmanager
def attach_provenance(provenance: Provenance | None) -> Iterator[None]:
    """Attach this provenance to everything that is saved inside the block."""
    token = _current.set(provenance)
    try:
        yield
    finally:
        _current.reset(token)


def describe(node: str, inputs: Mapping[str, str], constants: Mapping[str, Any] | None = None) -> Provenance:
    """Describe the provenance of the results of a node.

    Args:
        node: `<use case>.<stage>.<name>`.
        inputs: The token of each input, parameters included.
        constants: Arguments that the use case binds to the function of the node. Plain values count by value, functions
            and contracts by their source code.
    """
    plain = {name: value for name, value in (constants or {}).items() if _is_plain(value)}
    basis = json.dumps([node, sorted(inputs.items()), sorted(plain.items()), code_hash(node)])
    fingerprint = f"{SCHEME}{hashlib.sha256(basis.encode()).hexdigest()[:32]}"
    return Provenance(node, dict(inputs), fingerprint, *_run.get())


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or (isinstance(value, tuple) and all(map(_is_plain, value)))


def code_hash(node: str, root: Path = PACKAGE) -> str:
    """SHA-256 over the source files below `root` of which a node is made (`list_sources`)."""
    return _hash(root, *list_sources(node))


@cache
def _hash(root: Path, *parts: str) -> str:
    sources = {file: content for part in parts for file, content in _read_sources(root, part).items()}
    digest = hashlib.sha256()
    for file in sorted(sources):
        digest.update(file.as_posix().encode())
        digest.update(sources[file])
    return digest.hexdigest()


@cache
def _read_sources(root: Path, part: str) -> Mapping[Path, bytes]:
    """Read the Python files and templates of a file or folder, except generators of example data.

    Stages share most of their parts, so each is read once.
    """
    files = [file for file in (root / part, *(root / part).rglob("*")) if file.suffix in (".py", ".j2")]
    code = [file for file in files if file.is_file() and file.name != "synthetic.py"]
    return {file.relative_to(root): file.read_bytes() for file in code}


def list_sources(node: str) -> tuple[str, ...]:
    """Files and folders of the package of which a result of a node is made; all for a node outside the grid."""
    use_case, _, step = node.partition(".")
    stage = step.partition(".")[0]
    if step == "training.search":
        return _SEARCH
    if stage not in _STAGES:
        return ("",)
    return (f"use_cases/{use_case}", f"pipelines/{stage}", *_EVERY_STAGE, *_STAGES[stage])
