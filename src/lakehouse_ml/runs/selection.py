"""Check the names by which a run selects part of the pipelines, and leave out use cases without data."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lakehouse_ml.errors import LakehouseError, suggest_name

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline

    from lakehouse_ml.use_cases.base import UseCase

log = logging.getLogger(__name__)

# How Kedro's session names each kind of selection, and the option by which a user does.
_OPTIONS = {
    "node_names": ("node", "--nodes"), "from_nodes": ("node", "--from-nodes"), "to_nodes": ("node", "--to-nodes"),
    "from_inputs": ("dataset", "--from-inputs"), "to_outputs": ("dataset", "--to-outputs"), "tags": ("tag", "--tags"),
    "namespaces": ("namespace", "--namespaces"),
}  # fmt: skip
# Arguments that choose among use cases by themselves.
SELECTIONS = tuple(name for name in _OPTIONS if name != "tags")


def check_selection(selected: Mapping[str, Any], pipeline: Pipeline) -> None:
    """Refuse names that the pipeline doesn't have.

    Args:
        selected: Arguments of a session's run.
        pipeline: What they select from.

    Raises:
        LakehouseError: Names the option, the unknown name, and the nearest known one.
    """
    valid = {
        "node": {node.name for node in pipeline.nodes},
        "dataset": set(pipeline.datasets()),
        "tag": {tag for node in pipeline.nodes for tag in node.tags},
        "namespace": set(_list_namespaces(pipeline)),
    }
    for argument, (kind, option) in _OPTIONS.items():
        for name in selected.get(argument) or ():
            if name not in valid[kind]:
                raise LakehouseError(f"{option}: no {kind} is named {name!r}. {suggest_name(name, valid[kind])}")


def select_use_cases(catalog: Mapping[str, Any], use_cases: Sequence[UseCase]) -> list[str]:
    """Select the use cases that have files to read, or were read before; the log names the others.

    All of them where none has any: the run then says what is missing.

    Args:
        catalog: The catalog's conf, resolved.
        use_cases: Those of the project.
    """
    reasons = {use_case.name: _explain_missing_files(catalog, use_case) for use_case in use_cases}
    selection = [name for name, reason in reasons.items() if reason is None]
    if not selection:
        return list(reasons)
    for name, reason in reasons.items():
        if reason is not None:
            log.warning("Left out: %s, for %s", name, reason)
    return selection


def _explain_missing_files(catalog: Mapping[str, Any], use_case: UseCase) -> str | None:
    """Explain why a use case can't be run; None if each of its tables has files, may have none, or was read before."""
    from lakehouse_ml.datasets.landing_files import LandingFiles

    for table in use_case.sources:
        entry = {key: value for key, value in catalog[f"{use_case.name}.landing_{table}"].items() if key != "type"}
        landing = LandingFiles(**entry)
        if not landing.is_available():
            return f"no file of {table} is in {landing.address}"
    return None


def _list_namespaces(pipeline: Pipeline) -> Iterable[str]:
    for node in pipeline.nodes:
        parts = (node.namespace or "").split(".")
        yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))
