"""What jobs cost, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lakehouse_ml.config.prices import Prices
from lakehouse_ml.errors import ConfError
from lakehouse_ml.operations.bundle.bundle import Bundle, load_bundle
from lakehouse_ml.operations.bundle.cost import estimate_clusters, estimate_jobs
from lakehouse_ml.operations.bundle.schedules import count_monthly_runs

PRICES = Prices.model_validate(
    {
        "dbu": {"jobs": 0.1, "serverless": 0.5, "notebooks": 1.0},
        "nodes": {"small": {"dollars": 1.0, "dbus": 2.0}, "large": {"dollars": 10.0, "dbus": 20.0}},
        "spot_share": 0.5,
        "serverless_dbus": 4.0,
        "start_minutes": 6.0,
        "minutes": {"default": 30.0, "long": 60.0},
        "starts_by_arrival": 7.0,
    }
)
SERVERLESS = {"environment_key": "usual"}
ON_CLUSTER = {"job_cluster_key": "own"}
SPOT = {"availability": "SPOT_WITH_FALLBACK", "first_on_demand": 1}


def task(key: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    return {"task_key": key, "depends_on": [{"task_key": other} for other in depends_on], **fields}


def bundle(folder: Path, job: dict[str, Any], clusters: dict[str, Any] | None = None) -> Bundle:
    resources = {"jobs": {"job": job}, "clusters": clusters or {}}
    content = {"bundle": {"name": "b"}, "targets": {"dev": {"default": True}}, "resources": resources}
    (folder / "databricks.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_bundle(folder)


def price_run(folder: Path, tasks: list[dict[str, Any]], cluster: dict[str, Any] | None = None) -> float:
    clusters = [{"job_cluster_key": "own", "new_cluster": cluster}] if cluster else []
    (cost,) = estimate_jobs(bundle(folder, {"tasks": tasks, "job_clusters": clusters}), PRICES)
    return cost.run


def test_a_serverless_task_is_paid_by_its_minutes(tmp_path: Path) -> None:
    tasks = [task("short", **SERVERLESS), task("long", **SERVERLESS)]
    assert price_run(tmp_path, tasks) == pytest.approx((0.5 + 1.0) * 4.0 * 0.5)


def test_a_cluster_is_paid_from_its_start_until_its_last_task_ends(tmp_path: Path) -> None:
    tasks = [
        task("first", **SERVERLESS),
        task("second", "first", **ON_CLUSTER),
        task("third", "second", **SERVERLESS),
        task("fourth", "third", **ON_CLUSTER),
    ]
    hours = (6 + 3 * 30) / 60  # while the third task runs elsewhere, the cluster waits
    cluster = hours * (1.0 + 2.0 * 0.1)
    assert price_run(tmp_path, tasks, {"node_type_id": "small", "is_single_node": True}) == pytest.approx(cluster + 2.0)


def test_tasks_side_by_side_share_their_cluster(tmp_path: Path) -> None:
    tasks = [task("one", **ON_CLUSTER), task("long", **ON_CLUSTER)]
    machine = {"node_type_id": "small", "is_single_node": True}
    assert price_run(tmp_path, tasks, machine) == pytest.approx(66 / 60 * 1.2)


def test_a_cluster_that_no_task_uses_costs_nothing(tmp_path: Path) -> None:
    assert price_run(tmp_path, [task("one", **SERVERLESS)], {"node_type_id": "small"}) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("fields", "an_hour"),
    [
        ({"num_workers": 2}, 1.0 + 2 * 10.0 + 0.1 * (2 + 2 * 20)),
        ({"num_workers": 2, "aws_attributes": SPOT}, 1.0 + 2 * 5.0 + 0.1 * (2 + 2 * 20)),
        ({"num_workers": 2, "aws_attributes": {**SPOT, "first_on_demand": 2}}, 1.0 + 10.0 + 5.0 + 0.1 * 42),
        ({"num_workers": 2, "aws_attributes": {"availability": "SPOT"}}, 0.5 + 2 * 5.0 + 0.1 * 42),
        ({"autoscale": {"min_workers": 1, "max_workers": 4}}, 1.0 + 2.5 * 10.0 + 0.1 * (2 + 2.5 * 20)),
    ],
)
def test_driver_and_workers_have_their_own_prices(tmp_path: Path, fields: dict[str, Any], an_hour: float) -> None:
    cluster = {"node_type_id": "large", "driver_node_type_id": "small", **fields}
    assert price_run(tmp_path, [task("one", **ON_CLUSTER)], cluster) == pytest.approx(36 / 60 * an_hour)


def test_a_notebook_cluster_is_priced_by_the_hour(tmp_path: Path) -> None:
    cluster = {"shared": {"node_type_id": "small", "num_workers": 1}}
    costs = estimate_clusters(bundle(tmp_path, {"tasks": []}, cluster), PRICES)
    assert costs == {"shared": pytest.approx(2 * 1.0 + 4 * 1.0)}


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (
            {"node_type_id": "smal"},
            r"node type smal has no price\. Did you mean small\? Add it to nodes in prices\.yml",
        ),
        ({"node_type_id": "small", "driver_node_type_id": "huge"}, "node type huge has no price"),
        ({"instance_pool_id": "p-1", "num_workers": 1}, "job: own names no node type, as machines of a pool do"),
    ],
)
def test_a_machine_without_a_price_is_named(tmp_path: Path, cluster: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfError, match=message):
        price_run(tmp_path, [task("one", **ON_CLUSTER)], cluster)


def test_tasks_in_a_circle_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfError, match="job: tasks wait for each other in a circle: "):
        price_run(tmp_path, [task("one", "two", **SERVERLESS), task("two", "one", **SERVERLESS)])


@pytest.mark.parametrize(
    ("start", "monthly"),
    [
        ({}, None),
        ({"schedule": {"quartz_cron_expression": "0 0 3 1 * ?", "timezone_id": "UTC"}}, 1.0),
        ({"schedule": {"quartz_cron_expression": "0 0 3 1 * ?", "pause_status": "PAUSED"}}, None),
        ({"trigger": {"periodic": {"interval": 12, "unit": "HOURS"}}}, 2 * 1461 / 48),
        ({"trigger": {"periodic": {"interval": 1, "unit": "WEEKS"}, "pause_status": "UNPAUSED"}}, 1461 / 48 / 7),
        ({"trigger": {"periodic": {"interval": 1, "unit": "DAYS"}, "pause_status": "PAUSED"}}, None),
        ({"trigger": {"file_arrival": {"url": "/Volumes/a/b/c/"}}}, 7.0),
        ({"trigger": {"table_update": {"table_names": ["a.b.c"]}}}, 7.0),
    ],
)
def test_a_month_has_the_runs_that_start_by_themselves(
    tmp_path: Path, start: dict[str, Any], monthly: float | None
) -> None:
    (cost,) = estimate_jobs(bundle(tmp_path, {"tasks": [task("one", **SERVERLESS)], **start}), PRICES)
    assert cost.monthly_runs == (None if monthly is None else pytest.approx(monthly))
    assert cost.month == (None if monthly is None else pytest.approx(monthly * 1.0))


@pytest.mark.parametrize(
    ("expression", "monthly"),
    [
        ("0 0 3 1 * ?", 1),
        ("0 0 3 * * ?", 1461 / 48),
        ("0 0/15 8-17 ? * MON-FRI", 4 * 10 * 1043 / 48),
        ("0 0 12 ? * FRI-MON", 835 / 48),
        ("0 0 3 L * ?", 1),
        ("0 0 3 15W * ?", 1),
        ("0 0 3 ? * 6L", 1),
        ("0 0 3 ? * MON#1", 1),
        ("0 0 3 1 JAN,JUL ?", 2 / 12),
        ("0 0 3 29 FEB ?", 1 / 48),
        ("0 5/20 3 31 * ?", 3 * 7 / 12),
    ],
)
def test_a_cron_expression_fires_so_often_a_month(expression: str, monthly: float) -> None:
    assert count_monthly_runs(expression) == pytest.approx(monthly)
