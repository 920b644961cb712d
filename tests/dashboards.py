"""The dashboard's file: what is wrong with it, and what its queries and widgets return on the tables of a lake."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lakehouse_ml.config.lake import Lake

FILE = Path(__file__).resolve().parents[1] / "resources" / "lakehouse_ml.lvdash.json"
COLUMNS = 6
# The platform's record of jobs: https://docs.databricks.com/admin/system-tables/jobs
PLATFORM = "system.lakeflow."
# The version of its specification that each kind of widget has in dashboards that the platform exports.
VERSIONS = {
    "bar": 3,
    "counter": 2,
    "filter-date-range-picker": 2,
    "filter-multi-select": 2,
    "line": 3,
    "table": 2,
}
_READ = re.compile(r"\b(?:FROM|JOIN)\s+([^\s,()]+)")
_DEFINED = re.compile(r"\b(\w+) AS \($", re.MULTILINE)
_PLAIN = re.compile(r"`[^`]+`")

Dashboard = dict[str, Any]


def load() -> Dashboard:
    content: Dashboard = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def queries_of(dashboard: Dashboard) -> dict[str, str]:
    """The SQL of each dataset."""
    return {one["name"]: "".join(one["queryLines"]) for one in dashboard["datasets"]}


def tables_of(query: str) -> set[str]:
    """Tables of the lake that a query reads: neither those that it defines itself nor the platform's."""
    tables = set(_READ.findall(query)) - set(_DEFINED.findall(query))
    return {table for table in tables if not table.startswith(PLATFORM)}


