"""The wheel, built in a copy of the checkout, installed as a platform does it, and called as the platform calls it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from checkouts import PROJECT, copied, shown
from stored import stored_tables

from lakehouse_ml.tooling.flow import load_stages
from lakehouse_ml.use_cases.churn.synthetic import write_csv

pytestmark = pytest.mark.slow

UV = Path(sys.prefix).parent / ".make" / "bin" / "uv"
PLANTED = "planted-by-the-test"
# What lies in a folder where somebody works; git knows none of it.
OWN = (
    "conf/local/credentials.yml", "conf/local/globals.yml", "conf/base/credentials.yml",
    "conf/base/churn/credentials_s3.yml", "data/landing/catalog.yml", ".make/wheel/lib/lakehouse_ml/left.py",
)  # fmt: skip
# Environments that are git's, and no wheel's.
HERE_ONLY = ("conf/local/", "conf/connect/")
# A worker of the platform: it has a session, finds the entry point in the metadata, and calls it in this very process.
WORKER = """
import json, sys
from importlib.metadata import distribution

package, entry_point, parameters, named, with_session = json.loads(sys.argv[1])
if with_session:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession
    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    host, port = server.listening_address
    given = SparkSession.builder.remote(f"sc://{host}:{port}").getOrCreate()
(found,) = (each for each in distribution(package).entry_points if each.name == entry_point)
sys.argv = [package, *parameters, *(f"--{key}={value}" for key, value in named.items())]
try:
    print("returned", found.load()())
except Exception as error:
    print("raised", error)
    from lakehouse_ml.engine.sessions import ENGINE
    print("Spark was started:", ENGINE._session is not None)
    raise
finally:
    if with_session:
        from lakehouse_ml.engine.sessions import ENGINE
        print("another server was started:", ENGINE._server is not None)
        print("the session is the given one:", SparkSession.getActiveSession() is given, given.range(3).count())
        given.stop()
        server.stop()
