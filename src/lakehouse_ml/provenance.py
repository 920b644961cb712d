"""What a result was made of: a fingerprint of code, parameters and input versions, kept with every commit.

Equal fingerprints mean an equal result, so a node whose outputs already carry its fingerprint need not run.
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
from typing import Protocol, runtime_checkable


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
class Tokened(Protocol):
    """A dataset that can say cheaply which state of its data a load would give."""

    def token(self) -> str | None:
        """A short text that changes whenever the data does; None while there is none."""


@runtime_checkable
class Recorded(Protocol):
    """A dataset that keeps the provenance of what it holds."""

    def holds(self, fingerprint: str) -> bool:
        """Whether what is stored now was made with this fingerprint."""


_current: ContextVar[Provenance | None] = ContextVar("lakehouse_ml_provenance", default=None)


_run: ContextVar[tuple[str | None, str | None]] = ContextVar("lakehouse_ml_run", default=(None, None))


def begin(run: str | None, git: str | None) -> None:
    """Let all that is described from now on be of this run and this git commit."""
    _run.set((run, git))


def current() -> Provenance | None:
    """The provenance of the node that is running, if the runner told it."""
    return _current.get()


@contextmanager
def recording(provenance: Provenance | None) -> Iterator[None]:
    """Let everything that is saved inside carry this provenance."""
    reset = _current.set(provenance)
    try:
        yield
    finally:
        _current.reset(reset)


def describe(node: str, inputs: Mapping[str, str]) -> Provenance:
    """The provenance of a node's results from the tokens of its inputs (parameters included)."""
    basis = json.dumps([node, sorted(inputs.items()), code_hash()])
    return Provenance(node, dict(inputs), hashlib.sha256(basis.encode()).hexdigest()[:32], *_run.get())


@cache
def code_hash(package: Path = Path(__file__).parent) -> str:
    """SHA-256 over the package's sources, Python and templates: what "unchanged code" means."""
    digest = hashlib.sha256()
    for source in sorted(path for path in package.rglob("*") if path.suffix in (".py", ".j2")):
        digest.update(source.relative_to(package).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()