def widgets_of(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Widgets with a query; headings have none."""
    return [one["widget"] for one in page["layout"] if "spec" in one["widget"]]


def is_filter(widget: Mapping[str, Any]) -> bool:
    return str(widget["spec"]["widgetType"]).startswith("filter-")


def filtered(page: Mapping[str, Any], column: str) -> set[str]:
    """Datasets that the page's filters restrict by a column."""
    return {
        query["query"]["datasetName"]
        for widget in widgets_of(page)
        if is_filter(widget)
        for query in widget["queries"]
        if query["query"]["fields"][0]["name"] == column
    }


def shown(page: Mapping[str, Any]) -> set[str]:
    """Datasets that the page's charts, tables and counters show."""
    return {
        query["query"]["datasetName"]
        for widget in widgets_of(page)
        if not is_filter(widget)
        for query in widget["queries"]
    }


def encoded_fields(widget: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of a widget's encodings that name a field."""
    for encoding in widget["spec"]["encodings"].values():
        yield from encoding if isinstance(encoding, list) else [encoding]


# --- mistakes in the file itself


def find_faults(dashboard: Dashboard) -> list[str]:
    """Mistakes that the platform would show as a broken widget, or not at all."""
    faults: list[str] = []
    queries, pages = queries_of(dashboard), dashboard["pages"]
    widgets = [one["widget"] for page in pages for one in page["layout"]]
    for kind, entries in (("dataset", dashboard["datasets"]), ("page", pages), ("widget", widgets)):
        counts = Counter(one["name"] for one in entries)
        faults += [f"{kind} {name}: {n} have this name" for name, n in counts.items() if n > 1]
    used = set().union(*(shown(page) for page in pages))
    faults += [f"dataset {name} is shown nowhere" for name in queries if name not in used]
    for name, query in queries.items():
        faults += [f"dataset {name}: {table} names a schema" for table in tables_of(query) if "." in table]
    for page in pages:
        faults += _find_page_faults(page, queries)
    return faults


def _find_page_faults(page: Mapping[str, Any], queries: Mapping[str, str]) -> Iterator[str]:
    name = page["name"]
    if not page.get("displayName"):
        yield f"page {name} has no title"
    if not page["layout"] or "multilineTextboxSpec" not in page["layout"][0]["widget"]:
        yield f"page {name} has no heading"
    unfiltered = shown(page) - filtered(page, "use_case")
    if unfiltered:
        yield f"page {name}: its filter of use cases leaves out {', '.join(sorted(unfiltered))}"
    undated = {one for one in shown(page) if " AS day" in queries.get(one, "")} - filtered(page, "day")
    if undated:
        yield f"page {name}: its filters of days leave out {', '.join(sorted(undated))}"
    for widget in widgets_of(page):
        yield from _find_widget_faults(widget, queries)
    yield from _find_position_faults(page)


def _find_widget_faults(widget: Mapping[str, Any], queries: Mapping[str, str]) -> Iterator[str]:
    name, spec = widget["name"], widget["spec"]
    if VERSIONS.get(spec["widgetType"]) != spec["version"]:
        yield f"widget {name}: {spec['widgetType']} has no version {spec['version']}"
    frame = spec.get("frame") or {}
    if not frame.get("title") or not frame.get("showTitle"):
        yield f"widget {name} has no title"
    fields: dict[str, set[str]] = {}
    for query in widget["queries"]:
        if query["query"]["datasetName"] not in queries:
            yield f"widget {name}: there is no dataset {query['query']['datasetName']}"
        fields[query["name"]] = {field["name"] for field in query["query"]["fields"]}
    for encoding in encoded_fields(widget):
        if encoding["fieldName"] not in fields.get(encoding.get("queryName", "main_query"), ()):
            yield f"widget {name} shows {encoding['fieldName']}, which its query has not"
        if not encoding.get("displayName"):
            yield f"widget {name} shows {encoding['fieldName']} without a name for people"


def _find_position_faults(page: Mapping[str, Any]) -> Iterator[str]:
    taken: dict[tuple[int, int], str] = {}
    for one in page["layout"]:
        name, at = one["widget"]["name"], one["position"]
        if not (0 <= at["x"] < at["x"] + at["width"] <= COLUMNS and at["y"] >= 0 < at["height"]):
            yield f"widget {name} lies outside of the {COLUMNS} columns"
        cells = [(x, y) for x in range(at["x"], at["x"] + at["width"]) for y in range(at["y"], at["y"] + at["height"])]
        others = {taken[cell] for cell in cells if cell in taken}
        if others:
            yield f"widget {name} lies on {', '.join(sorted(others))}"
        taken |= dict.fromkeys(cells, name)


# --- what it shows


def register_tables(spark: Any, lake: Path) -> list[str]:
    """Register each table of a lake in a folder under the name that it has in a schema."""
    names = []
    for log in sorted(lake.glob("*/*/*/_delta_log")):
        address = Lake("schema", "main.lake").table_location(log.parent.relative_to(lake).as_posix())
        names.append(address.rpartition(".")[2])
        spark.read.format("delta").load(str(log.parent)).createOrReplaceTempView(names[-1])
    return names


def register_empty_tables(spark: Any, missing: set[str]) -> None:
    """Register tables of a use case that never ran: without rows, with the columns of churn's table of that kind."""
    for name in missing:
        kind = next(kind for kind in _KINDS if f"_{kind}" in name)
        twin = f"churn_{kind}" if kind in _OF_USE_CASE else f"churn_{kind}_customers"
        spark.table(twin).limit(0).createOrReplaceTempView(name)


_OF_USE_CASE = ("score_actions", "metrics_drift", "metrics_live", "verdict_drift", "verdict_model")
_KINDS = (*_OF_USE_CASE, "score", "manifest", "metrics_rules")


def register_job_runs(spark: Any) -> None:
    """Register the platform's record of jobs: a run of two periods, a failed one, one in progress, and another job."""
    jobs = [
        (
            "w",
            "1",
            "churn_score",
            {"project": "lakehouse-ml", "use_case": "churn", "environment": "prod"},
            "2026-01-02",
        ),
        ("w", "1", "old name", {"project": "lakehouse-ml", "use_case": "churn", "environment": "prod"}, "2026-01-01"),
        ("w", "2", "maintenance", {"project": "lakehouse-ml", "use_case": "all", "environment": "prod"}, "2026-01-01"),
        ("w", "3", "another", {"project": "another"}, "2026-01-01"),
        ("v", "1", "of another workspace", {}, "2026-01-01"),
    ]
    runs = [
        ("w", "1", "11", "JOB_RUN", "2026-01-05 03:50:00", "2026-01-05 04:00:00", None),
        ("w", "1", "11", "JOB_RUN", "2026-01-05 04:00:00", "2026-01-05 04:02:30", "SUCCEEDED"),
        ("w", "1", "12", "JOB_RUN", "2026-01-06 03:00:00", "2026-01-06 03:01:00", "FAILED"),
        ("w", "2", "21", "JOB_RUN", "2026-01-07 03:00:00", "2026-01-07 04:00:00", None),
        ("w", "3", "31", "JOB_RUN", "2026-01-05 03:00:00", "2026-01-05 03:01:00", "SUCCEEDED"),
        ("w", "1", "99", "SUBMIT_RUN", "2026-01-05 03:00:00", "2026-01-05 03:01:00", "SUCCEEDED"),
    ]
    for name, rows, columns, times in (
        ("jobs", jobs, _JOBS, ["change_time"]),
        ("job_run_timeline", runs, _RUNS, ["period_start_time", "period_end_time"]),
    ):
        frame = spark.createDataFrame(rows, columns)
        for column in times:
            frame = frame.withColumn(column, frame[column].cast("timestamp"))
        frame.createOrReplaceTempView(_VIEWS + name)


_JOBS = "workspace_id string, job_id string, name string, tags map<string, string>, change_time string"
_RUNS = (
    "workspace_id string, job_id string, run_id string, run_type string, period_start_time string, "
    "period_end_time string, result_state string"
)
# A view has one name only.
_VIEWS = "system_lakeflow_"


def run_query(spark: Any, query: str) -> Any:
    return spark.sql(query.replace(PLATFORM, _VIEWS))


def compute(spark: Any, dashboard: Dashboard) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Run all queries, as the platform does.

    Returns:
        Rows by dataset; and rows by widget, with the dataset's rows grouped and aggregated as the widget asks. Filters
        have none.

    Raises:
        AssertionError: A widget shows a field that its query does not return.
    """
    datasets, widgets = {}, {}
    for name, query in queries_of(dashboard).items():
        rows = run_query(spark, query)
        rows.createOrReplaceTempView(f"dataset_{name}")
        datasets[name] = rows.toPandas()
    for widget in (widget for page in dashboard["pages"] for widget in widgets_of(page) if not is_filter(widget)):
        (query,) = (one["query"] for one in widget["queries"])
        columns = ", ".join(f"{field['expression']} AS `{field['name']}`" for field in query["fields"])
        groups = [field["expression"] for field in query["fields"] if _PLAIN.fullmatch(field["expression"])]
        grouping = f" GROUP BY {', '.join(groups)}" if groups and not query["disaggregated"] else ""
        rows = spark.sql(f"SELECT {columns} FROM dataset_{query['datasetName']}{grouping}").toPandas()
        assert {encoding["fieldName"] for encoding in encoded_fields(widget)} <= set(rows.columns), widget["name"]
        widgets[widget["name"]] = rows
    return datasets, widgets
