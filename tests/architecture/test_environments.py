"""Every shipped environment passes its check without an engine or a network; each kind of mistake is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from kedro.framework.context.context import _convert_paths_to_absolute_posix
from kedro.framework.project import pipelines, settings
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogConfigResolver, DataCatalog

from lakehouse_ml.config.lake import is_table_name
from lakehouse_ml.errors import ConfError
from lakehouse_ml.operations.bundle.bundle import load_bundle
from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.preflight import environment
from lakehouse_ml.preflight.checks import Preflight
from lakehouse_ml.preflight.conf import Conf, leaves

PROJECT = Path(__file__).resolve().parents[2]
SHIPPED = ("local", "spark", "s3", "connect", "dev", "staging", "prod")
OF_JOBS = ("dev", "staging", "prod")
OF_UNITY_CATALOG = ("connect", *OF_JOBS)
SCHEMAS = {
    "connect": "somebody",
    "dev": "lakehouse_ml_you",
    **{env: f"lakehouse_ml_{env}" for env in ("staging", "prod")},
}
EXPERIMENTS = {
    "connect": "/Users/somebody@example.org/lakehouse-ml-connect",
    "dev": "/Users/you@example.org/[dev you] lakehouse-ml-dev",
    "staging": "/Users/jobs/lakehouse-ml-staging",
    "prod": "/Users/jobs/lakehouse-ml-prod",
}
# What whoever runs it has to say.
VARIABLES = {
    "LAKEHOUSE_BUCKET": "a-bucket",
    "LAKEHOUSE_CATALOG": "a-catalog",
    "LAKEHOUSE_SCHEMA": "somebody",
    "LAKEHOUSE_LANDING": "/Volumes/a-catalog/landing/files",
    "LAKEHOUSE_EXPERIMENTS": "/Users/somebody@example.org",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
}


@pytest.fixture(autouse=True)
def _filled(monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap_project(PROJECT)
    monkeypatch.delenv("LAKEHOUSE_ENGINE", raising=False)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of conf, without what is personal."""
    shutil.copytree(PROJECT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("*.pyc", "local"))
    (tmp_path / "conf" / "local").mkdir()
    return tmp_path / "conf"


def addresses(env: str) -> dict[str, str]:
    """What a job passes on in this environment; nothing outside of jobs."""
    values = {"catalog": "a-catalog", "service_principal": "jobs"}
    return load_bundle(PROJECT, env, values).addresses if env in OF_JOBS else {}


def loader(conf: Path, **params: str) -> Callable[[str], Any]:
    """Loaders of environments, each in a job or with other parameters."""
    args = settings.CONFIG_LOADER_ARGS
    return lambda env: settings.CONFIG_LOADER_CLASS(
        conf_source=str(conf), env=env, runtime_params={**addresses(env), **params}, **args
    )


def faults(conf: Path, env: str, **params: str) -> list[str]:
    def load(name: str) -> Any:
        return loader(conf, **(params if name == env else {}))(name)

    stages = {name: pipelines[name] for name in STAGES}
    return Preflight(conf, env, load, stages, {**addresses(env), **params}).faults()


def plant(conf: Path, file: str, text: str, old: str | None = None) -> None:
    """Put a mistake into conf: at the end of a file, or in place of the old text."""
    path = conf / file
    path.parent.mkdir(exist_ok=True)
    content = path.read_text(encoding="utf-8") if path.exists() else ""
    assert old is None or content.count(old) == 1, f"{file} has {content.count(old or '')} times {old}"
    path.write_text(f"{content}\n{text}\n" if old is None else content.replace(old, text), encoding="utf-8")


# --- the shipped ones


@pytest.mark.parametrize("env", SHIPPED)
def test_every_shipped_environment_is_sound_once_its_variables_are_set(conf: Path, env: str) -> None:
    assert faults(conf, env) == []


def test_the_shipped_environments_are_all_of_them() -> None:
    assert {path.name for path in (PROJECT / "conf").iterdir() if path.is_dir()} == {"base", *SHIPPED}


