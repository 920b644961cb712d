"""Values of a job's run in the parameters of its tasks: `{{job.parameters.lake}}` and the like.

The names: https://docs.databricks.com/jobs/dynamic-value-references
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")


class UnknownReferenceError(ValueError):
    """A reference names no value; the platform would pass its text on."""


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Replace references by values.

    Args:
        text: A parameter.
        values: By name, without braces.

    Raises:
        UnknownReferenceError: Names the reference.
    """

    def replace(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise UnknownReferenceError(f"{match[0]} is no reference: {', '.join(sorted(values))} are known.")
        return values[match[1]]

    return _REFERENCE.sub(replace, text)


def list_values(job: str, job_run: str, task: str, attempt: int, parameters: Mapping[str, str]) -> dict[str, str]:
    """List what a task of a run can refer to.

    Args:
        job: Key of the job.
        job_run: Id of this run of the job; a repair has that of the first attempt.
        task: Key of the task.
        attempt: Which attempt at the task this is, from 0.
        parameters: The job's, which may refer to the other values.
    """
    values = {
        "job.id": f"id_of_{job}",
        "job.name": job,
        "job.run_id": job_run,
        "job.repair_count": "0",
        "job.trigger.type": "one_time",
        "task.name": task,
        "task.run_id": f"{job_run}_{task}",
        "task.execution_count": str(attempt + 1),
    }
    return values | {f"job.parameters.{name}": substitute(text, values) for name, text in parameters.items()}


def build_arguments(
    named: Mapping[str, str], listed: tuple[str, ...], parameters: Mapping[str, str], values: Mapping[str, str]
) -> list[str]:
    """Build a wheel task's arguments as the platform does.

    A task with named parameters also gets those of its job, as `--name=value`; what the job says counts more. A task
    with a list of parameters gets that list alone.
    """
    if listed:
        return [substitute(text, values) for text in listed]
    merged = {**named, **parameters}
    return [f"--{name}={substitute(text, values)}" for name, text in merged.items()]
