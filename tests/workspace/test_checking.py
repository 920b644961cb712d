"""What a target needs is asked of the workspace: what is there, what is missing and its remedy, what stays unasked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lakehouse_ml.operations.connection import client
from lakehouse_ml.operations.connection.asking import Interview
from lakehouse_ml.operations.connection.client import connect
from lakehouse_ml.operations.connection.judging import Finding, judge
from lakehouse_ml.operations.connection.needs import Folder, Needs
from workspace.conftest import ADA, EXPERIMENT, ROBOT, SCHEMA, VirtualWaits
from workspace.routes import Workspace
from workspace.server import WorkspaceServer, busy, denied, lost, slow, unavailable

DEPLOY = "databricks bundle deploy -t prod"
NEEDS = Needs(
    schema=SCHEMA,
    models=SCHEMA,
    folders=(
        Folder("files", "/Volumes/main/lakehouse_ml_prod/files", ("READ_VOLUME", "WRITE_VOLUME")),
        Folder("landing", "/Volumes/main/lakehouse_ml_prod/landing/churn", ("READ_VOLUME",)),
    ),
    experiment=EXPERIMENT,
    service_principal=ROBOT,
    creates=frozenset({SCHEMA, f"{SCHEMA}.files", f"{SCHEMA}.landing", EXPERIMENT}),
    deploy=DEPLOY,
    target="prod",
    runtimes=("18.x-scala2.13",),
    node_types=("m6id.2xlarge", "r6id.xlarge", "m6id.xlarge"),
    pools=("pool-1",),
    warehouses=("w-1",),
    is_serverless=True,
)
# A laptop's: Ada's own, without a bundle.
OWN = Needs(
    schema=SCHEMA,
    models=SCHEMA,
    folders=(Folder("landing", "s3://bucket/raw", ("READ_VOLUME",)),),
    experiment=f"/Users/{ADA}/lakehouse-ml-connect",
)


def check(needs: Needs = NEEDS) -> list[Finding]:
    connection = connect()
    return judge(needs, Interview(connection, needs).ask_everything())


def missing(findings: list[Finding]) -> list[str]:
    return [str(finding).removeprefix("missing").strip() for finding in findings if finding.is_missing]


def unchecked(findings: list[Finding]) -> list[str]:
    return [str(finding) for finding in findings if "not checked" in finding.text]


def test_a_workspace_that_has_everything_lacks_nothing(server: WorkspaceServer) -> None:
    findings = check()
    assert missing(findings) == []
    assert [str(finding) for finding in findings] == [
        f"jobs       run as {ROBOT}, whose rights are checked below",
        "catalog    main: USE CATALOG",
        f"schema     {SCHEMA}: USE SCHEMA",
        f"tables     {SCHEMA}: CREATE TABLE, SELECT, MODIFY",
        f"files      {SCHEMA}.files: READ VOLUME, WRITE VOLUME",
        f"landing    {SCHEMA}.landing: READ VOLUME",
        f"experiment {EXPERIMENT}: CAN_MANAGE",
        f"registry   {SCHEMA}: CREATE MODEL",
        "runtime    18.x-scala2.13",
        "node type  m6id.2xlarge",
        "node type  r6id.xlarge",
        "node type  m6id.xlarge",
        "pool       pool-1 (warm)",
        "warehouse  w-1 (reports)",
        "serverless not checked: no request says whether it is enabled; databricks bundle run smoke -t prod tries it",
    ]


def revoke(kind: str, name: str, principal: str, privilege: str) -> Callable[[Workspace], object]:
    return lambda workspace: workspace.grants[kind, name][principal].remove(privilege)


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            revoke("catalog", "main", "account users", "USE_CATALOG"),
            [
                f"catalog main: USE CATALOG. ds, who owns the catalog, runs: GRANT USE CATALOG ON CATALOG main TO "
                f"`{ROBOT}`"
            ],
        ),
        (
            revoke("schema", SCHEMA, ROBOT, "USE_SCHEMA"),
            [
                f"schema {SCHEMA}: USE SCHEMA. {ADA}, who owns the schema, runs: GRANT USE SCHEMA ON SCHEMA {SCHEMA} "
                f"TO "
                f"`{ROBOT}`"
            ],
        ),
        (
            lambda workspace: workspace.grants["schema", SCHEMA][ROBOT].difference_update({"SELECT", "CREATE_TABLE"}),
            [
                f"tables {SCHEMA}: CREATE TABLE, SELECT. {ADA}, who owns the schema, runs: GRANT CREATE TABLE, SELECT "
                f"ON "
                f"SCHEMA {SCHEMA} TO `{ROBOT}`"
            ],
        ),
        (
            revoke("schema", SCHEMA, ROBOT, "CREATE_MODEL"),
            [
                f"registry {SCHEMA}: CREATE MODEL. {ADA}, who owns the schema, runs: GRANT CREATE MODEL ON SCHEMA "
                f"{SCHEMA} TO `{ROBOT}`"
            ],
        ),
        (
            revoke("volume", f"{SCHEMA}.files", ROBOT, "WRITE_VOLUME"),
            [
                f"files {SCHEMA}.files: WRITE VOLUME. {ADA}, who owns the volume, runs: GRANT WRITE VOLUME ON VOLUME "
                f"{SCHEMA}.files TO `{ROBOT}`"
            ],
        ),
        (
            lambda workspace: workspace.securables.pop(("volume", f"{SCHEMA}.landing")),
            [f"landing volume {SCHEMA}.landing does not exist. Whoever deploys runs: {DEPLOY}"],
        ),
        (
            lambda workspace: workspace.securables.pop(("catalog", "main")),
            [
                "catalog main does not exist. A metastore administrator runs: CREATE CATALOG main; or name another "
                "one: "
                "--var catalog=<catalog>"
            ],
        ),
        (
            lambda workspace: workspace.experiments.clear(),
            [f"experiment {EXPERIMENT} does not exist. Whoever deploys runs: {DEPLOY}"],
        ),
        (
            lambda workspace: (workspace.experiments.clear(), workspace.folders.clear()),
            [
                f"experiment {EXPERIMENT}: its folder /Users/{ROBOT} does not exist. Whoever may write there runs: "
                f"databricks workspace mkdirs /Users/{ROBOT}"
            ],
        ),
        (
            lambda workspace: workspace.permissions["experiments", "77"].update({ROBOT: "CAN_READ"}),
            [
                f"experiment {EXPERIMENT}: CAN EDIT for {ROBOT}. Whoever manages {EXPERIMENT} runs: databricks "
                f"experiments update-permissions 77 --json '{{\"access_control_list\": [{{\"service_principal_name\": "
                f'"{ROBOT}", "permission_level": "CAN_EDIT"}}]}}\''
            ],
        ),
        (
            lambda workspace: workspace.identities.pop("token-of-robot"),
            [
                f"jobs run as {ROBOT}, a service principal that the workspace does not have. A workspace administrator "
                f"runs: databricks service-principals create --json '{{\"applicationId\": \"{ROBOT}\", "
                f"\"displayName\": "
                f"\"lakehouse-ml\"}}'"
            ],
        ),
        (
            lambda workspace: workspace.runtimes.remove("18.x-scala2.13"),
            [
                "runtime 18.x-scala2.13 is not offered. Did you mean 17.3.x-scala2.13? Choose another one in "
                "resources/ or by --var; databricks clusters spark-versions lists them"
            ],
        ),
        (
            lambda workspace: workspace.node_types.update({"r6id.xlarge": ["NotEnabledOnSubscription"]}),
            [
                "node type r6id.xlarge: NotEnabledOnSubscription. Choose another one in resources/ or by "
                "--var; databricks clusters list-node-types lists them"
            ],
        ),
        (
            lambda workspace: workspace.warehouses.clear(),
            [
                "warehouse w-1 does not exist. Choose another one in resources/ or by --var; databricks warehouses "
                "list "
                "lists them"
            ],
        ),
        (
            lambda workspace: workspace.pools.clear(),
            [
                "pool pool-1 does not exist. Choose another one in resources/ or by --var; databricks "
                "instance-pools list lists them"
            ],
        ),
        (
            lambda workspace: setattr(workspace, "metastore", ""),
            [
                "serverless needs Unity Catalog, and the workspace has no metastore. An account administrator assigns "
                "one: databricks account metastore-assignments create <workspace id> <metastore id>"
            ],
        ),
    ],
)  # fmt: skip
def test_each_missing_thing_is_named_with_the_command_that_mends_it_and_who_runs_it(
    server: WorkspaceServer, workspace: Workspace, change: Callable[[Workspace], object], lines: list[str]
) -> None:
    change(workspace)
    assert missing(check()) == lines


def test_without_a_schema_nothing_in_it_is_asked_about(server: WorkspaceServer, workspace: Workspace) -> None:
    for kind, name in list(workspace.securables):
        if kind != "catalog":
            del workspace.securables[kind, name]
    findings = check()
    assert [line.split(".")[0] for line in missing(findings)] == [
        "schema main",
        "files volume main",
        "landing volume main",
    ]
    for label in ("tables", "registry"):
        assert f"{label:<11}{SCHEMA}: not checked: the schema does not exist yet" in unchecked(findings)


def test_who_may_not_create_the_schema_is_told_who_lets_them(server: WorkspaceServer, workspace: Workspace) -> None:
    workspace.securables = {("catalog", "main"): "platform-team"}
    lines = missing(check(replace(NEEDS, service_principal="")))
    assert lines[0] == (
        f"schema {SCHEMA} does not exist. Whoever deploys runs: {DEPLOY}; before that, platform-team, who owns the "
        f"catalog, runs: GRANT CREATE SCHEMA ON CATALOG main TO `{ADA}`"
    )


def test_an_owner_needs_no_grant(server: WorkspaceServer, workspace: Workspace) -> None:
    workspace.grants.clear()
    assert missing(check(OWN)) == []
    workspace.securables["schema", SCHEMA] = "ds"
    assert missing(check(OWN)) == []


def test_all_privileges_are_each_of_them_and_inherited_ones_count(
    server: WorkspaceServer, workspace: Workspace
) -> None:
    workspace.grants = {("catalog", "main"): {"robots": {"ALL_PRIVILEGES"}}}
    assert missing(check()) == []


def test_every_page_of_grants_is_read_also_behind_an_empty_one(server: WorkspaceServer, workspace: Workspace) -> None:
    for number in range(3):
        workspace.grant("schema", SCHEMA, f"a-group-{number}", "SELECT")
    assert workspace.page_size == 1
    assert missing(check()) == []
    assert server.count(f"GET /api/2.1/unity-catalog/effective-permissions/schema/{SCHEMA}") > 4


def test_who_owns_nothing_reads_grants_to_their_groups(server: WorkspaceServer, workspace: Workspace) -> None:
    workspace.securables = dict.fromkeys(workspace.securables, "platform-team")
    workspace.grant("schema", SCHEMA, "ds", "USE_SCHEMA", "CREATE_TABLE", "SELECT", "CREATE_MODEL")
    assert missing(check(OWN)) == [
        f"tables {SCHEMA}: MODIFY. platform-team, who owns the schema, runs: GRANT MODIFY ON SCHEMA {SCHEMA} TO `{ADA}`"
    ]


def test_grants_that_nobody_lets_me_read_are_not_missing(server: WorkspaceServer, workspace: Workspace) -> None:
    workspace.securables = dict.fromkeys(workspace.securables, "platform-team")
    workspace.grant("schema", SCHEMA, "ds", "BROWSE")
    workspace.grants["schema", SCHEMA][ROBOT].clear()
    findings = check()
    assert missing(findings) == []
    statement = f"GRANT CREATE TABLE, SELECT, MODIFY ON SCHEMA {SCHEMA} TO `{ROBOT}`"
    assert (
        f"tables     {SCHEMA}: not checked: CREATE TABLE, SELECT, MODIFY (PERMISSION_DENIED: User is not an owner of "
        f"Schema '{SCHEMA}'). If it is missing: {statement}"
    ) in unchecked(findings)


@pytest.mark.parametrize(
    ("pattern", "label", "line"),
    [
        ("GET /api/2.1/unity-catalog/*/main", "catalog", "main: not checked: USE CATALOG (PERMISSION_DENIED: No)"),
        ("GET /api/2.1/unity-catalog/*/*.files", "files", f"{SCHEMA}.files: not checked: READ VOLUME, WRITE VOLUME ("),
        ("GET /api/2.0/mlflow/*", "experiment", f"{EXPERIMENT}: not checked: PERMISSION_DENIED: No"),
        ("GET /api/2.0/permissions/*", "experiment", f"{EXPERIMENT}; not checked: who may edit it (PERM"),
        ("GET /api/2.1/clusters/spark-versions", "runtime", "18.x-scala2.13: not checked: PERMISSION_DENIED: No"),
        ("GET /api/2.1/clusters/list-node-types", "node type", "m6id.2xlarge: not checked: PERMISSION_DENIED: No"),
        ("GET /api/2.0/instance-pools/get", "pool", "pool-1: not checked: PERMISSION_DENIED: No"),
        ("GET /api/2.0/sql/warehouses/*", "warehouse", "w-1: not checked: PERMISSION_DENIED: No"),
        ("GET /api/2.0/policies/clusters/list", "policy", "ABC: not checked: PERMISSION_DENIED: No"),
    ],
)  # fmt: skip
def test_what_must_not_be_asked_is_not_checked_and_nothing_else_is_missing(
    server: WorkspaceServer, pattern: str, label: str, line: str
) -> None:
    server.plant(pattern, denied("No."))
    findings = check(replace(NEEDS, policies=("ABC",)) if label == "policy" else NEEDS)
    assert missing(findings) == []
    assert [text for text in unchecked(findings) if text.startswith(f"{label:<11}{line}")] != []


def test_a_service_principal_whose_groups_are_secret_is_judged_by_its_own_grants(
    server: WorkspaceServer, workspace: Workspace
) -> None:
    server.plant("GET /api/2.0/preview/scim/v2/ServicePrincipals", denied("No."))
    findings = check()
    assert missing(findings) == []
    assert str(findings[0]) == f"jobs       run as {ROBOT}; not checked: its groups (PERMISSION_DENIED: No)"
    assert [text.split(":")[0] for text in unchecked(findings)[1:-1]] == [f"landing    {SCHEMA}.landing"]


@pytest.mark.parametrize("fault", [busy(times=2), unavailable(times=2), lost(times=1)])
def test_faults_that_pass_change_no_judgement(server: WorkspaceServer, waits: VirtualWaits, fault: object) -> None:
    server.plant("GET /api/2.1/unity-catalog/*", fault)  # type: ignore[arg-type]
    assert missing(check()) == []
    assert waits.pauses != []


def test_a_workspace_that_stops_answering_leaves_everything_unchecked_within_the_time_for_questions(
    server: WorkspaceServer, waits: VirtualWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LIMITS", replace(client.LIMITS, total=8))
    server.plant("GET /api/2.[01]/[!p]*", unavailable())
    findings = check()
    assert missing(findings) == []
    assert len(unchecked(findings)) == len(findings) - 1
    assert sum("the time for questions was over" in text for text in unchecked(findings)) > 5
    assert sum(waits.pauses) < 8 + 2 * client.RETRY_SECONDS


def test_one_slow_question_is_not_checked(
    server: WorkspaceServer, waits: VirtualWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LIMITS", replace(client.LIMITS, answer=0.4, retry=1))
    server.plant("GET /api/2.0/instance-pools/get", slow(30))
    findings = check()
    assert missing(findings) == []
    assert "pool       pool-1: not checked: no answer in time" in unchecked(findings)


def test_an_experiment_that_the_first_run_creates_needs_its_folder(
    server: WorkspaceServer, workspace: Workspace
) -> None:
    name = f"/Users/{ADA}/lakehouse-ml-connect"
    assert f"experiment {name}: the first run creates it in /Users/{ADA}: CAN_MANAGE" in map(str, check(OWN))
    workspace.permissions["directories", "9"] = {ADA: "CAN_READ"}
    assert missing(check(OWN)) == [
        f"experiment {name}: the first run creates it in /Users/{ADA}: CAN EDIT for {ADA}. Whoever manages "
        f"/Users/{ADA} "
        f'runs: databricks workspace update-permissions directories 9 --json \'{{"access_control_list": '
        f'[{{"user_name": "{ADA}", "permission_level": "CAN_EDIT"}}]}}\''
    ]


def test_without_a_bundle_the_schema_and_its_volumes_are_created_by_hand(
    server: WorkspaceServer, workspace: Workspace
) -> None:
    del workspace.securables["schema", SCHEMA]
    assert missing(check(OWN)) == [
        f"schema {SCHEMA} does not exist. Whoever has CREATE SCHEMA on catalog main runs: CREATE SCHEMA {SCHEMA}"
    ]


def test_a_landing_folder_outside_of_volumes_is_not_checked(server: WorkspaceServer) -> None:
    assert "landing    s3://bucket/raw: not checked: it is in no Volume; the job smoke tries it" in unchecked(
        check(OWN)
    )


def test_a_cluster_and_a_policy_that_do_not_exist_are_missing(server: WorkspaceServer, workspace: Workspace) -> None:
    needs = replace(NEEDS, cluster="0101-abc", policies=("ABC",))
    assert [line.partition(". ")[0] for line in missing(check(needs))] == [
        f"policy ABC is not among the policies that {ADA} sees",
        "cluster 0101-abc does not exist",
    ]
    workspace.clusters["0101-abc"] = "shared"
    workspace.policies["ABC"] = {"policy_id": "ABC", "name": "x", "definition": "{}"}
    findings = check(needs)
    assert missing(findings) == []
    assert "cluster    0101-abc (shared)" in map(str, findings)


def test_models_of_another_schema_are_checked_there(server: WorkspaceServer, workspace: Workspace) -> None:
    needs = replace(NEEDS, models="models.shared")
    lines = missing(check(needs))
    assert lines[0].startswith("catalog models does not exist.")
    workspace.add("catalog", "models", "ds")
    workspace.add("schema", "models.shared", "ds")
    assert [line.partition(" ds,")[0] for line in missing(check(needs))] == [
        "catalog models: USE CATALOG.",
        "schema models.shared: USE SCHEMA.",
        "registry models.shared: CREATE MODEL.",
    ]