@pytest.mark.parametrize(("env", "names"), [
    ("s3", ["LAKEHOUSE_BUCKET", "MLFLOW_TRACKING_URI"]),
    ("connect", ["LAKEHOUSE_CATALOG", "LAKEHOUSE_SCHEMA", "LAKEHOUSE_LANDING", "LAKEHOUSE_EXPERIMENTS"]),
])  # fmt: skip
def test_an_unset_variable_is_reported_with_file_line_and_name(
    conf: Path, monkeypatch: pytest.MonkeyPatch, env: str, names: list[str]
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name)
    messages = faults(conf, env)
    assert [text.split(" is not set")[0].rpartition(" ")[2] for text in messages] == names
    assert all(text.startswith(f"{conf / env}/") and ", line " in text for text in messages)


@pytest.mark.parametrize("env", OF_JOBS)
def test_outside_of_a_job_each_missing_address_is_reported_once(conf: Path, env: str) -> None:
    args = settings.CONFIG_LOADER_ARGS
    stages = {name: pipelines[name] for name in STAGES}
    messages = Preflight(
        conf, env, lambda env: settings.CONFIG_LOADER_CLASS(conf_source=str(conf), env=env, **args), stages
    ).faults()
    assert [text.split(": ")[1].split(" is not")[0] for text in messages] == ["lake", "landing", "experiment"]
    assert messages[0].endswith(
        "globals.yml, line 4: lake is not set. In this environment it is a parameter of the job, which databricks.yml "
        "sets; in other runs, name it: --params lake=<lake>."
    )


@pytest.mark.parametrize("env", [env for env in SHIPPED if env != "local"])
def test_an_environment_holds_only_what_differs_from_base(env: str) -> None:
    for kind in ("globals", "spark", "mlflow"):
        file = PROJECT / "conf" / env / f"{kind}.yml"
        base = dict(leaves(yaml.safe_load((PROJECT / "conf" / "base" / f"{kind}.yml").read_text())))
        overrides = dict(leaves(yaml.safe_load(file.read_text()))) if file.exists() else {}
        assert [key for key, value in overrides.items() if key in base and base[key] == value] == []
    kinds = {path.stem for path in (PROJECT / "conf" / env).iterdir()}
    assert kinds <= {"globals", "spark", "mlflow"}


def test_a_table_s_name_stays_one_though_kedro_takes_it_for_a_file_s() -> None:
    entry = {"type": "lakehouse_ml.datasets.delta_table.DeltaTable", "kind": "schema", "filepath": "main.dev.churn_x"}
    config = _convert_paths_to_absolute_posix(PROJECT, {"churn.x": entry})
    assert config["churn.x"]["filepath"] == f"{PROJECT}/main.dev.churn_x"
    assert DataCatalog.from_config(config)["churn.x"].address == "main.dev.churn_x"


@pytest.mark.parametrize("env", OF_UNITY_CATALOG)
def test_in_unity_catalog_tables_have_names_and_everything_else_lies_in_a_volume(env: str) -> None:
    config = loader(PROJECT / "conf")(env)
    catalog = CatalogConfigResolver(
        config=config["catalog"], default_runtime_patterns={"{default}": {"type": "MemoryDataset"}}
    )
    lake = f"a-catalog.{SCHEMAS[env]}"
    entries = {name: catalog.resolve_pattern(name) for name in pipelines["__default__"].all_outputs()}
    tables = {name: entry["filepath"] for name, entry in entries.items() if entry.get("kind") == "schema"}
    assert len(tables) > 40
    assert tables["churn.raw_customers"] == f"{lake}.churn_raw_customers"
    assert tables["predictive_maintenance.metrics_live"] == f"{lake}.predictive_maintenance_metrics_live"
    assert {path for path in tables.values() if not is_table_name(path)} == set()
    files = [entry["filepath"] for name, entry in entries.items() if name not in tables and "filepath" in entry]
    assert {path.rsplit("/0", 1)[0] for path in files} == {f"/Volumes/{lake.replace('.', '/')}/files"}
    model = catalog.resolve_pattern("churn.champion_model")
    assert (model["name"], model["digests"]) == (f"{lake}.churn", f"{lake}.churn_digests")
    server, experiment = config["mlflow"]["server"], config["mlflow"]["tracking"]["experiment"]
    assert (server["mlflow_tracking_uri"], server["mlflow_registry_uri"]) == ("databricks", "databricks-uc")
    assert experiment["name"] == EXPERIMENTS[env]
    assert config["mlflow"]["tracking"]["experiment"]["create_experiment_kwargs"]["artifact_location"] is None


