"""One MLflow run over the tasks of a job: theirs are its children, its status is theirs, and a repair doubles nothing.

No task knows of the others, and the store has no lock: each does what makes things right whoever else has come so far,
when it begins and again when it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Run

# On the job's run: what the platform calls it.
_NAME = "job_run"
_PARENT = "mlflow.parentRunId"
# On the run of an attempt, and on its trials': the id of the run that takes its place.
_SUPERSEDED = "superseded_by"


def attach_task(job_run: str, run_id: str) -> None:
    """Make a task's run a child of the run of its job, which the first task makes, in place of earlier attempts.

    Args:
        job_run: What the platform calls this run of the job; a repaired task has that of the first attempt.
        run_id: Of the task's run, which is active.
    """
    client = _client()
    task = client.get_run(run_id)
    experiment = task.info.experiment_id
    if not _named(client, experiment, job_run):
        client.create_run(experiment, run_name=f"job run {job_run}", tags={_NAME: job_run})
    job = _adopted(client, task, job_run)
    for attempt in _attempts(client, job, task):
        for run in (attempt, *_children(client, attempt)):
            client.set_tag(run.info.run_id, _SUPERSEDED, run_id)
        if attempt.info.status == "RUNNING":  # a process that was killed couldn't say so
            client.set_terminated(attempt.info.run_id, "KILLED")
    _tell(client, job, "RUNNING")


def finish_task(run_id: str) -> None:
    """Let the run of a job have the status of its tasks, one of which has ended; other runs than tasks' are none's.

    Args:
        run_id: Of the task's run.
    """
    client = _client()
    task = client.get_run(run_id)
    parent = task.data.tags.get(_PARENT)
    name = client.get_run(parent).data.tags.get(_NAME) if parent else None
    if name is not None:
        _settle(client, task.info.experiment_id, name)


def confirm_repair(job_run: str, run_id: str) -> None:
    """An attempt that broke off after its last result has done all of its task: so a repair says that found it all.

    Args:
        job_run: What the platform calls this run of the job.
        run_id: Of the repair's own run, which has done nothing.
    """
    client = _client()
    task = client.get_run(run_id)
    if not _named(client, task.info.experiment_id, job_run):
        return
    job = _gathered(client, task.info.experiment_id, job_run)
    for attempt in _attempts(client, job, task)[-1:]:
        if attempt.info.status != "FINISHED":
            client.set_terminated(attempt.info.run_id)
    _settle(client, task.info.experiment_id, job_run)


def _adopted(client: MlflowClient, task: Run, job_run: str) -> Run:
    """The job's run, whose child the task's is now.

    Another task may take the place of that run between a look and the tag: whoever looks last sees the other's.
    """
    parent, job = None, _gathered(client, task.info.experiment_id, job_run)
    while job.info.run_id != parent:
        parent = job.info.run_id
        client.set_tag(task.info.run_id, _PARENT, parent)
        job = _gathered(client, task.info.experiment_id, job_run)
    return job


def _gathered(client: MlflowClient, experiment: str, job_run: str) -> Run:
    """The job's run: of several that were made at the same moment the first, to which the others' children go."""
    first, *others = _named(client, experiment, job_run)
    for other in others:
        for child in _children(client, other):
            client.set_tag(child.info.run_id, _PARENT, first.info.run_id)
        client.delete_run(other.info.run_id)
    return first


def _settle(client: MlflowClient, experiment: str, job_run: str) -> None:
    """Tell on the job's run how its tasks stand, until none has begun or ended meanwhile."""
    told = None
    while True:
        job = _gathered(client, experiment, job_run)
        now = (job.info.run_id, _status(_children(client, job)))
        if now == told:
            return
        _tell(client, job, now[1])
        told = now


def _tell(client: MlflowClient, job: Run, status: str) -> None:
    """Set the status of the job's run; where another one has just taken its place, that one's is another task's."""
    from mlflow.exceptions import MlflowException

    try:
        if status == "RUNNING":
            client.update_run(job.info.run_id, status)
        else:
            client.set_terminated(job.info.run_id, status)
    except MlflowException:
        if client.get_run(job.info.run_id).info.lifecycle_stage == "active":
            raise


def _status(children: Sequence[Run]) -> str:
    """Of runs of which those count that no other one took the place of."""
    standing = {child.info.status for child in children if _SUPERSEDED not in child.data.tags}
    return next((status for status in ("RUNNING", "FAILED", "KILLED") if status in standing), "FINISHED")


def _attempts(client: MlflowClient, job: Run, task: Run) -> list[Run]:
    """Earlier ones at the same task, by its stages and its words, oldest first; those that were superseded are none."""

    def same(run: Run) -> bool:
        return all(run.data.tags.get(key) == task.data.tags.get(key) for key in ("mlflow.runName", "command"))

    others = (run for run in _children(client, job) if run.info.run_id != task.info.run_id)
    return [run for run in others if same(run) and _SUPERSEDED not in run.data.tags]


def _named(client: MlflowClient, experiment: str, job_run: str) -> list[Run]:
    return _found(client, experiment, f"tags.{_NAME} = '{job_run}'")


def _children(client: MlflowClient, parent: Run) -> list[Run]:
    return _found(client, parent.info.experiment_id, f"tags.`{_PARENT}` = '{parent.info.run_id}'")


def _found(client: MlflowClient, experiment: str, wanted: str) -> list[Run]:
    order = ["attributes.start_time", "attributes.run_id"]
    return list(client.search_runs([experiment], wanted, max_results=1000, order_by=order))


def _client() -> MlflowClient:
    import mlflow

    return mlflow.MlflowClient()
