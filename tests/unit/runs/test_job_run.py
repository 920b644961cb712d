"""The one MLflow run of a job: its tasks' runs are its children, whoever comes first, and a repair doubles nothing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lakehouse_ml.runs import job_run, tracking

ROUNDS = 5
# A task that begins, does a little, and ends, for several jobs one after another, each at the moment that it is told.
TASK = f"""
import sys, time
from mlflow import MlflowClient
from lakehouse_ml.runs import job_run
import mlflow
store, experiment, name = sys.argv[1:]
mlflow.set_tracking_uri(store)
client = MlflowClient()
client.search_runs([experiment])
print("ready", flush=True)
begin = float(sys.stdin.readline())
for number in range({ROUNDS}):
    time.sleep(max(0.0, begin + number - time.time()))
    run = client.create_run(experiment, run_name=name).info.run_id
    job_run.attach_task(f"job {{number}}", run)
    client.set_terminated(run)
    job_run.finish_task(run)
"""


@dataclass(frozen=True)
class Job:
    """A run of a job, as its tasks see it."""

    name: str
    experiment: str

    def begins(self, stage: str, command: str = "run") -> str:
        """A task, whose own run is open."""
        tags = {"mlflow.runName": stage, "command": command}
        run = str(client().create_run(self.experiment, tags=tags).info.run_id)
        job_run.attach_task(self.name, run)
        return run

    def ends(self, run: str, status: str = "FINISHED") -> None:
        client().set_terminated(run, status)
        job_run.finish_task(run)

    @property
    def run(self) -> Run:
        (run,) = client().search_runs([self.experiment], f"tags.job_run = '{self.name}'")
        return run

    def children(self) -> list[Run]:
        """Those that count, oldest first."""
        condition = f"tags.`mlflow.parentRunId` = '{self.run.info.run_id}'"
        runs = client().search_runs([self.experiment], condition, order_by=["attributes.start_time"])
        return [run for run in runs if "superseded_by" not in run.data.tags]


def client() -> MlflowClient:
    return MlflowClient()


def status(run: str) -> str:
    return str(client().get_run(run).info.status)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking store, which is the one in use."""
    # Making a store's tables takes seconds: files of tests share an empty one.
    empty = tmp_path_factory.getbasetemp() / "mlflow.db"
    if not empty.exists():
        MlflowClient(f"sqlite:///{empty}").search_experiments()
    address = f"sqlite:///{shutil.copy(empty, tmp_path_factory.mktemp('jobs'))}"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(address)
    yield address
    mlflow.set_tracking_uri(before)


@pytest.fixture
def job(store: str, request: pytest.FixtureRequest) -> Job:
    return Job("4711", client().create_experiment(request.node.name))


def test_the_runs_of_a_jobs_tasks_are_children_of_one_run_of_the_job(job: Job) -> None:
    other = Job("4712", job.experiment)
    for each, stage in ((job, "ingest"), (job, "train"), (other, "ingest")):
        each.ends(each.begins(stage))

    assert [run.info.run_name for run in job.children()] == ["ingest", "train"]
    assert [run.info.run_name for run in other.children()] == ["ingest"]
    assert len(client().search_runs([job.experiment])) == 5


def test_the_job_runs_while_a_task_does_and_ends_with_the_last(job: Job) -> None:
    one, two = job.begins("ingest"), job.begins("train")
    assert job.run.info.status == "RUNNING"
    job.ends(one)
    assert job.run.info.status == "RUNNING"
    job.ends(two)
    assert (job.run.info.status, job.run.info.end_time is not None) == ("FINISHED", True)

    three = job.begins("score")
    assert job.run.info.status == "RUNNING"
    job.ends(three)
    assert job.run.info.status == "FINISHED"


def test_a_job_one_of_whose_tasks_failed_has_failed_until_it_is_repaired(job: Job) -> None:
    failing, other = job.begins("train"), job.begins("monitor")
    job.ends(failing, "FAILED")
    job.ends(other)
    assert job.run.info.status == "FAILED"

    job.ends(job.begins("train"))

    assert job.run.info.status == "FINISHED"
    assert Counter(run.info.run_name for run in job.children()) == {"train": 1, "monitor": 1}


def test_an_attempt_says_which_run_took_its_place_and_so_do_its_trials(job: Job) -> None:
    first = job.begins("train")
    trial = client().create_run(job.experiment, tags={"mlflow.parentRunId": first}).info.run_id
    client().set_terminated(trial)

    second = job.begins("train")

    assert {client().get_run(run).data.tags["superseded_by"] for run in (first, trial)} == {second}
    assert [status(run) for run in (first, trial, second)] == ["KILLED", "FINISHED", "RUNNING"]
    assert [run.info.run_id for run in job.children()] == [second]


def test_the_same_stage_in_other_words_is_another_task(job: Job) -> None:
    job.ends(job.begins("score", "run --results_table=one"))
    job.ends(job.begins("score", "run --results_table=other"))

    assert len(job.children()) == 2


