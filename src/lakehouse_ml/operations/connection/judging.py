"""Judge what a workspace says: what is there, what is missing and who mends it, and what could not be checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lakehouse_ml.errors import shell_word, suggest_name
from lakehouse_ml.operations.connection.asking import ALL_PRIVILEGES, Facts, Object, Securable
from lakehouse_ml.operations.connection.client import Answer, Identity
from lakehouse_ml.operations.connection.needs import Folder, Needs

_MAY_EDIT = frozenset({"CAN_EDIT", "CAN_MANAGE", "IS_OWNER"})
# What a deployment makes needs these rights of whoever deploys.
_TO_CREATE = {"schema": ("catalog", "CREATE_SCHEMA"), "volume": ("schema", "CREATE_VOLUME")}


@dataclass(frozen=True)
class Finding:
    """One thing of a workspace.

    Attributes:
        label: What: catalog, schema, tables, files, landing, experiment, registry, runtime ….
        text: Where, and what was found or is missing.
        remedy: Who has to do what; empty unless something is missing.
        is_missing: Whether it is missing.
    """

    label: str
    text: str
    remedy: str = ""
    is_missing: bool = False

    def __str__(self) -> str:
        """A line for a terminal."""
        if not self.is_missing:
            return f"{self.label:<11}{self.text}"
        return (
            f"{'missing':<11}{self.label} {self.text.rstrip('.')}{'' if self.text.endswith('?') else '.'} {self.remedy}"
        )


def judge(needs: Needs, facts: Facts) -> list[Finding]:
    """Judge each thing that a target needs.

    Args:
        needs: What it needs.
        facts: What the workspace says.
    """
    judgement = _Judgement(needs, facts, facts.runner.value or Identity(needs.service_principal))
    return [*judgement.judge_runner(), *judgement.judge_catalog(), *judgement.judge_compute()]


@dataclass(frozen=True)
class _Judgement:
    needs: Needs
    facts: Facts
    runner: Identity

    def judge_runner(self) -> Iterator[Finding]:
        name = self.needs.service_principal
        if not name:
            return
        if self.facts.runner.is_absent:
            body = json.dumps({"applicationId": name, "displayName": "lakehouse-ml"})
            yield Finding(
                "jobs",
                f"run as {name}, a service principal that the workspace does not have",
                f"A workspace administrator runs: databricks service-principals create --json {shell_word(body)}",
                is_missing=True,
            )
        elif self.facts.runner.refusal:
            yield Finding("jobs", f"run as {name}; not checked: its groups ({self.facts.runner.refusal})")
        else:
            yield Finding("jobs", f"run as {name}, whose rights are checked below")

    def judge_catalog(self) -> Iterator[Finding]:
        needs = self.needs
        yield self._judge_securable("catalog", "catalog", needs.catalog, ("USE_CATALOG",))
        yield self._judge_securable("schema", "schema", needs.schema, ("USE_SCHEMA",))
        yield self._judge_privileges("tables", needs.schema, ("CREATE_TABLE", "SELECT", "MODIFY"))
        for folder in needs.folders:
            yield self._judge_folder(folder)
        yield self._judge_experiment()
        if needs.models.partition(".")[0] != needs.catalog:
            yield self._judge_securable("catalog", "catalog", needs.models.partition(".")[0], ("USE_CATALOG",))
        if needs.models != needs.schema:
            yield self._judge_securable("schema", "schema", needs.models, ("USE_SCHEMA",))
        yield self._judge_privileges("registry", needs.models, ("CREATE_MODEL",))

    def _judge_folder(self, folder: Folder) -> Finding:
        if not folder.volume:
            return Finding(folder.label, f"{folder.address}: not checked: it is in no Volume; the job smoke tries it")
        return self._judge_securable(folder.label, "volume", folder.volume, folder.privileges)

    def _judge_securable(self, label: str, kind: str, name: str, wanted: Sequence[str]) -> Finding:
        """Whether a securable is there and may be used."""
        securable = self.facts.securables[kind, name]
        named = name if label == kind else f"{kind} {name}"
        if securable.owner.is_absent:
            return Finding(label, f"{named} does not exist", self._mend_absent(kind, name), is_missing=True)
        return self._judge_rights(label, kind, name, securable, wanted)

    def _judge_privileges(self, label: str, schema: str, wanted: Sequence[str]) -> Finding:
        """What may be done in a schema."""
        securable = self.facts.securables["schema", schema]
        if securable.owner.is_absent:
            return Finding(label, f"{schema}: not checked: the schema does not exist yet")
        return self._judge_rights(label, "schema", schema, securable, wanted)

    def _judge_rights(self, label: str, kind: str, name: str, securable: Securable, wanted: Sequence[str]) -> Finding:
        lacking = [one for one in wanted if not self._may(securable, one)]
        words = ", ".join(one.replace("_", " ") for one in lacking or wanted)
        if not lacking:
            return Finding(label, f"{name}: {words}")
        statement = write_grant(lacking, kind, name, self.runner.name)
        if securable.hidden or securable.owner.refusal:
            why = securable.hidden or securable.owner.refusal
            return Finding(label, f"{name}: not checked: {words} ({why}). If it is missing: {statement}")
        return Finding(label, f"{name}: {words}", self._name_granter(kind, name, statement), is_missing=True)

    def _may(self, securable: Securable, privilege: str) -> bool:
        owns = securable.owner.value in {self.runner.name, *(self.runner.groups or ())}
        return owns or bool({privilege, ALL_PRIVILEGES} & securable.privileges)

    def _name_granter(self, kind: str, name: str, statement: str) -> str:
        owner = self.facts.securables[kind, name].owner.value
        who = f"{owner}, who owns the {kind}," if owner else f"The owner of the {kind}"
        return f"{who} runs: {statement}"

    def _mend_absent(self, kind: str, name: str) -> str:
        if kind == "catalog":
            other = "name another one: --var catalog=<catalog>" if self.needs.deploy else "name another one in conf"
            return f"A metastore administrator runs: CREATE CATALOG {quote(name)}; or {other}"
        if name in self.needs.creates:
            return f"Whoever deploys runs: {self.needs.deploy}{self._check_creator(kind, name)}"
        parent_kind, privilege = _TO_CREATE[kind]
        parent = name.rpartition(".")[0]
        return (
            f"Whoever has {privilege.replace('_', ' ')} on {parent_kind} {parent} runs: CREATE {kind.upper()} "
            f"{quote(name)}"
        )

    def _check_creator(self, kind: str, name: str) -> str:
        """What the user lacks to make something, where that is certain."""
        parent_kind, privilege = _TO_CREATE[kind]
        parent = name.rpartition(".")[0]
        securable = self.facts.securables.get((parent_kind, parent))
        is_me = self.runner.name == self.facts.user.name
        if not is_me or securable is None or securable.owner.value is None or securable.hidden:
            return ""
        if self._may(securable, privilege):
            return ""
        statement = write_grant([privilege], parent_kind, parent, self.facts.user.name)
        return f"; before that, {self._name_granter(parent_kind, parent, statement)}"

    def _judge_experiment(self) -> Finding:
        name, item = self.needs.experiment, self.facts.experiment
        if item.identity.value is not None:
            return self._judge_levels(name, "experiments", name, item)
        if not item.identity.is_absent:
            return Finding("experiment", f"{name}: not checked: {item.identity.refusal}")
        folder, path = self.facts.folder, str(PurePosixPath(name).parent)
        if folder is not None and folder.identity.is_absent:
            return Finding(
                "experiment",
                f"{name}: its folder {path} does not exist",
                f"Whoever may write there runs: databricks workspace mkdirs {shell_word(path)}",
                is_missing=True,
            )
        if name in self.needs.creates:
            return Finding(
                "experiment",
                f"{name} does not exist",
                f"Whoever deploys runs: {self.needs.deploy}",
                is_missing=True,
            )
        if folder is None or folder.identity.value is None:
            why = folder.identity.refusal if folder else item.identity.refusal
            return Finding("experiment", f"{name}: not checked: its folder {path} ({why})")
        return self._judge_levels(f"{name}: the first run creates it in {path}", "directories", path, folder)

    def _judge_levels(self, text: str, kind: str, name: str, item: Object) -> Finding:
        levels, runner = item.levels, self.runner
        if levels.value is None:
            return Finding("experiment", f"{text}; not checked: who may edit it ({levels.refusal})")
        if levels.value & _MAY_EDIT:
            return Finding("experiment", f"{text}: {', '.join(sorted(levels.value & _MAY_EDIT))}")
        if runner.groups is None:
            return Finding("experiment", f"{text}; not checked: who may edit it (its groups can't be read)")
        who = "service_principal_name" if runner.is_service_principal else "user_name"
        entry = {who: runner.name, "permission_level": "CAN_EDIT"}
        body = shell_word(json.dumps({"access_control_list": [entry]}))
        verb = "experiments update-permissions" if kind == "experiments" else "workspace update-permissions directories"
        return Finding(
            "experiment",
            f"{text}: CAN EDIT for {runner.name}",
            f"Whoever manages {name} runs: databricks {verb} {item.identity.value} --json {body}",
            is_missing=True,
        )

    def judge_compute(self) -> Iterator[Finding]:
        needs, facts = self.needs, self.facts
        for name in needs.runtimes:
            yield self._judge_listed("runtime", name, facts.runtimes, "databricks clusters spark-versions")
        for name in needs.node_types:
            obstacle = (facts.node_types.value or {}).get(name, "")
            if obstacle:
                remedy = _choose("databricks clusters list-node-types")
                yield Finding("node type", f"{name}: {obstacle}", remedy, is_missing=True)
            else:
                yield self._judge_listed("node type", name, facts.node_types, "databricks clusters list-node-types")
        for name in needs.policies:
            yield self._judge_policy(name)
        for name, pool in facts.pools.items():
            yield self._judge_named("pool", name, pool, "databricks instance-pools list")
        for name, warehouse in facts.warehouses.items():
            yield self._judge_named("warehouse", name, warehouse, "databricks warehouses list")
        if needs.cluster:
            yield self._judge_named("cluster", needs.cluster, facts.cluster, "databricks clusters list")
        if needs.is_serverless:
            yield self._judge_serverless()

    def _judge_listed(self, label: str, name: str, answer: Answer[Any], command: str) -> Finding:
        if answer.value is None:
            return Finding(label, f"{name}: not checked: {answer.refusal}")
        if name in answer.value:
            return Finding(label, name)
        return Finding(
            label, f"{name} is not offered. {suggest_name(name, answer.value)}", _choose(command), is_missing=True
        )

    def _judge_policy(self, name: str) -> Finding:
        policies = self.facts.policies
        if policies.value is None:
            return Finding("policy", f"{name}: not checked: {policies.refusal}")
        if name in policies.value:
            return Finding("policy", name)
        command = f"kedro jobs apply-policies --target {self.needs.target}"
        return Finding(
            "policy",
            f"{name} is not among the policies that {self.facts.user.name} sees",
            f"A workspace administrator runs: {command}; then deploy with the --var that it prints",
            is_missing=True,
        )

    def _judge_named(self, label: str, name: str, answer: Answer[str], command: str) -> Finding:
        if answer.value is not None:
            return Finding(label, f"{name} ({answer.value})")
        if answer.is_absent:
            return Finding(label, f"{name} does not exist", _choose(command), is_missing=True)
        return Finding(label, f"{name}: not checked: {answer.refusal}")

    def _judge_serverless(self) -> Finding:
        if self.facts.metastore.is_absent:
            return Finding(
                "serverless",
                "needs Unity Catalog, and the workspace has no metastore",
                "An account administrator assigns one: databricks account metastore-assignments create <workspace id> "
                "<metastore id>",
                is_missing=True,
            )
        smoke = f"databricks bundle run smoke -t {self.needs.target}" if self.needs.target else "the first run"
        return Finding("serverless", f"not checked: no request says whether it is enabled; {smoke} tries it")


def write_grant(privileges: Sequence[str], kind: str, name: str, principal: str) -> str:
    """The statement that grants privileges."""
    words = ", ".join(one.replace("_", " ") for one in privileges)
    escaped = principal.replace("`", "``")
    return f"GRANT {words} ON {kind.upper()} {quote(name)} TO `{escaped}`"


def quote(name: str) -> str:
    """A name of one or more parts, quoted where SQL needs it."""
    parts = name.split(".")
    return ".".join(part if re.fullmatch(r"[A-Za-z_]\w*", part) else f"`{part}`" for part in parts)


def _choose(command: str) -> str:
    return f"Choose another one in resources/ or by --var; {command} lists them"
