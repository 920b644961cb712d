"""Roles and verdicts of a model's versions: champion, challenger, incumbent, and how a version gets there."""

from __future__ import annotations

import logging
from typing import Any, Literal

from lakehouse_ml.modelling.card import ModelCard, Promotion, RegistryStatus
from lakehouse_ml.registry.port import ModelRegistry, use_case_of
from lakehouse_ml.storage.provenance import Provenance

log = logging.getLogger(__name__)

Role = Literal["challenger", "champion", "incumbent"]

_FINGERPRINT = "fingerprint"
_PROMOTION_FINGERPRINT = "promotion_fingerprint"
_JUDGED_AGAINST = "judged_against"
_INPUT = "input."
# How many predictors a version's description names.
_MAX_NAMED = 5


def find_version(registry: ModelRegistry, name: str, role: Role) -> str | None:
    """The number of the version that has a role; None if no version has it.

    The incumbent is the champion that the challenger is, or was, judged against: a promoted candidate is champion
    itself, and its incumbent stays the champion before it.
    """
    if role != "incumbent":
        version = registry.find_by_alias(name, role)
        return version.number if version else None
    challenger = registry.find_by_alias(name, "challenger")
    judged_against = challenger.tags.get(_JUDGED_AGAINST) if challenger else None
    if judged_against is not None:
        # Empty on the first champion, which was judged against nobody.
        return judged_against or None
    return find_version(registry, name, "champion")


def find_challenger(registry: ModelRegistry, name: str, fingerprint: str) -> str | None:
    """The number of the challenger, if it was made with this fingerprint."""
    challenger = registry.find_by_alias(name, "challenger")
    if challenger is None or challenger.tags.get(_FINGERPRINT) != fingerprint:
        return None
    return challenger.number


def make_challenger(
    registry: ModelRegistry, name: str, number: str, card: ModelCard, sha256: str, provenance: Provenance | None
) -> None:
    """Tag and describe a version that was just registered, and make it the challenger.

    Args:
        registry: Where it was registered.
        name: The model's full name.
        number: The version's number.
        card: The model's card.
        sha256: Digest of its files.
        provenance: What made it, if a node did.
    """
    inputs = provenance.inputs if provenance else {}
    tags = {
        "use_case": use_case_of(name),
        "estimator": card.estimator,
        "threshold": f"{card.threshold:.4f}",
        "sha256": sha256,
        **{f"{_INPUT}{dataset}": token for dataset, token in inputs.items() if "params" not in dataset},
    }
    registry.tag(name, number, tags)
    registry.describe(name, number, _describe(card))
    registry.move_alias(name, "challenger", number)
    # Last: a version without it is half registered.
    registry.tag(name, number, {_FINGERPRINT: provenance.fingerprint if provenance else ""})


def delete_half_registered(registry: ModelRegistry, name: str) -> None:
    """Delete versions whose run was interrupted before it had registered them in full: nobody can load them."""
    for version in registry.list_versions(name):
        run = registry.get_run(version.run_id) if version.run_id else None
        if run is None or run.use_case is None or not run.is_interrupted:
            continue
        # A list of versions may come without tags.
        if _FINGERPRINT not in registry.get_version(name, version.number).tags:
            registry.delete_version(name, version.number)
            log.warning(
                "Deleted version %s of %s: its run was interrupted before it was registered in full.",
                version.number,
                name,
            )


def read_status(registry: ModelRegistry, name: str) -> RegistryStatus:
    """Read champion, newest candidate, and its verdict."""
    champion, candidate = registry.find_by_alias(name, "champion"), registry.find_by_alias(name, "challenger")
    tags = candidate.tags if candidate else {}
    return RegistryStatus(
        champion=champion.number if champion else None,
        candidate=candidate.number if candidate else None,
        decision=tags.get("verdict"),
        reason=tags.get("verdict_reason"),
        tags=tags,
    )


def apply_verdict(registry: ModelRegistry, name: str, promotion: Promotion, provenance: Provenance | None) -> None:
    """Tag the judged version with its verdict; on `approve`, and only then, make it champion."""
    number = promotion.version
    tags = {
        "verdict": promotion.decision,
        "verdict_reason": promotion.reason,
        "evidence": promotion.evidence,
        _JUDGED_AGAINST: promotion.incumbent or "",
    }
    registry.tag(name, number, tags)
    if promotion.decision == "approve":
        registry.move_alias(name, "champion", number)
    # Last: an interrupted promotion is repeated.
    registry.tag(name, number, {_PROMOTION_FINGERPRINT: provenance.fingerprint if provenance else ""})


def is_verdict_applied(status: RegistryStatus, fingerprint: str) -> bool:
    """Whether the newest candidate's verdict was applied with this fingerprint."""
    return status.tags.get(_PROMOTION_FINGERPRINT) == fingerprint


def read_origin(registry: ModelRegistry, name: str, number: str) -> dict[str, Any]:
    """What a version was made of: `inputs` (versions by dataset name), `run`, `git` and `at` (UTC).

    Raises:
        RegistryError: The registry has no such version.
    """
    version = registry.get_version(name, number)
    inputs = {key.removeprefix(_INPUT): value for key, value in version.tags.items() if key.startswith(_INPUT)}
    commit = registry.get_run(version.run_id).commit if version.run_id else None
    return {"inputs": inputs, "run": version.run_id, "git": commit, "at": version.created_at}


def _describe(card: ModelCard) -> str:
    """The description of a version on the registry's page."""
    params = ", ".join(f"{name} {value}" for name, value in card.params.items())
    metrics = ", ".join(f"{name} {card.metrics[name]:.3f}" for name in ("f1", "roc_auc") if name in card.metrics)
    most_important = sorted(card.importance, key=lambda name: -card.importance[name])[:_MAX_NAMED]
    return (
        f"{card.estimator} ({params or 'defaults'}), chosen by cross-validation ({metrics}). Decision threshold "
        f"{card.threshold:.3f}. Most important predictors: {', '.join(most_important)}."
    )