def test_sail_and_spark_on_s3_are_one_switch(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loader(conf)("s3")["spark"]["engine"] == "sail"
    monkeypatch.setenv("LAKEHOUSE_ENGINE", "spark")
    assert loader(conf)("s3")["spark"]["engine"] == "spark"
    assert faults(conf, "s3") == []


# --- planted mistakes, one of each kind


@pytest.mark.parametrize(
    ("env", "file", "text", "old", "message"),
    [
        ("prod", "prod/catalog.yml", "churn.clean_customers: {type: MemoryDataset}", None,
         "churn.clean_customers, which feature_engineering reads in a task of its own, is kept in memory"),
        ("prod", "base/catalog.yml", '"{use_case}.klean_{table}":', '"{use_case}.clean_{table}":',
         "churn.clean_customers, which"),
        ("prod", "prod/catalog.yml", "churn.report_page:\n  type: lakehouse_ml.datasets.html_page.HtmlPage\n"
         "  filepath: data/report.html", None,
         "prod/catalog.yml, line 4: churn.report_page is stored in data/report.html"),
        ("dev", "base/catalog.yml", "${_laek}/08", "${_files}/${_reports}/report", "_laek"),
        ("connect", "connect/globals.yml", "landing: ${variable:LAKEHOUSE_NOWHERE}",
         "landing: ${variable:LAKEHOUSE_LANDING}",
         "landing: LAKEHOUSE_NOWHERE is not set. Set this environment variable"),
        ("dev", "dev/catalog.yml", "churn.report_page:\n  type: lakehouse_ml.datasets.html_page.HtmlPage\n"
         "  filepath: s3://${variable:SOME_BUCKET}/report.html", None, "churn.report_page: SOME_BUCKET is not set"),
        ("prod", "prod/credentials.yml", "store: {token: dapi0123456789abcdef0123456789abcdef}", None,
         "prod/credentials.yml, line 2: looks like a hard-coded secret"),
        ("prod", "prod/credentials.yml", "store:\n  password: hunter2", None,
         "prod/credentials.yml, line 3: looks like a hard-coded secret"),
        ("prod", "prod/credentials.yml", "store: {user: me, password: hunter2}", None,
         "prod/credentials.yml, line 2: looks like a hard-coded secret"),
        ("prod", "prod/globals.yml", "https://${variable:STORE_TOKEN}", "workspace",
         "prod/globals.yml, line 7: looks like a hard-coded secret"),
        ("s3", "s3/globals.yml", "http://me:sec" "ret@127.0.0.1", "${variable:MLFLOW_TRACKING_URI}",
         "s3/globals.yml, line 5: looks like a hard-coded secret"),
        ("connect", "connect/globals.yml", "lake: ${variable:LAKEHOUSE_CATALOG}.lakehouse_ml_prod",
         "lake: ${variable:LAKEHOUSE_CATALOG}.${variable:LAKEHOUSE_SCHEMA}", "that of the environment prod is "),
        ("connect", "connect/globals.yml", "experiment: /Users/jobs/lakehouse-ml-prod",
         "experiment: ${variable:LAKEHOUSE_EXPERIMENTS}/lakehouse-ml-connect", "experiment is /Users/jobs/"),
        ("dev", "dev/catalog.yml", "churn.clean_customers:\n  type: lakehouse_ml.datasets.delta_table.DeltaTable\n"
         "  kind: schema\n  filepath: a-catalog.lakehouse_ml_prod.churn_clean_customers", None,
         "churn.clean_customers is written to a-catalog.lakehouse_ml_prod.churn_clean_customers, in the lake of prod"),
        ("prod", "prod/parameters.yml", "churn: {training: {folds: several}}", None,
         "prod/parameters.yml, line 2: churn.training.folds can't be 'several'"),
        ("prod", "prod/parameters.yml", "churn: {training: {fodls: 3}}", None, "churn.training.fodls is not a known"),
        ("connect", "connect/globals.yml", "lake: my lake.dev",
         "lake: ${variable:LAKEHOUSE_CATALOG}.${variable:LAKEHOUSE_SCHEMA}",
         "lake is catalog.schema, and 'my lake.dev' can't be that in Unity Catalog"),
        ("dev", "dev/catalog.yml", "churn.clean_customers:\n  type: lakehouse_ml.datasets.delta_table.DeltaTable\n"
         "  kind: schema\n  filepath: a-catalog.lakehouse_ml_dev.churn clean", None,
         "churn.clean_customers can't be called a-catalog.lakehouse_ml_dev.churn clean in Unity Catalog"),
        ("dev", "dev/catalog.yml", "churn.clean_customers:\n  type: lakehouse_ml.datasets.delta_table.DeltaTable\n"
         f"  kind: schema\n  filepath: a-catalog.lakehouse_ml_dev.{'c' * 256}", None,
         "churn.clean_customers can't be called"),
        ("connect", "connect/globals.yml", "models: lakehouse_ml\nlake_kind", "lake_kind",
         "models is 'lakehouse_ml': Unity Catalog takes catalog.schema"),
        ("prod", "prod/catalog.yml", "churn.clean_customers:\n  type: lakehouse_ml.datasets.delta_table.DeltaTable\n"
         "  kind: schema\n  filepath: a-catalog.lakehouse_ml_prod.Churn_raw_customers", None, "are both stored in"),
        ("s3", "s3/globals.yml", "lake_kind: schema\nlake: main.s3", "lake: s3://${variable:LAKEHOUSE_BUCKET}/lakehouse-ml",
         "lake_kind schema means tables of a catalog, which the engine sail doesn't reach"),
        ("connect", "connect/globals.yml", "lake_kind: path\nlake: data",
         "lake_kind: schema\nlake: ${variable:LAKEHOUSE_CATALOG}.${variable:LAKEHOUSE_SCHEMA}",
         "a folder of one machine"),
        ("connect", "connect/globals.yml", "landing: data/landing", "landing: ${variable:LAKEHOUSE_LANDING}",
         "landing is 'data/landing', a folder of one machine"),
        ("prod", "prod/globals.yml", "http://127.0.0.1:5000", "workspace",
         "prod/globals.yml, line 7: in a workspace runs and models are recorded there (tracking: workspace), and here"),
        ("prod", "prod/mlflow.yml", "server:\n  mlflow_tracking_uri: http://127.0.0.1:5000", None,
         "prod/mlflow.yml, line 3: in a workspace runs and models are recorded there"),
        ("connect", "connect/globals.yml", "lakehouse-ml",
         "${variable:LAKEHOUSE_EXPERIMENTS}/lakehouse-ml-connect", "in a workspace it is an absolute path"),
        ("s3", "s3/globals.yml", "lake", "${variable:MLFLOW_TRACKING_URI}", "of a lake at an address"),
        ("prod", "prod/spark.yml", "compute: fast", None, "prod/spark.yml, line 3: compute can't be"),
        ("connect", "connect/spark.yml", "", "compute: serverless", "compute can't be None: value error, for"),
        ("local", "local/spark.yml", "compute: serverless", None, "the engine sail takes no compute"),
        ("local", "local/catalog.yml", "churn.clean_customers:\n  type: lakehouse_ml.datasets.delta_table.DeltaTable\n"
         "  filepath: data/x\n  metadata: {delta.enableDeletionVectors: true}", None, "which sail would misread"),
        ("dev", "dev/catalog.yml", "churn.clean_customers:\n  type: lakehouse_ml.datasets.delta_table.DeltaTable\n"
         "  kind: schema\n  filepath: a-catalog.lakehouse_ml_dev.churn_clean_customers\n"
         "  partition_by: [contract, region]\n"
         "  validator: lakehouse_ml.use_cases.churn.contracts.clean_customers", None,
         "dev/catalog.yml, line 6: churn.clean_customers is partitioned by region, which its contract doesn't have"),
        ("dev", "dev/globals.yml", "lake_kind: [", "lake_kind: schema", "this is not valid YAML"),
    ],
    ids=lambda value: value.replace("\n", " ")[:40] if isinstance(value, str) else None,
)  # fmt: skip
def test_a_planted_mistake_is_found(conf: Path, env: str, file: str, text: str, old: str | None, message: str) -> None:
    plant(conf, file, text, old)
    messages = faults(conf, env)
    assert any(message in fault for fault in messages), messages
    assert not any("hunter2" in fault or "dapi" in fault or "secret@" in fault for fault in messages)


def test_the_place_of_a_secret_may_stand_in_conf(conf: Path) -> None:
    plant(conf, "prod/credentials.yml", "store:\n  token: ${oc.env:STORE_TOKEN}\n  password: '{{secrets/scope/key}}'")
    assert faults(conf, "prod") == []


def test_a_lake_of_ones_own_at_an_address_is_as_good_as_a_schema(conf: Path) -> None:
    config = yaml.safe_load((conf / "prod" / "globals.yml").read_text()) | {"lake_kind": "path"}
    (conf / "prod" / "globals.yml").write_text(yaml.safe_dump(config))
    for address in ("s3://bucket/prod", "abfss://lake@account.dfs.core.windows.net/prod", "gs://bucket/prod"):
        assert faults(conf, "prod", lake=address) == []


def test_a_spark_connect_server_is_no_workspace_and_asks_for_none(conf: Path) -> None:
    at_a_server = {
        "spark.yml": "engine: connect\ncompute: sc://127.0.0.1:15002",
        "globals.yml": "lake_kind: path\nlake: data\nlanding: data/landing\ntracking: lake",
    }
    for name, text in at_a_server.items():
        (conf / "connect" / name).write_text(text, encoding="utf-8")
    assert faults(conf, "connect") == []
    description = environment.describe(Conf((conf / "connect", conf / "base")), loader(conf)("connect"))
    assert description.lines["identity"].endswith(", on this machine")


def test_the_check_needs_neither_engine_nor_network(conf: Path) -> None:
    code = """
import socket, sys
def refused(*given): raise AssertionError("a connection")
socket.socket.connect = refused
from kedro.framework.startup import bootstrap_project
from pathlib import Path
bootstrap_project(Path(sys.argv[1]))
from lakehouse_ml.runs.session import ProjectSession
addresses = dict(lake="a.b", models="a.b", landing="/Volumes/a/b/c", experiment="/Users/me/d")
faults = ProjectSession.create(sys.argv[1], env="prod").preflight({"prod": addresses})
print(faults, [name for name in ("pysail", "deltalake") if name in sys.modules])
"""
    process = subprocess.run([sys.executable, "-c", code, str(PROJECT)], capture_output=True, text=True, check=False)
    assert process.stdout.strip() == "[] []", process.stderr


# --- a run is refused as the check would refuse it


def refusals(env: str, **params: str) -> list[str]:
    """Reasons for which a run with `--params` would be refused."""
    conf = PROJECT / "conf"
    typed = {**addresses(env), **params}
    return list(Conf((conf / env, conf / "base"), typed).faults(loader(conf, **params)(env)))


def test_in_a_schema_the_results_of_one_run_begin_with_score() -> None:
    assert refusals("dev", results_table="score_trial") == refusals("local", results_table="metrics_drift") == []
    assert ["name begins with score_" in text for text in refusals("dev", results_table="metrics_drift")] == [True]


def test_the_lake_of_one_run_has_to_be_of_the_environment_s_kind() -> None:
    assert refusals("dev", lake="a-catalog.another") == []
    assert ["'data/mine' can't be that in Unity Catalog" in text for text in refusals("dev", lake="data/mine")] == [
        True
    ]


@pytest.mark.parametrize(
    ("env", "message"),
    [("connect", "lake: LAKEHOUSE_CATALOG is not set"), ("prod", "lake is not set. In this environ")],
)
def test_a_run_without_its_lake_is_refused_and_nothing_is_opened(
    monkeypatch: pytest.MonkeyPatch, env: str, message: str
) -> None:
    monkeypatch.delenv("LAKEHOUSE_CATALOG")
    session = settings.SESSION_CLASS.create(PROJECT, env=env)
    with pytest.raises(click.ClickException, match=message):
        session.run(pipeline_names=["training"])
    with pytest.raises(ConfError, match=message):
        session.load_context()
    assert not list(PROJECT.glob("<*"))
