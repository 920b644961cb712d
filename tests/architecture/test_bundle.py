"""The bundle's targets are sound, its resources have Databricks' own types, and each planted mistake is found."""

from __future__ import annotations

import importlib
import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from databricks.bundles.clusters import Cluster
from kedro.framework.startup import bootstrap_project

from lakehouse_ml.cli import jobs
from lakehouse_ml.cli.commands import cli
from lakehouse_ml.operations.bundle.bundle import Bundle, load_bundle
from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.preflight.conf import ADDRESSES
from lakehouse_ml.use_cases import USE_CASES

PROJECT = Path(__file__).resolve().parents[2]
TARGETS = ("dev", "staging", "prod")
# What whoever deploys has to say.
VALUES = {"catalog": "main", "service_principal": "00000000-0000-0000-0000-000000000000", "alerts": "us@example.org"}
VALUES |= {"warehouse": "0123456789abcdef"}
TYPES = {
    "jobs": "jobs.Job",
    "schemas": "schemas.Schema",
    "volumes": "volumes.Volume",
    "experiments": "experiments.MlflowExperiment",
    "secret_scopes": "secret_scopes.SecretScope",  # pragma: allowlist secret
    "clusters": "clusters.Cluster",
    "dashboards": "dashboards.Dashboard",
}