def test_a_repair_that_finds_everything_done_says_so_of_the_attempt_that_did_it(job: Job) -> None:
    first = job.begins("train")
    client().set_terminated(first, "KILLED")  # its process, after its last result
    tags = {"mlflow.runName": "train", "command": "run"}
    repair = client().create_run(job.experiment, tags=tags).info.run_id
    client().delete_run(repair)

    job_run.confirm_repair(job.name, repair)

    assert (status(first), job.run.info.status) == ("FINISHED", "FINISHED")
    assert [run.info.run_id for run in job.children()] == [first]


def test_nothing_is_confirmed_of_a_job_that_has_no_run(job: Job) -> None:
    alone = client().create_run(job.experiment).info.run_id
    job_run.confirm_repair(job.name, alone)
    job_run.finish_task(alone)

    assert [run.info.run_id for run in client().search_runs([job.experiment])] == [alone]


def test_of_two_runs_that_were_made_for_one_job_the_first_gets_the_children_of_both(job: Job) -> None:
    """Who looked before either was there made one; the older may have come into the store later."""
    younger = client().create_run(job.experiment, tags={"job_run": job.name}, start_time=2_000).info.run_id
    child = client().create_run(job.experiment, tags={"mlflow.parentRunId": younger}).info.run_id
    older = client().create_run(job.experiment, tags={"job_run": job.name}, start_time=1_000).info.run_id

    client().set_terminated(child)
    job_run.finish_task(child)

    assert job.run.info.run_id == older
    assert [run.info.run_id for run in job.children()] == [child]
    assert job.run.info.status == "FINISHED"


@pytest.mark.parametrize("moment", ["set_tag", "update_run", "set_terminated"])
def test_a_task_whose_jobs_run_is_replaced_under_its_hands_has_the_one_that_took_its_place(
    job: Job, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another task's, made a little earlier, came into the store a little later."""
    older = []

    class Overtaken(MlflowClient):
        def __getattribute__(self, name: str) -> Any:
            if name == moment and not older:
                older.append(client().create_run(job.experiment, tags={"job_run": job.name}, start_time=1).info.run_id)
                monkeypatch.setattr(job_run, "_client", client)
                other = client().create_run(job.experiment, tags={"mlflow.runName": "other"}).info.run_id
                job_run.attach_task(job.name, other)
                job.ends(other)
            return super().__getattribute__(name)

    monkeypatch.setattr(job_run, "_client", Overtaken)

    job.ends(job.begins("train"))

    assert [job.run.info.run_id] == older
    assert Counter(run.info.run_name for run in job.children()) == {"other": 1, "train": 1}
    assert job.run.info.status == "FINISHED"


@pytest.fixture(scope="module", params=["sqlite", "server"])
def shared(request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a store that several processes use at once."""
    folder = tmp_path_factory.mktemp("shared")
    database = shutil.copy(store.removeprefix("sqlite:///"), folder / "shared.db")
    if request.param == "sqlite":
        yield f"sqlite:///{database}"
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with subprocess.Popen(
        [*call, "--backend-store-uri", f"sqlite:///{database}"],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def _wait_for(address: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.3)


@pytest.mark.slow
def test_two_tasks_that_start_at_once_make_one_run_of_their_job(shared: str) -> None:
    there = MlflowClient(shared)
    experiment = there.create_experiment("tasks at once")
    tasks: list[Any] = [
        subprocess.Popen(
            [sys.executable, "-c", TASK, shared, experiment, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "other")
    ]
    for task in tasks:
        assert task.stdout.readline() == "ready\n"
    begin = time.time() + 0.5
    for task in tasks:
        task.stdin.write(f"{begin}\n")
        task.stdin.close()
    assert [task.wait(timeout=120) for task in tasks] == [0, 0]
    for task in tasks:
        task.stdout.close()

    runs = there.search_runs([experiment])
    jobs = {run.info.run_id: run.data.tags["job_run"] for run in runs if "job_run" in run.data.tags}
    children = Counter(jobs[run.data.tags["mlflow.parentRunId"]] for run in runs if run.info.run_id not in jobs)
    assert children == {f"job {number}": 2 for number in range(ROUNDS)}
    assert len(jobs) == ROUNDS
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.slow
def test_what_others_have_open_on_a_server_is_left_open_and_in_a_lakes_own_store_nobody_else_is(
    shared: str,
) -> None:
    there = MlflowClient(shared)
    experiment = there.create_experiment("open")
    theirs, ours = (there.create_run(experiment, tags={"use_case": "churn"}) for _ in range(2))
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(shared)
    tracking.end_abandoned(ours)
    mlflow.set_tracking_uri(before)

    assert there.get_run(ours.info.run_id).info.status == "RUNNING"
    assert there.get_run(theirs.info.run_id).info.status == ("RUNNING" if shared.startswith("http") else "KILLED")
