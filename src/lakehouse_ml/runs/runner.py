"""The runner: it skips each node whose results are stored with the fingerprint that they would get now."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from itertools import chain
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from kedro.runner import SequentialRunner
from kedro.runner.task import Task

from lakehouse_ml import errors
from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.storage import provenance
from lakehouse_ml.storage.provenance import HasFingerprint, HasToken, Provenance
from lakehouse_ml.storage.retry import with_retries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node
    from pluggy import PluginManager

log = logging.getLogger(__name__)

_BEAT_SECONDS = 15.0


class UpToDateRunner(SequentialRunner):
    """Runs nodes one after another and skips those whose outputs carry the fingerprint that they would get now.

    An output that records no fingerprint is made each time. A second run skips every step, and a run after a crash does
    what is left.
    """

    def __init__(self, **arguments: Any) -> None:
        """Take Kedro's arguments; `seconds` and `skipped` record by name what ran and what didn't."""
        super().__init__(**arguments)
        self.seconds: dict[str, float] = {}
        self.skipped: list[str] = []
        self._has_checked_scheme = False
        self._tokens: dict[str, str | None] = {}

    def __str__(self) -> str:
        """Return the name that kedro-mlflow writes to the run."""
        return type(self).__name__

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol[Any, Any],
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        self._tokens = {}
        loads = Counter(chain.from_iterable(node.inputs for node in pipeline.nodes))
        for number, node in enumerate(pipeline.nodes, 1):
            task = Task(node, catalog, self._is_async, hook_manager, run_id)
            with_retries(
                partial(self._run_if_outdated, task, f"[{number:2d}/{len(pipeline.nodes)}] {node.name}", catalog)
            )
            self._release_datasets(node, catalog, loads, pipeline)

    def _run_if_outdated(self, task: Task, progress: str, catalog: CatalogProtocol[Any, Any]) -> None:
        """Run a node unless its results are current; a repeated call does only what is left."""
        node = task.node
        origin = self._describe_origin(node, catalog)
        if origin and self._is_current(node, catalog, origin.fingerprint):
            self.skipped.append(node.name)
            return
        self._log_changed_scheme(node, catalog)
        log.info("%s", progress)
        self._tokens = {}
        started = time.perf_counter()
        # No hint from where to resume: the same command does what is left.
        try:
            with provenance.attach_provenance(origin), log_heartbeat(node.name):
                task.execute()
        except Exception as error:
            if any(isinstance(cause, KeyboardInterrupt) for cause in errors.chain(error)):
                raise KeyboardInterrupt from error  # within a lock, Ctrl-C comes out as an error of the lock
            error.add_note(f"Node {node.name} failed.")
            raise
        self.seconds[node.name] = time.perf_counter() - started

    def _describe_origin(self, node: Node, catalog: CatalogProtocol[Any, Any]) -> Provenance | None:
        tokens = {name: self._find_token(catalog, name) for name in node.inputs}
        certain = {name: token for name, token in tokens.items() if token is not None}
        if len(certain) < len(tokens):
            return None
        return provenance.describe(node.name, certain, getattr(node.func, "keywords", None))

    def _find_token(self, catalog: CatalogProtocol[Any, Any], name: str) -> str | None:
        """The token of an input. That of a table at a path is read once as long as no node runs: the lake is locked."""
        if name in self._tokens:
            return self._tokens[name]
        token = _token(catalog, name)
        if name in catalog and isinstance(catalog[name], DeltaTable) and catalog[name].kind == "path":
            self._tokens[name] = token
        return token

    def _log_changed_scheme(self, node: Node, catalog: CatalogProtocol[Any, Any]) -> None:
        """Log once why every step runs again on a lake that an earlier version made."""
        if self._has_checked_scheme:
            return
        self._has_checked_scheme = True
        tables = [catalog[name] for name in node.outputs if isinstance(catalog[name], DeltaTable)]
        commits = [commit for table in tables if table.exists() for commit in table.origin_commits()[:1]]
        if any(not commit.get("fingerprint", provenance.SCHEME).startswith(provenance.SCHEME) for commit in commits):
            log.info(
                "An earlier version of lakehouse-ml made this lake. Its fingerprints covered code that makes no result "
                "and can't be compared, so every step runs once again; later runs skip unchanged steps."
            )

    def _is_current(self, node: Node, catalog: CatalogProtocol[Any, Any], fingerprint: str) -> bool:
        outputs = [catalog[name] for name in node.outputs]
        return bool(outputs) and all(
            isinstance(dataset, HasFingerprint) and dataset.has_fingerprint(fingerprint) for dataset in outputs
        )


@contextmanager
def log_heartbeat(name: str, seconds: float = _BEAT_SECONDS) -> Iterator[None]:
    """Log at intervals that a node is still running, and for how long."""
    has_ended = Event()
    started = time.perf_counter()

    def log_time() -> None:
        while not has_ended.wait(seconds):
            log.info("  %s has been running for %.0f s", name, time.perf_counter() - started)

    thread = Thread(target=log_time, daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


def _token(catalog: CatalogProtocol[Any, Any], name: str) -> str | None:
    """The text that identifies an input's present content; None where it has none."""
    if name.startswith("params:") or name == "parameters":
        value = catalog.load(name)
        return str(value) if hasattr(value, "model_dump_json") else json.dumps(value, sort_keys=True, default=str)
    dataset = catalog[name]
    return dataset.token() if isinstance(dataset, HasToken) else None