@pytest.fixture(scope="module", autouse=True)
def _project() -> None:
    bootstrap_project(PROJECT)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of what describes jobs, which the commands take for their checkout."""
    shutil.copytree(PROJECT / "resources", tmp_path / "resources")
    for name in ("databricks.yml", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / "conf").symlink_to(PROJECT / "conf")
    monkeypatch.setattr(jobs, "PROJECT", tmp_path)
    for name in VALUES:
        monkeypatch.delenv(f"BUNDLE_VAR_{name}", raising=False)
    return tmp_path


def bundle(target: str, root: Path = PROJECT) -> Bundle:
    return load_bundle(root, target, VALUES)


# --- as shipped


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_sound_once_its_variables_are_set(checkout: Path, target: str) -> None:
    assert jobs.judge(bundle(target, checkout)) == []


def test_without_a_catalog_the_check_says_what_a_deployment_needs(checkout: Path) -> None:
    result = CliRunner().invoke(cli, ["jobs", "check"])
    assert result.output == (
        "dev: no problems found in 8 jobs with 26 tasks.\n"
        "Checked without a value of catalog: a deployment needs --var catalog=<value>.\n"
    )
    assert result.exit_code == 0


def test_production_asks_for_an_identity_an_address_and_a_warehouse(checkout: Path) -> None:
    result = CliRunner().invoke(cli, ["jobs", "check", "--target", "prod", "--var", "catalog=main"])
    assert result.exit_code == 1
    nobody_told, nobody_runs, no_warehouse = result.output.splitlines()
    assert "nobody is told when churn_score, " in nobody_told
    assert "--var alerts=<e-mail address>" in nobody_told
    assert nobody_runs.endswith(
        "the jobs of prod run as whoever deploys: name a service principal, --var service_principal=<application id>."
    )
    assert no_warehouse.endswith("the dashboard lakehouse_ml has no warehouse: name one, --var warehouse=<id>.")


@pytest.mark.parametrize("target", TARGETS)
def test_every_resource_has_databricks_own_type(target: str) -> None:
    resources = bundle(target).resources
    assert resources.keys() <= TYPES.keys()
    for kind, entries in resources.items():
        module, _, name = TYPES[kind].partition(".")
        of_databricks: Any = getattr(importlib.import_module(f"databricks.bundles.{module}"), name)
        for fields in entries.values():
            of_databricks.from_dict(dict(fields))


def test_each_use_case_has_its_jobs_and_each_stage_a_task() -> None:
    all_jobs = bundle("prod").jobs
    for use_case in USE_CASES:
        own = {kind: all_jobs[f"{use_case.name}_{kind}"] for kind in ("score", "train", "backfill")}
        assert {task.use_case for job in own.values() for task in job.tasks} == {use_case.name}
        assert {task.stage for job in own.values() for task in job.tasks} == set(STAGES)
        stages = {kind: [task.stage for task in job.tasks] for kind, job in own.items()}
        assert stages["score"] == [stage for stage in STAGES if stage not in ("training", "evaluation")]
        assert stages["train"] == list(STAGES[: STAGES.index("evaluation") + 1])
        assert stages["backfill"] == ["batch_scoring", "monitoring"]
        assert all(task.key == task.stage for job in own.values() for task in job.tasks)


@pytest.mark.parametrize("target", TARGETS)
def test_every_job_passes_its_lake_on(target: str) -> None:
    for job in bundle(target).jobs.values():
        assert set(ADDRESSES) <= job.parameters.keys()
        assert not {"${", "<"} & {text[:2] for text in job.parameters.values()}


def test_only_production_starts_jobs_by_itself() -> None:
    for target in TARGETS:
        starts = [
            start["pause_status"]
            for job in bundle(target).jobs.values()
            for start in (job.fields.get("schedule"), job.fields.get("trigger"))
            if start
        ]
        assert set(starts) == {"UNPAUSED" if target == "prod" else "PAUSED"}
        assert len(starts) == 5


def test_a_copy_of_staging_shares_no_name_with_it() -> None:
    usual = bundle("staging")
    copy = load_bundle(PROJECT, "staging", {**VALUES, "copy": "_pr_12"})
    for kind in ("jobs", "schemas", "experiments", "secret_scopes", "dashboards"):
        name = "display_name" if kind == "dashboards" else "name"
        names = [{one[name] for one in side.resources[kind].values()} for side in (usual, copy)]
        assert not names[0] & names[1], kind
    assert usual.source.sections["workspace"]["root_path"].endswith("${bundle.target}${var.copy}")


def test_without_a_warehouse_development_has_no_dashboard() -> None:
    """The CLI refuses a dashboard without one, and the first deployment needs no more than a catalog."""
    assert "dashboards" not in load_bundle(PROJECT, "dev", {"catalog": "main"}).resources
    for target in ("staging", "prod"):
        assert bundle(target).resources["dashboards"].keys() == {"lakehouse_ml"}


def test_a_dashboard_of_development_has_a_name_of_its_own(checkout: Path) -> None:
    plant(checkout, DASHBOARD, "  prod:\n", "  dev: {resources: *dashboard}\n\n  prod:\n")
    deployed = bundle("dev", checkout)
    assert jobs.judge(deployed) == []
    shown = deployed.resources["dashboards"]["lakehouse_ml"]
    assert (shown["display_name"], shown["permissions"]) == ("[dev you] lakehouse-ml-dev", [])


def test_viewers_of_the_dashboard_read_the_target_s_tables_with_their_own_rights() -> None:
    for target in ("staging", "prod"):
        shown = bundle(target).resources["dashboards"]["lakehouse_ml"]
        assert shown["embed_credentials"] is False
        assert (shown["dataset_catalog"], shown["dataset_schema"]) == ("main", f"lakehouse_ml_{target}")
        assert shown["warehouse_id"] == VALUES["warehouse"]


def test_a_target_can_have_a_cluster_for_notebooks(checkout: Path) -> None:
    plant(
        checkout, COMPUTE, "      job_clusters: {default: []}\n", f"      job_clusters: {{default: []}}\n{NOTEBOOKS}\n"
    )
    deployed = bundle("dev", checkout)
    assert jobs.judge(deployed) == []
    (cluster,) = deployed.resources["clusters"].values()
    assert cluster["cluster_name"] == "[dev you] lakehouse-ml-notebooks"
    assert cluster["autotermination_minutes"] == 30
    assert cluster["custom_tags"]["dev"] == deployed.jobs["smoke"].fields["tags"]["dev"] == "you"
    assert Cluster.from_dict(dict(cluster)).is_single_node
    result = CliRunner().invoke(cli, ["jobs", "cost", "--target", "dev", "--var", "catalog=main"])
    assert f"notebook cluster notebooks: {0.4746 + 2 * 0.55:.2f} an hour" in result.output


def test_what_exists_already_is_not_made() -> None:
    existing = load_bundle(PROJECT, "prod", VALUES)
    sections = dict(existing.source.sections)
    assert sections["resources"]["schemas"] == "${var.storage.schemas}"
    assert sections["resources"]["volumes"] == "${var.storage.volumes}"


# --- the cost


def test_the_cost_of_production_is_that_of_the_shipped_prices(checkout: Path) -> None:
    result = CliRunner().invoke(cli, ["jobs", "cost", "--target", "prod", "--var", "catalog=main"])
    rows = {cells[0]: cells[1:] for line in result.output.splitlines() if len(cells := line.split()) == 4}
    # 5 tasks of 3 minutes on serverless compute.
    a_run = 5 * 3 / 60 * 2 * 0.35
    assert rows["churn_score"] == [f"{a_run:.2f}", "30.4", f"{a_run * 1461 / 48:.2f}"]
    assert "smoke                                     0.03       by hand" in result.output
    assert "Assumed: minutes of a task: default 3, training 10; " in result.output
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("line", "mistake", "message"),
    [
        ("spot_share: 0.4 ", "spot_share: 4 ", r"base/prices\.yml, line 16: spot_share can't be 4: "),
        ("spot_share: 0.4 ", "spot_shar: 0.4 ", r"line 16: spot_shar is not a known key"),
        ("  m6id.xlarge: {dollars: 0.2373,", "  m6id.xlarge: {", r"line 9: nodes\.m6id\.xlarge\.dollars is missing"),
    ],
)
def test_a_mistake_in_the_prices_is_named_with_its_line(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, line: str, mistake: str, message: str
) -> None:
    conf = tmp_path_factory.mktemp("prices") / "conf"
    shutil.copytree(PROJECT / "conf", conf)
    file = conf / "base/prices.yml"
    text = file.read_text(encoding="utf-8")
    assert line in text
    file.write_text(text.replace(line, mistake), encoding="utf-8")
    result = CliRunner().invoke(cli, ["jobs", "cost", "--conf-source", str(conf)])
    assert re.search(message, result.output), result.output
    assert result.exit_code == 1


# --- the page

OF_DASHBOARDS = {"CAN_MANAGE": "CAN_MANAGE", "CAN_VIEW": "CAN_READ"}


def rows_of(header: str) -> list[list[str]]:
    """The cells of a table of the page, without code marks."""
    lines = (PROJECT / "docs/how-to/databricks.md").read_text(encoding="utf-8").splitlines()
    start = lines.index(header) + 2
    table = list(itertools.takewhile(lambda line: line.startswith("|"), lines[start:]))
    return [[cell.strip().replace("`", "") for cell in line.split("|")[1:-1]] for line in table]


@pytest.mark.parametrize("target", ["staging", "prod"])
def test_nobody_gets_more_rights_than_the_page_says(target: str) -> None:
    names = {"service principal": VALUES["service_principal"], "operators": "lakehouse-ml-operators"}
    names |= {"analysts": "lakehouse-ml-analysts"}
    deployed = bundle(target)
    grants = {
        (key, grant["principal"]): grant["privileges"]
        for kind, key in (("schemas", "lake"), ("volumes", "files"), ("volumes", "landing"))
        for grant in deployed.resources[kind][key]["grants"]
    }
    permissions = {one.get("group_name") or one["service_principal_name"]: one["level"] for one in deployed.permissions}
    of_dashboard = {
        one["group_name"]: one["level"] for one in deployed.resources["dashboards"]["lakehouse_ml"]["permissions"]
    }
    # The bundle's permissions count for its dashboards too, as far as these have such a level.
    of_dashboard |= {who: OF_DASHBOARDS[level] for who, level in permissions.items() if level in OF_DASHBOARDS}
    on_page = {}
    for who, level, level_of_dashboard, *privileges in rows_of(
        "| who | jobs, experiment | dashboard | schema | Volume `files` | Volume `landing` |"
    ):
        assert permissions.pop(names[who]) == level
        assert of_dashboard.pop(names[who]) == level_of_dashboard
        for key, listed in zip(("lake", "files", "landing"), privileges, strict=True):
            on_page |= {(key, names[who]): listed.split(", ")} if listed else {}
    assert grants == on_page
    assert (permissions, of_dashboard) == ({}, {})


def test_in_development_nothing_is_granted_to_others() -> None:
    deployed = bundle("dev")
    assert deployed.permissions == ()
    for kind in ("schemas", "volumes"):
        assert not any(fields["grants"] for fields in deployed.resources[kind].values())


def test_each_workload_has_the_compute_that_the_page_says() -> None:
    table = rows_of("| workload | tasks | `dev` | `staging`, `prod` |")
    for target, column in (("dev", 2), ("staging", 3), ("prod", 3)):
        kinds = bundle(target).source.sections["variables"]["compute"]["default"]
        on_page = {row[0]: row[column] for row in table}
        assert {name: kind["job_cluster_key"] or "serverless" for name, kind in kinds.items()} == on_page


# --- planted mistakes, one of each kind


def plant(checkout: Path, file: str, old: str, new: str) -> None:
    path = checkout / file
    text = path.read_text(encoding="utf-8")
    assert old in text, (file, old)
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


NOTEBOOKS = "    resources: {clusters: {notebooks: *notebooks}}"
CHURN, COMPUTE, STORAGE = "resources/churn.yml", "resources/compute.yml", "resources/storage.yml"
DASHBOARD, WIDGETS = "resources/dashboard.yml", "resources/lakehouse_ml.lvdash.json"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (CHURN, "depends_on: [{task_key: data_quality}]", "depends_on: [{task_key: data_qualty}]",
         "churn_score, task feature_engineering depends on data_qualty, which is no task of this job. "
         "Did you mean data_quality?"),
        (CHURN, "task_key: data_quality\n", "task_key: data_ingestion\n",
         "churn_score has 2 tasks with the key 'data_ingestion': rename one of them."),
        (CHURN, "task_key: data_ingestion\n", "task_key: data_ingestion\n  depends_on: [{task_key: data_quality}]\n",
         "wait for each other"),
        (CHURN, "  depends_on: [{task_key: data_quality}]\n", "",
         "task feature_engineering reads results of data_quality and does not wait for it: add depends_on: "
         "[{task_key: data_quality}]."),
        (CHURN, "depends_on: [{task_key: data_quality}]",
         "depends_on: [{task_key: data_quality}, {task_key: monitoring}]",
         "wait for each other"),
        (CHURN, "  environment_key: ${var.compute.fit.environment_key}\n", "  environment_key: gpu\n",
         "task training: environment_key is gpu, which this job does not declare. Known: lakehouse_ml."),
        (CHURN, "  job_cluster_key: ${var.compute.fit.job_cluster_key}\n", "  job_cluster_key: singel_node\n",
         "task training: job_cluster_key is singel_node, which this job does not declare. Did you mean single_node?"),
        (CHURN, "  environment_key: ${var.compute.fit.environment_key}\n", "  environment_key: lakehouse_ml\n",
         "task training names environment_key and job_cluster_key: it takes one kind."),
        (CHURN, "  libraries: ${var.compute.fit.libraries}\n", "",
         "task training runs on a cluster without the wheel: add it to libraries."),
        (CHURN, "  libraries: ${var.compute.small_tables.libraries}\n", "  libraries: [{pypi: {package: polars}}]\n",
         "has libraries, which serverless compute takes from its environment only."),
        (COMPUTE, "dependencies: [-r ../requirements/wheel/requirements.txt, ../dist/*.whl]", "dependencies: []",
         "the environment lakehouse_ml lacks the wheel among dependencies."),
        (COMPUTE, "          environment_version: ${var.environment_version}\n", "",
         "the environment lakehouse_ml has no environment_version."),
        (COMPUTE, "{min_workers: 1, max_workers: 4}", "{min_workers: 5, max_workers: 4}",
         "the cluster autoscaling has min_workers 5, more than max_workers 4."),
        (COMPUTE, "{min_workers: 1, max_workers: 4}", "{min_workers: 1, max_workers: 40}",
         "breaks the policy resources/policies/jobs.json: autoscale.max_workers is 40: the policy allows at most 8."),
        (COMPUTE, "          is_single_node: true\n",
         "          is_single_node: true\n          autoscale: {min_workers: 1, max_workers: 2}\n",
         "the cluster single_node is a single node, which can't have autoscale."),
        (COMPUTE, "default: m6id.2xlarge", "default: p5.48xlarge",
         "node_type_id is 'p5.48xlarge': the policy allows a match"),
        (COMPUTE, "default: 18.x-scala2.13", "default: 15.4.x-scala2.12",
         "spark_version is '15.4.x-scala2.12': the policy"),
        (COMPUTE, "custom_tags: {project: lakehouse-ml, ", "custom_tags: {",
         "custom_tags.project is missing: the policy fixes"),
        (COMPUTE, "targets:\n",
         "targets:\n  prod: {resources: {clusters: {notebooks: {<<: *notebooks, autotermination_minutes: 0}}}}\n",
         "the cluster notebooks has no autotermination_minutes: it would never stop."),
        (CHURN, "quartz_cron_expression: 0 0 3 1 * ?", "quartz_cron_expression: 0 3 1 * *",
         "churn_train: quartz_cron_expression can't be '0 3 1 * *': it has 5 fields, and Quartz takes 6 or 7"),
        (CHURN, "timezone_id: ${var.time_zone}", "timezone_id: Europe/Berln", "timezone_id can't be 'Europe/Berln'"),
        (CHURN, "      trigger: ${var.churn_trigger}\n",
         "      trigger: ${var.churn_trigger}\n      continuous: {pause_status: PAUSED}\n",
         "churn_score has trigger and continuous: a job takes one of them."),
        (CHURN, "max_concurrent_runs: 1", "max_concurrent_runs: 3",
         "max_concurrent_runs is not 1: two runs on one lake refuse"),
        (CHURN, "  timeout_seconds: 7200\n", "", "has no timeout_seconds: it may run for ever."),
        (CHURN, "  max_retries: 2\n", "", "has no max_retries: say how often it is tried again, 0 for never."),
        (CHURN, "    entry_point: run\n", "    entry_point: rnu\n",
         "the wheel has no entry point 'rnu'. Did you mean run?"),
        (CHURN, "    package_name: lakehouse_ml\n", "    package_name: lakehouse-ml\n",
         "package_name is lakehouse-ml, and the wheel"),
        (CHURN, "pipelines: training", "pipelines: trainig", "pipelines has no trainig. Did you mean training?"),
        (CHURN, "namespaces: churn", "namespaces: chrun", "namespaces has no chrun. Did you mean churn?"),
        (CHURN, "{name: results_table,", "{name: result_table,",
         "the entry point run takes no parameter result_table. Did you mean results_table?"),
        (CHURN, 'env: "${var.environment}"', "env: production", "conf/ has no environment production."),
        (CHURN, "  python_wheel_task:\n", "  notebook_task: {notebook_path: a}\n  python_wheel_task:\n",
         "has notebook_task and python_wheel_task: a task has exactly one type."),
        (CHURN, "${var.catalog}.${var.schema}", "${var.catalog}.lakehouse_ml_dev",
         "jobs of one target name more than one lake: "),
        (CHURN, "${var.schedules}", "${var.schedule}", "${var.schedule} is not known. Did you mean schedules?"),
        ("databricks.yml", "default: lakehouse_ml_${bundle.target}${var.copy}", "default: Lakehouse ML",
         "Unity Catalog has no name 'main.Lakehouse ML': lower case, without blanks, dots and slashes."),
        ("databricks.yml", "default: lakehouse-ml}", "default: dapi0123456789abcdef0123456789abcdef}",
         "looks like a hard-coded secret: put it into a secret scope"),
        (STORAGE, "volume_type: MANAGED", "volume_type: MANAGED\n          name: my.files",
         "Unity Catalog has no name"),
        (DASHBOARD, "file_path: lakehouse_ml.lvdash.json", "file_path: lakehouse.lvdash.json",
         "the dashboard lakehouse_ml shows lakehouse.lvdash.json, which is not in resources/."),
        (DASHBOARD, "          warehouse_id: ${var.warehouse}\n", "",
         f"{DASHBOARD}, line 15: the dashboard lakehouse_ml has no warehouse: name one, --var warehouse=<id>."),
        (WIDGETS, '"datasets": [', '"datasets": [,', "lakehouse_ml.lvdash.json, line 2 is not valid JSON"),
        (WIDGETS, '"pages": [', '"sheets": [', "lakehouse_ml.lvdash.json has no pages: it would show nothing."),
        ("databricks.yml", '{service_principal_name: "${var.service_principal}"}', "{user_name: me@example.org}",
         "the jobs of prod run as whoever deploys"),
    ],
    ids=lambda value: value.replace("\n", " ")[:40] if isinstance(value, str) else None,
)  # fmt: skip
def test_a_planted_mistake_is_found(checkout: Path, file: str, old: str, new: str, message: str) -> None:
    plant(checkout, file, old, new)
    faults = jobs.judge(bundle("prod", checkout))
    assert any(message in fault for fault in faults), faults
    assert not any("dapi" in fault for fault in faults)


def test_a_schedule_that_is_active_outside_of_production_is_found(checkout: Path) -> None:
    plant(checkout, "databricks.yml", "default: PAUSED", "default: UNPAUSED")
    faults = jobs.judge(bundle("staging", checkout))
    assert len(faults) == 5
    assert all("is active, and only prod starts jobs by itself: set pause_status" in fault for fault in faults)


def test_faults_name_file_and_line(checkout: Path) -> None:
    plant(checkout, CHURN, "depends_on: [{task_key: data_quality}]", "depends_on: [{task_key: data_qualty}]")
    line = (checkout / CHURN).read_text(encoding="utf-8").splitlines().index("      tasks:") + 1
    assert any(fault.startswith(f"{CHURN}, line {line}: ") for fault in jobs.judge(bundle("prod", checkout)))


def test_the_commands_show_faults_and_fail(checkout: Path) -> None:
    plant(checkout, CHURN, "    entry_point: run\n", "    entry_point: rnu\n")
    for words in (["jobs", "check", "--target", "dev"], ["check", "--env", "dev"]):
        result = CliRunner().invoke(cli, words)
        assert (result.exit_code, "the wheel has no entry point 'rnu'" in result.output) == (1, True), result.output


def test_a_value_without_an_equals_sign_and_an_unknown_target_are_refused(checkout: Path) -> None:
    for words, message in (
        (["--var", "catalog"], "--var: 'catalog' has no =. Variables are NAME=VALUE."),
        (["--target", "prd"], "databricks.yml has no target prd. Did you mean prod?"),
    ):
        result = CliRunner().invoke(cli, ["jobs", "check", *words])
        assert (result.exit_code, message in result.output) == (1, True), result.output
