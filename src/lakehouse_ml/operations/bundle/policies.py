"""Cluster policies, as files in Databricks' own format, and whether a cluster obeys one.

The format: https://docs.databricks.com/admin/clusters/policy-definition
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lakehouse_ml.errors import ConfError

FOLDER = Path("resources", "policies")
JOBS, NOTEBOOKS = "jobs", "notebooks"


def load_policies(root: Path) -> dict[str, dict[str, Any]]:
    """Read the policies of a project, by name.

    Raises:
        ConfError: A file is no valid JSON.
    """
    policies = {}
    for file in sorted((root / FOLDER).glob("*.json")):
        try:
            policies[file.stem] = json.loads(file.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ConfError(
                f"{FOLDER / file.name}, line {error.lineno}: this is not valid JSON ({error.msg})."
            ) from error
    return policies


def find_violations(cluster: Mapping[str, Any], cluster_type: str, policy: Mapping[str, Any]) -> Iterator[str]:
    """Find the rules of a policy that a cluster breaks, a clause each.

    Args:
        cluster: As in a bundle.
        cluster_type: `job` or `all-purpose`.
        policy: Its definition.
    """
    values = dict(_flatten(cluster)) | {"cluster_type": cluster_type}
    for attribute, rule in policy.items():
        matching = {name: value for name, value in values.items() if _is_match(name, attribute)}
        if not matching and not rule.get("isOptional") and rule["type"] not in ("forbidden", "blocklist"):
            if "defaultValue" not in rule and "value" not in rule:
                yield f"{attribute} is missing"
            elif rule["type"] == "fixed":
                yield f"{attribute} is missing: the policy fixes it to {rule['value']!r}"
        for name, value in matching.items():
            if fault := _find_violation(value, rule):
                yield f"{name} is {value!r}: {fault}"


def _find_violation(value: Any, rule: Mapping[str, Any]) -> str | None:
    kind = rule["type"]
    if kind == "range":
        low, high = rule.get("minValue", float("-inf")), rule.get("maxValue", float("inf"))
        limits = [f"at least {low}"] * ("minValue" in rule) + [f"at most {high}"] * ("maxValue" in rule)
        is_kept, wanted = isinstance(value, int | float) and low <= value <= high, " and ".join(limits)
    elif kind == "regex":
        is_kept, wanted = re.fullmatch(rule["pattern"], str(value)) is not None, f"a match of {rule['pattern']}"
    else:
        values = rule.get("values", [rule.get("value")])
        is_kept = {"forbidden": False, "unlimited": True, "blocklist": value not in values}.get(kind, value in values)
        wanted = ", ".join(map(str, values)) if kind in ("fixed", "allowlist") else "other values or none"
    return None if is_kept else f"the policy allows {wanted}"


def _is_match(name: str, attribute: str) -> bool:
    pattern = re.escape(attribute).replace(r"\*", r"\d+")
    return re.fullmatch(pattern, name) is not None


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if entries is None:
        yield name, value
        return
    for key, one in entries:
        yield from _flatten(one, f"{name}.{key}" if name else str(key))
