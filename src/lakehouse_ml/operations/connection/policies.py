"""Create or change cluster policies by name; a second time changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lakehouse_ml.errors import EngineError
from lakehouse_ml.operations.bundle.policies import FOLDER, JOBS
from lakehouse_ml.operations.connection.client import Connection, explain, is_denied, is_unanswered

if TYPE_CHECKING:
    from databricks.sdk.service.compute import Policy

    from lakehouse_ml.operations.bundle.bundle import Bundle

Effect = Literal["created", "changed", "unchanged"]
# After an answer that got lost, a policy is looked up by its name before it is sent again.
_ATTEMPTS = 3
# Between them, in seconds.
_PAUSE_SECONDS = 1


@dataclass(frozen=True)
class Applied:
    """A policy of the workspace after its file was applied.

    Attributes:
        name: Its name.
        identity: Its id.
        effect: What happened to it.
        stem: The name of its file.
    """

    name: str
    identity: str
    effect: Effect
    stem: str

    def __str__(self) -> str:
        """A line, with what to do next."""
        use = (
            f"deploy with --var policy={self.identity}"
            if self.stem == JOBS
            else f"for notebook clusters --var notebook_policy={self.identity}"
        )
        return f"{self.name}: {self.effect}, id {self.identity}; {use}"


def name_policy(bundle: Bundle, stem: str) -> str:
    """The name of a policy for a target: targets of one workspace don't share it.

    Args:
        bundle: The target.
        stem: The name of the policy's file.
    """
    own = (bundle.source.sections.get("bundle") or {}).get("name", "")
    return f"{own}_{bundle.source.target}{bundle.copy}_{stem}"


def apply_policy(connection: Connection, bundle: Bundle, stem: str, definition: Mapping[str, Any]) -> Applied:
    """Create a policy, or change the one of its name; the rest of an existing policy stays.

    Args:
        connection: The workspace.
        bundle: The target.
        stem: The name of the policy's file.
        definition: What the file says.

    Raises:
        EngineError: The workspace refuses it, or does not answer.
    """
    name = name_policy(bundle, stem)
    effect: Effect = "unchanged"
    cause: Exception | None = None
    waits = connection.limits.waits
    for attempt in range(_ATTEMPTS):
        if attempt:
            waits.pause(_PAUSE_SECONDS)
        try:
            policy = _find_policy(connection, name)
            if policy is not None and _is_same(policy, definition):
                return Applied(name, str(policy.policy_id), effect, stem)
            effect = "changed" if policy else "created"
            # The SDK repeats a request whose answer got lost.
            with waits.forbid_retries():
                identity = _send(connection, name, stem, definition, policy)
            return Applied(name, identity, effect, stem)
        except Exception as error:
            cause = error
            if not is_unanswered(error) and "already exists" not in str(error):
                break
    raise _describe_failure(connection, bundle, name, cause) from cause


def _find_policy(connection: Connection, name: str) -> Policy | None:
    policies = [one for one in connection.client.cluster_policies.list() if one.name == name]
    if len(policies) > 1:
        ids = ", ".join(str(one.policy_id) for one in policies)
        raise EngineError(
            f"There are {len(policies)} policies {name} ({ids}). Delete all but one: databricks cluster-policies "
            f"delete <id>"
        )
    return policies[0] if policies else None


def _is_same(policy: Policy, definition: Mapping[str, Any]) -> bool:
    try:
        return bool(json.loads(policy.definition or "{}") == definition)
    except json.JSONDecodeError:
        return False


def _send(connection: Connection, name: str, stem: str, definition: Mapping[str, Any], policy: Policy | None) -> str:
    api, text = connection.client.cluster_policies, json.dumps(definition)
    if policy is None:
        description = f"Of lakehouse-ml: {FOLDER.as_posix()}/{stem}.json"
        return str(api.create(name=name, definition=text, description=description).policy_id)
    api.edit(
        str(policy.policy_id),
        name=name,
        definition=text,
        description=policy.description,
        libraries=policy.libraries or None,
        max_clusters_per_user=policy.max_clusters_per_user,
    )
    return str(policy.policy_id)


def _describe_failure(connection: Connection, bundle: Bundle, name: str, cause: Exception | None) -> EngineError:
    if isinstance(cause, EngineError):
        return cause
    why = explain(cause) if cause else ""
    command = f"kedro jobs apply-policies --target {bundle.source.target}"
    if cause and is_denied(cause):
        return EngineError(
            f"{connection.user.name} may not create or change cluster policies at {connection.sign_in.host} ({why}). A "
            f"workspace administrator runs: {command}"
        )
    if cause and is_unanswered(cause):
        return EngineError(f"{name}: the workspace does not answer ({why}). Run it again: {command}")
    return EngineError(f"{name}: the workspace refuses it: {why}.")
