"""Cluster policies are created or changed by name, once, whatever happens to the answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lakehouse_ml.errors import EngineError
from lakehouse_ml.operations.bundle.bundle import Bundle, load_bundle
from lakehouse_ml.operations.connection import client
from lakehouse_ml.operations.connection.client import connect
from lakehouse_ml.operations.connection.policies import Applied, apply_policy
from workspace.conftest import VirtualWaits
from workspace.routes import Refusal, Workspace
from workspace.server import Fault, WorkspaceServer, broken, busy, lost, unavailable

CREATE, EDIT = "POST /api/2.0/policies/clusters/create", "POST /api/2.0/policies/clusters/edit"
LIST = "GET /api/2.0/policies/clusters/list"
DEFINITION = {"cluster_type": {"type": "fixed", "value": "job"}}


@pytest.fixture(autouse=True)
def _as_administrator(server: WorkspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "token-of-root")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    (tmp_path / "databricks.yml").write_text(
        'bundle: {name: some}\nvariables: {copy: {default: ""}}\ntargets: {dev: {default: true}, prod: {}}\n'
    )
    return load_bundle(tmp_path, "prod")


def apply(bundle: Bundle, definition: dict[str, Any] | None = None, stem: str = "jobs") -> Applied:
    return apply_policy(connect(), bundle, stem, DEFINITION if definition is None else definition)


def names(workspace: Workspace) -> list[str]:
    return [policy["name"] for policy in workspace.policies.values()]


def test_a_policy_is_created_then_left_alone_then_changed(
    server: WorkspaceServer, workspace: Workspace, bundle: Bundle
) -> None:
    effects = [apply(bundle), apply(bundle), apply(bundle, {}), apply(bundle, {})]
    identity = effects[0].identity
    assert [str(one) for one in effects] == [
        f"some_prod_jobs: {effect}, id {identity}; deploy with --var policy={identity}"
        for effect in ("created", "unchanged", "changed", "unchanged")
    ]
    assert workspace.policies[identity]["definition"] == "{}"
    assert (server.count(CREATE), server.count(EDIT)) == (1, 1)


def test_each_file_target_and_copy_has_its_policy(
    server: WorkspaceServer, workspace: Workspace, bundle: Bundle, tmp_path: Path
) -> None:
    apply(bundle)
    notebooks = apply(bundle, stem="notebooks")
    apply(load_bundle(tmp_path, "dev", {"copy": "_pr_12"}))
    assert names(workspace) == ["some_prod_jobs", "some_prod_notebooks", "some_dev_pr_12_jobs"]
    assert str(notebooks).endswith(f"; for notebook clusters --var notebook_policy={notebooks.identity}")


def test_what_others_set_in_a_policy_stays(server: WorkspaceServer, workspace: Workspace, bundle: Bundle) -> None:
    identity = apply(bundle).identity
    workspace.policies[identity] |= {
        "description": "ask Ada",
        "max_clusters_per_user": 2,
        "libraries": [{"pypi": {"package": "x"}}],
    }
    apply(bundle, {})
    policy = workspace.policies[identity]
    assert (policy["description"], policy["max_clusters_per_user"]) == ("ask Ada", 2)
    assert policy["libraries"] == [{"pypi": {"package": "x"}}]


def test_the_order_and_the_spelling_of_a_definition_are_no_change(
    server: WorkspaceServer, workspace: Workspace, bundle: Bundle
) -> None:
    definition = {"b": {"type": "unlimited"}, "a": {"type": "unlimited"}}
    identity = apply(bundle, definition).identity
    workspace.policies[identity]["definition"] = json.dumps(definition, indent=4, sort_keys=True)
    assert apply(bundle, definition).effect == "unchanged"
    workspace.policies[identity]["definition"] = "written by hand {"
    assert apply(bundle, definition).effect == "changed"


@pytest.mark.parametrize("fault", [lost(times=1), lost(times=2)])
def test_a_policy_whose_answer_got_lost_is_not_created_again(
    server: WorkspaceServer, workspace: Workspace, waits: VirtualWaits, bundle: Bundle, fault: Fault
) -> None:
    server.plant(CREATE, fault)
    applied = apply(bundle)
    assert (applied.effect, applied.identity) == ("created", next(iter(workspace.policies)))
    assert (server.count(CREATE), names(workspace)) == (1, ["some_prod_jobs"])


def test_an_answer_that_comes_too_late_is_a_lost_one(
    server: WorkspaceServer,
    workspace: Workspace,
    waits: VirtualWaits,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "LIMITS", replace(client.LIMITS, answer=0.4))
    server.plant(CREATE, Fault(seconds=0.6, times=1))
    assert apply(bundle).effect == "created"
    assert names(workspace) == ["some_prod_jobs"]


def test_a_change_whose_answer_got_lost_is_a_change(
    server: WorkspaceServer, waits: VirtualWaits, bundle: Bundle
) -> None:
    apply(bundle)
    server.plant(EDIT, lost(times=1))
    assert apply(bundle, {}).effect == "changed"
    assert server.count(EDIT) == 1


@pytest.mark.parametrize("fault", [busy(times=1), unavailable(times=1), broken(times=1), busy(times=2)])
def test_a_request_that_had_no_effect_is_sent_again(
    server: WorkspaceServer, workspace: Workspace, waits: VirtualWaits, bundle: Bundle, fault: Fault
) -> None:
    server.plant(CREATE, fault)
    assert apply(bundle).effect == "created"
    assert names(workspace) == ["some_prod_jobs"]


def test_a_name_that_somebody_else_took_meanwhile_is_looked_up(
    server: WorkspaceServer, workspace: Workspace, waits: VirtualWaits, bundle: Bundle
) -> None:
    connection = connect()
    identity = connection.client.cluster_policies.create(name="some_prod_jobs", definition="{}").policy_id
    empty = workspace.policies.pop(str(identity))

    def come_back(seconds: float) -> None:
        workspace.policies[str(identity)] = empty

    waits.pause = come_back  # type: ignore[method-assign]
    server.plant(
        CREATE, Fault(Refusal(400, "INVALID_PARAMETER_VALUE", "Policy some_prod_jobs already exists."), times=1)
    )
    assert apply(bundle).effect == "changed"
    assert names(workspace) == ["some_prod_jobs"]


@pytest.mark.parametrize("pattern", [CREATE, LIST])
@pytest.mark.parametrize("fault", [unavailable(), lost(), broken()])
def test_a_workspace_that_does_not_answer_is_a_sentence_and_run_again_completes(
    server: WorkspaceServer, workspace: Workspace, waits: VirtualWaits, bundle: Bundle, pattern: str, fault: Fault
) -> None:
    fault = replace(fault)
    if fault.is_lost and pattern == CREATE:
        server.plant(LIST, replace(fault, skip=1))
    server.plant(pattern, fault)
    with pytest.raises(EngineError, match=r"^some_prod_jobs: the workspace does not answer .+ --target prod$"):
        apply(bundle)
    server.faults.clear()
    assert apply(bundle).effect == ("unchanged" if fault.is_lost and pattern == CREATE else "created")
    assert names(workspace) == ["some_prod_jobs"]


def test_who_may_not_create_policies_is_told_who_may(
    server: WorkspaceServer, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "token-of-ada")
    with pytest.raises(
        EngineError, match=r"ada@example.org may not .+ administrator runs: kedro jobs apply-policies --t"
    ):
        apply(bundle)
    assert server.count(CREATE) == 1


def test_two_policies_of_one_name_are_left_to_their_owner(
    server: WorkspaceServer, workspace: Workspace, bundle: Bundle
) -> None:
    workspace.policies = {key: {"policy_id": key, "name": "some_prod_jobs", "definition": "{}"} for key in ("A", "B")}
    with pytest.raises(EngineError, match=r"There are 2 policies some_prod_jobs \(A, B\)\. Delete all but one"):
        apply(bundle)


def test_a_definition_that_the_workspace_refuses_is_named(server: WorkspaceServer, bundle: Bundle) -> None:
    server.plant(CREATE, Fault(Refusal(400, "INVALID_PARAMETER_VALUE", "The policy is too long.")))
    with pytest.raises(
        EngineError, match=r"^some_prod_jobs: the workspace refuses it: INVALID_PARAMETER_VALUE: The po"
    ):
        apply(bundle)
    assert server.count(CREATE) == 1
