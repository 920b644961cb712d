"""`kedro engine check --connect` and `kedro jobs apply-policies`, as a user types them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from lakehouse_ml.cli.commands import cli
from workspace.conftest import ADA, EXPERIMENT, ROBOT, SCHEMA, VirtualWaits
from workspace.routes import Workspace
from workspace.server import WorkspaceServer, denied

PROJECT = Path(__file__).resolve().parents[2]
PROD = ("--env", "prod", "--connect", "--var", "catalog=main", "--var", f"service_principal={ROBOT}")


def typed(*words: str) -> Result:
    """What a command prints; whatever it raises but its exit code is a defect."""
    bootstrap_project(PROJECT)
    result = CliRunner().invoke(cli, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    assert "token-of-" not in result.output
    return result


def test_a_target_that_has_everything_is_a_line_for_each_thing_and_exit_code_0(server: WorkspaceServer) -> None:
    result = typed("engine", "check", *PROD)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == f"identity   {ADA} at {server.host} (personal token)"
    assert lines[1] == f"jobs       run as {ROBOT}, whose rights are checked below"
    labels = [re.split(r" {2,}|(?<=experiment) |(?<=serverless) ", line)[0] for line in lines[2:]]
    assert labels == [
        "catalog", "schema", "tables", "files", "landing", "experiment", "registry", "runtime", "node type",
        "node type", "node type", "serverless",
    ]  # fmt: skip
    assert f"experiment {EXPERIMENT}: CAN_MANAGE" in lines


def test_what_is_missing_is_exit_code_1_and_its_command_repeats_the_variables(
    server: WorkspaceServer, workspace: Workspace
) -> None:
    del workspace.securables["volume", f"{SCHEMA}.files"]
    result = typed("engine", "check", *PROD)
    assert result.exit_code == 1
    assert (
        f"missing    files volume {SCHEMA}.files does not exist. Whoever deploys runs: databricks bundle deploy "
        f"-t prod --var catalog=main --var service_principal={ROBOT}\n"
    ) in result.output


def test_what_can_not_be_asked_is_exit_code_0(server: WorkspaceServer) -> None:
    server.plant("GET /api/2.1/clusters/*", denied())
    result = typed("engine", "check", *PROD)
    assert result.exit_code == 0
    assert "runtime    18.x-scala2.13: not checked: PERMISSION_DENIED: You do not have permission\n" in result.output


def test_a_policy_of_the_target_is_looked_up(server: WorkspaceServer, workspace: Workspace) -> None:
    result = typed("engine", "check", *PROD, "--var", "policy=ABC", "--var", "warehouse=w-1")
    assert result.exit_code == 1
    assert "warehouse  w-1 (reports)\n" in result.output
    assert "A workspace administrator runs: kedro jobs apply-policies --target prod; then deploy with" in result.output
    workspace.policies["ABC"] = {"policy_id": "ABC", "name": "x", "definition": "{}"}
    result = typed("engine", "check", *PROD, "--var", "policy=ABC")
    assert (result.exit_code, "policy     ABC\n" in result.output) == (0, True)


def test_names_of_development_are_those_of_who_is_signed_in(server: WorkspaceServer, workspace: Workspace) -> None:
    result = typed("engine", "check", "--env", "dev", "--connect", "--var", "catalog=main")
    assert result.exit_code == 1
    assert "missing    schema main.lakehouse_ml_ada does not exist. Whoever deploys runs: databricks" in result.output
    assert f"missing    experiment /Users/{ADA}/[dev ada] lakehouse-ml-dev does not exist." in result.output
    workspace.add("schema", "main.lakehouse_ml_ada", ADA)
    for volume in ("files", "landing"):
        workspace.add("volume", f"main.lakehouse_ml_ada.{volume}", ADA)
    workspace.experiments[f"/Users/{ADA}/[dev ada] lakehouse-ml-dev"] = "78"
    workspace.permissions["experiments", "78"] = {ADA: "CAN_MANAGE"}
    result = typed("engine", "check", "--env", "dev", "--connect", "--var", "catalog=main")
    assert result.exit_code == 0, result.output


def test_an_environment_whose_conf_names_the_lake_is_asked_about_too(
    server: WorkspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = typed("engine", "check", "--env", "connect", "--connect")
    assert (result.exit_code, server.requests) == (1, [])
    assert "lake: LAKEHOUSE_CATALOG is not set. Set this environment variable" in result.output
    for name, value in {
        "CATALOG": "main", "SCHEMA": "lakehouse_ml_prod", "EXPERIMENTS": f"/Users/{ADA}",
        "LANDING": "/Volumes/main/lakehouse_ml_prod/landing",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"LAKEHOUSE_{name}", value)
    result = typed("engine", "check", "--env", "connect", "--connect")
    assert result.exit_code == 0, result.output
    assert f"experiment /Users/{ADA}/lakehouse-ml-connect: the first run creates it" in result.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--connect",), "Error: local is in no workspace, so --connect has nothing to ask."),
        (("--env", "prod", "--connect"), "Error: prod: catalog is not set. Add --var catalog=<catalog>, or set BUN"),
        (("--env", "spark", "--var", "catalog=main"), "Error: --var: spark is no target of databricks.yml, and has "),
        (("--env", "prod", "--connect", "--var", "catalog"), "Error: --var: 'catalog' has no =."),
        (("--env", "prodd", "--connect"), "There is no environment prodd"),
    ],
)  # fmt: skip
def test_what_can_not_be_checked_is_a_sentence_before_anything_is_asked(
    server: WorkspaceServer, words: tuple[str, ...], sentence: str
) -> None:
    result = typed("engine", "check", *words)
    assert (result.exit_code, server.requests) == (1, [])
    assert sentence in result.output


def test_variables_of_a_target_are_described_without_a_workspace_too(
    server: WorkspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "client.5.1")
    result = typed("engine", "check", "--env", "prod", "--var", "catalog=other")
    assert "lake       other.lakehouse_ml_prod (a schema of Unity Catalog)" in result.output
    assert server.requests == []


@pytest.mark.parametrize("command", [("engine", "check", *PROD), ("jobs", "apply-policies", "--target", "prod")])
def test_without_a_workspace_both_commands_say_how_to_name_one(
    server: WorkspaceServer, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.delenv("DATABRICKS_HOST")
    result = typed(*command)
    assert result.exit_code == 1
    assert result.output.startswith("Error: No workspace is named: neither DATABRICKS_HOST nor a profile of ")


def test_policies_are_applied_twice_with_one_effect(
    server: WorkspaceServer, workspace: Workspace, waits: VirtualWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = typed("jobs", "apply-policies", "--target", "prod")
    assert result.exit_code == 1
    assert f"Error: {ADA} may not create or change cluster policies at {server.host}" in result.output
    monkeypatch.setenv("DATABRICKS_TOKEN", "token-of-root")
    for effect in ("created", "unchanged"):
        result = typed("jobs", "apply-policies", "--target", "prod", "--var", "copy=_pr_12")
        jobs, notebooks = workspace.policies
        assert result.output.splitlines() == [
            f"lakehouse_ml_prod_pr_12_jobs: {effect}, id {jobs}; deploy with --var policy={jobs}",
            f"lakehouse_ml_prod_pr_12_notebooks: {effect}, id {notebooks}; for notebook clusters "
            f"--var notebook_policy={notebooks}",
        ]
        assert result.exit_code == 0
