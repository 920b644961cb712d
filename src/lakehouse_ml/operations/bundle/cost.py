"""What jobs cost: an estimate from the bundle's compute and schedules, and from prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from lakehouse_ml.config.prices import Prices
from lakehouse_ml.errors import ConfError, suggest_name
from lakehouse_ml.operations.bundle.bundle import Bundle, Job, Task
from lakehouse_ml.operations.bundle.schedules import DAYS_A_MONTH, count_monthly_runs

_PERIODS = {"HOURS": 1 / 24, "DAYS": 1.0, "WEEKS": 7.0}


@dataclass(frozen=True)
class JobCost:
    """What a job costs.

    Attributes:
        job: Its key.
        run: Dollars per run.
        monthly_runs: How often its schedule or trigger starts it a month; None where a person starts it.
    """

    job: str
    run: float
    monthly_runs: float | None

    @property
    def month(self) -> float | None:
        """Dollars per month; None where a person starts it."""
        return None if self.monthly_runs is None else self.run * self.monthly_runs


def estimate_jobs(bundle: Bundle, prices: Prices) -> list[JobCost]:
    """Estimate every job of a bundle, without retries.

    Serverless tasks are paid by their minutes. A cluster is paid from its start until the last task on it ends, idle
    minutes between its tasks included; its workers are the middle between fewest and most.

    Raises:
        ConfError: A node type has no price, or the tasks of a job wait for each other in a circle.
    """
    return [JobCost(job.key, _price_run(job, prices), _count_runs(job, prices)) for job in bundle.jobs.values()]


def estimate_clusters(bundle: Bundle, prices: Prices) -> dict[str, float]:
    """Dollars per hour of each all-purpose cluster.

    Raises:
        ConfError: A node type has no price.
    """
    clusters = bundle.resources.get("clusters") or {}
    return {key: _price_hour(key, fields, prices, prices.dbu.notebooks) for key, fields in clusters.items()}


def _price_run(job: Job, prices: Prices) -> float:
    ends = _find_ends(job, prices)
    serverless = sum(_minutes(task, prices) for task in job.tasks if task.is_serverless)
    dollars = serverless / 60 * prices.serverless_dbus * prices.dbu.serverless
    for key, cluster in job.clusters.items():
        tasks = [task for task in job.tasks if not task.is_serverless and task.compute == key]
        if tasks:
            start = min(ends[task.key] - _minutes(task, prices) for task in tasks)
            minutes = prices.start_minutes + max(ends[task.key] for task in tasks) - start
            dollars += minutes / 60 * _price_hour(f"{job.key}: {key}", cluster, prices, prices.dbu.jobs)
    return dollars


def _find_ends(job: Job, prices: Prices) -> dict[str, float]:
    """When each task ends, in minutes after the first one starts: each starts as soon as it may."""
    tasks = {task.key: task for task in job.tasks}
    ends: dict[str, float] = {}
    try:
        for key in TopologicalSorter({key: task.depends_on for key, task in tasks.items()}).static_order():
            if key in tasks:
                begin = max((ends.get(other, 0) for other in tasks[key].depends_on), default=0)
                ends[key] = begin + _minutes(tasks[key], prices)
    except CycleError as error:
        raise ConfError(f"{job.key}: tasks wait for each other in a circle: {', '.join(error.args[1])}.") from error
    return ends


def _minutes(task: Task, prices: Prices) -> float:
    minutes = prices.minutes.get(task.key, prices.minutes.get("default"))
    if minutes is None:
        raise ConfError(f"prices.yml: minutes has neither {task.key} nor default.")
    return minutes


def _price_hour(name: str, cluster: Mapping[str, Any], prices: Prices, dbu: float) -> float:
    """Dollars per hour of a cluster."""
    worker = str(cluster.get("node_type_id") or "")
    driver = str(cluster.get("driver_node_type_id") or worker)
    for node in (worker, driver):
        if not node:
            raise ConfError(f"{name} names no node type, as machines of a pool do: name it to get a price.")
        if node not in prices.nodes:
            hint = suggest_name(node, prices.nodes)
            raise ConfError(f"{name}: node type {node} has no price. {hint} Add it to nodes in prices.yml.")
    aws = cluster.get("aws_attributes") or {}
    is_spot = "SPOT" in str(aws.get("availability", ""))
    n_workers = _count_workers(cluster)
    # The driver is the first machine on demand.
    n_on_demand = min(n_workers, max(int(aws.get("first_on_demand") or 0) - 1, 0)) if is_spot else n_workers
    machines = prices.nodes[driver].dollars * (prices.spot_share if is_spot and not aws.get("first_on_demand") else 1)
    machines += prices.nodes[worker].dollars * (n_on_demand + (n_workers - n_on_demand) * prices.spot_share)
    return machines + dbu * (prices.nodes[driver].dbus + n_workers * prices.nodes[worker].dbus)


def _count_workers(cluster: Mapping[str, Any]) -> float:
    autoscale = cluster.get("autoscale")
    if autoscale:
        return (float(autoscale["min_workers"]) + float(autoscale["max_workers"])) / 2
    return 0.0 if cluster.get("is_single_node") else float(cluster.get("num_workers") or 0)


def _count_runs(job: Job, prices: Prices) -> float | None:
    """Runs a month; None where nothing starts the job by itself."""
    schedule, trigger = job.fields.get("schedule") or {}, job.fields.get("trigger") or {}
    if schedule.get("pause_status", "UNPAUSED") == "UNPAUSED" and schedule.get("quartz_cron_expression"):
        return count_monthly_runs(str(schedule["quartz_cron_expression"]))
    if not trigger or trigger.get("pause_status") == "PAUSED":
        return None
    if periodic := trigger.get("periodic"):
        return DAYS_A_MONTH / (float(periodic["interval"]) * _PERIODS[str(periodic["unit"])])
    return prices.starts_by_arrival