"""


@dataclass(frozen=True)
class Cluster:
    """An environment with the wheel, what it is locked to, and the engine that the platform brings."""

    folder: Path

    @property
    def landing(self) -> Path:
        return self.folder / "landing"

    @property
    def lake(self) -> Path:
        return self.folder / "driver" / "lake"

    def install(self, *words: str | Path) -> None:
        call = [UV, "pip", "install", "-q", "--python", self.folder / "env", *words]
        subprocess.run(call, check=True, capture_output=True, text=True)

    def installed(self) -> set[str]:
        call = [UV, "pip", "freeze", "--python", self.folder / "env"]
        return set(subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines())

    def task(
        self, *parameters: str, entry_point: str = "run", session: bool = True, **named: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a task in a process of its own, with parameters as the platform hands them over."""
        call = json.dumps(["lakehouse_ml", entry_point, parameters, named, session])
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW", "KEDRO"))
        }
        return subprocess.run(
            [self.folder / "env" / "bin" / "python", self.folder / "worker.py", call],
            cwd=self.folder / "driver",
            env={**environment, "RUST_LOG": "error"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed checkout with a quick search, and with what people keep to themselves."""
    copy = copied(tmp_path_factory.mktemp("wheel") / "project")
    parameters = copy / "conf" / "base" / "churn" / "parameters.yml"
    conf = yaml.safe_load(parameters.read_text(encoding="utf-8"))
    conf["churn"]["training"]["trials"] = [{"estimator": "logistic_regression", "params": {"C": 1.0}}]
    parameters.write_text(yaml.safe_dump(conf, sort_keys=False), encoding="utf-8")
    somebody = "git -c user.name=Somebody -c user.email=somebody@example.org"
    shown(f"git init -q && git add -A && {somebody} commit -q -m Everything", copy)
    for name in OWN:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(f"password: {PLANTED}\n", encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    shown("make wheel", checkout)
    (built,) = (checkout / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def cluster(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    host = Cluster(tmp_path_factory.mktemp("cluster"))
    (host.folder / "driver").mkdir()
    (host.folder / "worker.py").write_text(WORKER, encoding="utf-8")
    write_csv(host.landing / "customers.csv", n=1_500, seed=1)
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, host.folder / "env"], check=True)
    host.install("-r", wheel.parent / "requirements.txt")
    locked = host.installed()
    host.install(wheel)
    assert {name.split("==")[0].split(" @")[0] for name in host.installed() - locked} == {"lakehouse-ml"}
    # The platform's own part: whatever the wheel had brought, this would stand beside it or replace it.
    host.install("pysail", "pyspark-client", "--no-verify-hashes", "-c", PROJECT / "requirements" / "run.lock")
    return host


@pytest.fixture(scope="module")
def stages() -> list[str]:
    """The stages in an order in which each comes after those whose data it reads."""
    pipelines = load_stages()
    return list(
        TopologicalSorter(
            {
                name: {
                    other for other in pipelines if other != name and stage.inputs() & pipelines[other].all_outputs()
                }
                for name, stage in pipelines.items()
            }
        ).static_order()
    )


@pytest.fixture(scope="module")
def tasks(cluster: Cluster, stages: list[str]) -> dict[str, subprocess.CompletedProcess[str]]:
    """The tasks of a job, one a stage; the first get a list of parameters, the others named ones."""
    processes = {}
    for number, stage in enumerate(stages):
        if number < 3:
            arguments = (
                "--pipeline",
                stage,
                "--namespaces",
                "churn",
                "--params",
                f"lake=lake,landing={cluster.landing},job_run=4711",
            )
            processes[stage] = cluster.task(*arguments)
        else:
            params = "churn.batch_scoring.actions=7" if stage == "batch_scoring" else ""
            processes[stage] = cluster.task(
                pipelines=stage,
                namespaces="churn",
                env="base",
                params=params,
                landing=str(cluster.landing),
                lake=str(cluster.lake),
                results_table="",
                job_run="4711",
            )
        assert processes[stage].returncode == 0, processes[stage].stdout + processes[stage].stderr
    return processes


def _files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def test_the_wheel_carries_the_shipped_conf_and_nothing_that_is_ones_own(checkout: Path, wheel: Path) -> None:
    packed = _files(wheel)
    conf = {name.removeprefix("lakehouse_ml/shipped_") for name in packed if name.startswith("lakehouse_ml/shipped_")}
    tracked = set(shown("git ls-files conf", checkout).split())
    assert conf == {name for name in tracked if not name.startswith(HERE_ONLY)}
    assert [name for name, content in packed.items() if PLANTED.encode() in content] == []
    others = {Path(name).suffix for name in packed if "dist-info" not in name and name not in conf}
    assert others == {".py", ".j2", ".yml", ".properties", ".json"}


def test_its_metadata_says_what_it_was_built_of(checkout: Path, wheel: Path) -> None:
    packed = _files(wheel)
    build = json.loads(packed.pop("lakehouse_ml/build.json"))
    digest = hashlib.sha256()
    for name in sorted(Path(name) for name in packed if name.startswith("lakehouse_ml/")):
        digest.update(f"{name.relative_to('lakehouse_ml').as_posix()}\0".encode())
        digest.update(hashlib.sha256(packed[name.as_posix()]).digest())
    assert build == {"git_sha": shown("git rev-parse HEAD", checkout).strip(), "sha256": digest.hexdigest()}
    (metadata,) = (content for name, content in packed.items() if name.endswith(".dist-info/METADATA"))
    required = [
        line for line in Parser().parsestr(metadata.decode()).get_all("Requires-Dist") if "extra ==" not in line
    ]
    # The platform brings engines. MLflow requires the SDK as well, so it adds nothing to an environment.
    assert [line for line in required if "spark" in line or "databricks" in line] == ["databricks-sdk>=0.150"]


def test_built_again_it_is_the_same_and_one_of_changed_files_says_so(checkout: Path, wheel: Path) -> None:
    content_before = wheel.read_bytes()
    shown("make wheel", checkout)
    assert wheel.read_bytes() == content_before
    new = checkout / "src" / "lakehouse_ml" / "new.py"
    new.write_text('"""Not committed."""\n', encoding="utf-8")
    shown("make wheel", checkout)
    changed_files = _files(wheel)
    new.unlink()
    shown("make wheel", checkout)
    assert "lakehouse_ml/new.py" in changed_files
    assert json.loads(changed_files["lakehouse_ml/build.json"])["git_sha"].endswith("-dirty")
    assert wheel.read_bytes() == content_before


def test_beside_it_lies_what_it_is_installed_with_to_the_version(wheel: Path) -> None:
    lines = (wheel.parent / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.lstrip().startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.\[\]-]+==[\w.]+( ; .+)?", pin)] == []
    assert [pin for pin in pins if re.match("pyspark|pysail|databricks-connect", pin)] == []
    run = set(re.findall(r"^[\w.-]+==[\w.]+", (PROJECT / "requirements" / "run.lock").read_text("utf-8"), re.MULTILINE))
    assert {pin.split(" ;")[0] for pin in pins} <= run


def test_kedros_own_way_to_package_points_to_it(checkout: Path, wheel: Path) -> None:
    call = [checkout / ".venv" / "bin" / "kedro", "package"]
    process = subprocess.run(call, cwd=checkout, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (1, "")
    assert "make wheel builds the wheel" in process.stderr
    assert [path.name for path in wheel.parent.iterdir() if path.suffix == ".gz"] == []


def test_tasks_write_the_tables_that_kedro_run_writes(
    checkout: Path, cluster: Cluster, tasks: dict[str, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    params = f"landing={cluster.landing},lake={tmp_path},churn.batch_scoring.actions=7"
    for name in OWN:
        (checkout / name).unlink(missing_ok=True)
    shown(f".venv/bin/kedro run --namespaces churn --params {params}", checkout)
    expected, actual = stored_tables(tmp_path), stored_tables(cluster.lake)
    assert actual.keys() == expected.keys()
    assert len(actual) > 15
    for name in expected:
        pd.testing.assert_frame_equal(actual[name], expected[name], obj=name, rtol=1e-9)
    assert list(cluster.lake.glob("07_model_output/churn/actions.csv"))


def test_the_session_that_was_there_is_used_and_still_there(tasks: dict[str, subprocess.CompletedProcess[str]]) -> None:
    for process in tasks.values():
        assert "another server was started: False" in process.stdout
        assert "the session is the given one: True 3" in process.stdout


def test_success_returns_nothing_and_prints_plain_lines(tasks: dict[str, subprocess.CompletedProcess[str]]) -> None:
    for process in tasks.values():
        assert "returned None" in process.stdout
        output = process.stdout + process.stderr
        assert re.findall(r"[\x1b\r\u2500-\u259f]|\d%\|", output) == []
        assert re.search(r"^\[ ?1/", process.stderr, re.MULTILINE), process.stderr


def test_the_run_of_a_task_says_which_wheel_did_it(wheel: Path, cluster: Cluster, tasks: Any) -> None:
    import mlflow

    build = json.loads(_files(wheel)["lakehouse_ml/build.json"])
    client = mlflow.MlflowClient(f"sqlite:///{cluster.lake}/mlflow.db")
    experiment = client.get_experiment_by_name("lakehouse-ml")
    assert experiment
    runs = [run.data.tags for run in client.search_runs([experiment.experiment_id]) if "command" in run.data.tags]
    assert len(runs) == len(tasks)
    assert {tags["git_sha"] for tags in runs} == {build["git_sha"]}
    assert {tags["wheel_sha256"] for tags in runs} == {build["sha256"]}
    assert {tags["environment"] for tags in runs} == {"base"}


def test_the_tasks_of_a_job_are_children_of_its_one_run_and_a_repaired_one_doubles_nothing(
    cluster: Cluster, tasks: Any
) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{cluster.lake}/mlflow.db")
    experiment = client.get_experiment_by_name("lakehouse-ml")
    assert experiment

    def runs() -> list[Any]:
        return list(client.search_runs([experiment.experiment_id]))

    runs_before = runs()
    (job,) = (run.info.run_id for run in runs_before if run.data.tags.get("job_run") == "4711")
    children = [run.info.run_name for run in runs_before if run.data.tags.get("mlflow.parentRunId") == job]
    assert sorted(children) == sorted(f"churn: {stage}" for stage in tasks)
    repaired = cluster.task(
        pipelines="training", namespaces="churn", lake=str(cluster.lake), landing=str(cluster.landing), job_run="4711"
    )
    assert "every step was skipped" in repaired.stdout, repaired.stderr
    assert len(runs()) == len(runs_before)
    assert [str(version.version) for version in client.search_model_versions("name = 'churn'")] == ["1"]


def test_a_failure_raises_with_its_reason_and_the_node(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_text("customerID,Churn\n1,No\n", encoding="utf-8")
    process = cluster.task(pipelines="data_ingestion", namespaces="churn", landing=str(tmp_path), lake="other")
    assert process.returncode != 0
    (raised,) = re.findall(r"^raised (.+)$", process.stdout, re.MULTILINE)
    assert "customers.csv" in raised
    assert raised.endswith("Node churn.data_ingestion.parse_customers failed.")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (["--pipelin", "training"], "No such option"),
        (["training"], "unexpected extra argument"),
        (["--landing=data", "--leak=lake"], "No such option"),
        (["--env=nowhere"], "There is no environment nowhere"),
        (["--pipelines=trainin"], "Unknown pipeline trainin"),
        (["--params=churn.trainin.folds=2"], "churn.trainin is not a known key"),
    ],
    ids=lambda parameter: " ".join(parameter) if isinstance(parameter, list) else "",
)
def test_wrong_arguments_of_a_task_are_refused_before_spark_starts(
    cluster: Cluster, parameters: list[str], reason: str
) -> None:
    process = cluster.task(*parameters, session=False)
    assert process.returncode != 0
    assert reason in process.stdout
    assert "Spark was started: False" in process.stdout


def test_an_environment_that_a_task_names_is_the_wheels(cluster: Cluster) -> None:
    process = cluster.task(
        env="spark",
        pipelines="data_ingestion",
        namespaces="churn",
        lake="another",
        landing=str(cluster.landing),
        session=False,
    )
    assert "engine: spark needs Apache Spark itself" in process.stdout


def test_the_projects_commands_are_tasks_too(cluster: Cluster, tasks: Any) -> None:
    params = f"lake={cluster.lake},landing={cluster.landing}"
    words = ("run", "--pipelines", "data_ingestion", "--namespaces", "churn", "--params", params)
    process = cluster.task(*words, entry_point="command")
    assert "returned None" in process.stdout, process.stderr
    assert "every step was skipped" in process.stdout
    helped = cluster.task("--help", entry_point="command", session=False)
    assert "returned None" in helped.stdout
    for words, reason in {
        ("modles",): "No such command 'modles'",
        ("use-case", "new", "x", "--from", "x.csv", "--key", "a", "--label", "b"): "this is an installed wheel",
    }.items():
        assert reason in cluster.task(*words, entry_point="command", session=False).stdout
