"""One MLflow run for a job: the runs of its tasks are its children, its status is theirs, a repair duplicates nothing.

Tasks don't know each other and the store has no lock. So each task, when it begins and when it ends, corrects what it
finds, whichever tasks came before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Run

# Tag of the job's run: the platform's id of it.
_NAME = "job_run"
_PARENT = "mlflow.parentRunId"
# Tag of an attempt's run and of its trials: the id of the run that replaces it.
_SUPERSEDED = "superseded_by"


def attach_task(job_run: str, run_id: str) -> None:
    """Make a task's run a child of its job's run, which the first task creates; it replaces earlier attempts.

    Args:
        job_run: The platform's id of this run of the job; a repaired task has that of the first attempt.
        run_id: Of the task's run, which is active.
    """
    client = _client()
    task = client.get_run(run_id)
    experiment = task.info.experiment_id
    if not _find_job_runs(client, experiment, job_run):
        client.create_run(experiment, run_name=f"job run {job_run}", tags={_NAME: job_run})
    job = _adopt_task(client, task, job_run)
    for attempt in _list_attempts(client, job, task):
        for run in (attempt, *_list_children(client, attempt)):
            client.set_tag(run.info.run_id, _SUPERSEDED, run_id)
        if attempt.info.status == "RUNNING":  # a process that was killed couldn't say so
            client.set_terminated(attempt.info.run_id, "KILLED")
    _set_status(client, job, "RUNNING")


def finish_task(run_id: str) -> None:
    """Update the status of a job's run, one of whose tasks has ended; a run that is no task changes nothing.

    Args:
        run_id: Of the task's run.
    """
    client = _client()
    task = client.get_run(run_id)
    parent = task.data.tags.get(_PARENT)
    name = client.get_run(parent).data.tags.get(_NAME) if parent else None
    if name is not None:
        _update_status(client, task.info.experiment_id, name)


def confirm_repair(job_run: str, run_id: str) -> None:
    """Mark an attempt that was interrupted after its last result as finished: its repair had nothing left to do.

    Args:
        job_run: What the platform calls this run of the job.
        run_id: Of the repair's own run, in which every step was skipped.
    """
    client = _client()
    task = client.get_run(run_id)
    if not _find_job_runs(client, task.info.experiment_id, job_run):
        return
    job = _merge_job_runs(client, task.info.experiment_id, job_run)
    for attempt in _list_attempts(client, job, task)[-1:]:
        if attempt.info.status != "FINISHED":
            client.set_terminated(attempt.info.run_id)
    _update_status(client, task.info.experiment_id, job_run)


def _adopt_task(client: MlflowClient, task: Run, job_run: str) -> Run:
    """The job's run, whose child the task's is now.

    Another task may take the place of that run between a look and the tag: whoever looks last sees the other's.
    """
    parent, job = None, _merge_job_runs(client, task.info.experiment_id, job_run)
    while job.info.run_id != parent:
        parent = job.info.run_id
        client.set_tag(task.info.run_id, _PARENT, parent)
        job = _merge_job_runs(client, task.info.experiment_id, job_run)
    return job


def _merge_job_runs(client: MlflowClient, experiment: str, job_run: str) -> Run:
    """Return the job's run; if several were created at once, the first, which takes over the children of the others."""
    first, *others = _find_job_runs(client, experiment, job_run)
    for other in others:
        for child in _list_children(client, other):
            client.set_tag(child.info.run_id, _PARENT, first.info.run_id)
        client.delete_run(other.info.run_id)
    return first


def _update_status(client: MlflowClient, experiment: str, job_run: str) -> None:
    """Set the status of the job's run from its tasks, until no task has begun or ended meanwhile."""
    last_update = None
    while True:
        job = _merge_job_runs(client, experiment, job_run)
        update = (job.info.run_id, _combine_status(_list_children(client, job)))
        if update == last_update:
            return
        _set_status(client, job, update[1])
        last_update = update


def _set_status(client: MlflowClient, job: Run, status: str) -> None:
    """Set the status of the job's run, unless another run has just replaced it: another task updates that one."""
    from mlflow.exceptions import MlflowException

    try:
        if status == "RUNNING":
            client.update_run(job.info.run_id, status)
        else:
            client.set_terminated(job.info.run_id, status)
    except MlflowException:
        if client.get_run(job.info.run_id).info.lifecycle_stage == "active":
            raise


def _combine_status(children: Sequence[Run]) -> str:
    """Combine the status of runs that no other run replaces."""
    statuses = {child.info.status for child in children if _SUPERSEDED not in child.data.tags}
    return next((status for status in ("RUNNING", "FAILED", "KILLED") if status in statuses), "FINISHED")


def _list_attempts(client: MlflowClient, job: Run, task: Run) -> list[Run]:
    """List earlier attempts at a task, oldest first: runs with the same stages and arguments that nothing replaces."""

    def is_same_task(run: Run) -> bool:
        return all(run.data.tags.get(key) == task.data.tags.get(key) for key in ("mlflow.runName", "command"))

    others = (run for run in _list_children(client, job) if run.info.run_id != task.info.run_id)
    return [run for run in others if is_same_task(run) and _SUPERSEDED not in run.data.tags]


def _find_job_runs(client: MlflowClient, experiment: str, job_run: str) -> list[Run]:
    return _search_runs(client, experiment, f"tags.{_NAME} = '{job_run}'")


def _list_children(client: MlflowClient, parent: Run) -> list[Run]:
    return _search_runs(client, parent.info.experiment_id, f"tags.`{_PARENT}` = '{parent.info.run_id}'")


def _search_runs(client: MlflowClient, experiment: str, wanted: str) -> list[Run]:
    order = ["attributes.start_time", "attributes.run_id"]
    return list(client.search_runs([experiment], wanted, max_results=1000, order_by=order))


def _client() -> MlflowClient:
    import mlflow

    return mlflow.MlflowClient()
