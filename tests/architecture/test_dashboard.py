"""The dashboard's file is sound, reads only what analysts may read, and each planted mistake in it is found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.framework.project import pipelines, settings
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogConfigResolver

import dashboards
from dashboards import Dashboard
from lakehouse_ml.config.lake import Lake
from lakehouse_ml.operations.maintenance import is_public

PROJECT = Path(__file__).resolve().parents[2]
LAKE = "main.lake"
# Use cases that are shipped. Who drafts another one adds it if they want to.
SHOWN = ("churn", "predictive_maintenance")


@pytest.fixture
def dashboard() -> Dashboard:
    return dashboards.load()


@pytest.fixture(scope="module")
def public() -> dict[str, bool]:
    """Each table's name in a schema, and whether maintenance lets analysts read it."""
    bootstrap_project(PROJECT)
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(PROJECT / "conf"), env="staging", runtime_params={"lake": LAKE}, **settings.CONFIG_LOADER_ARGS
    )
    catalog = CatalogConfigResolver(
        config=loader["catalog"], default_runtime_patterns={"{default}": {"type": "MemoryDataset"}}
    )
    entries = {name: catalog.resolve_pattern(name) for name in pipelines["__default__"].all_outputs()}
    return {
        entry["filepath"].removeprefix(f"{LAKE}."): is_public(name, entry.get("metadata"))
        for name, entry in entries.items()
        if entry["type"].endswith("DeltaTable")
    }


# --- as shipped


def test_the_file_is_sound(dashboard: Dashboard) -> None:
    assert dashboards.find_faults(dashboard) == []


def test_names_are_words(dashboard: Dashboard) -> None:
    names = [one["name"] for one in (*dashboard["datasets"], *dashboard["pages"])]
    names += [one["widget"]["name"] for page in dashboard["pages"] for one in page["layout"]]
    assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)] == []
    assert [name for name in names if re.fullmatch(r"[0-9a-f]{8,}", name)] == []


def test_analysts_may_read_every_table_that_it_reads(dashboard: Dashboard, public: dict[str, bool]) -> None:
    read = set().union(*map(dashboards.tables_of, dashboards.queries_of(dashboard).values()))
    assert read - public.keys() == set()
    assert {table for table in read if not public[table]} == set()


def test_not_every_table_is_for_analysts(public: dict[str, bool]) -> None:
    assert {
        name for name in ("churn_raw_customers", "churn_feature_customers", "churn_outcome_holdout") if public[name]
    } == set()
    quarantined = [name for name in public if "_quarantine_" in name]
    assert quarantined
    assert not any(public[name] for name in quarantined)


def test_every_query_has_all_tables_of_its_kind(dashboard: Dashboard, public: dict[str, bool]) -> None:
    """One use case, or one of its landing tables, missing in a query would be missing on the dashboard."""
    for name, query in dashboards.queries_of(dashboard).items():
        tables = dashboards.tables_of(query)
        for kind in ("manifest_", "metrics_rules_"):
            of_kind = {table for table in public if re.match(rf"({'|'.join(SHOWN)})_{kind}", table)}
            assert not tables & of_kind or of_kind <= tables, name
        read = {use_case for use_case in SHOWN if any(table.startswith(f"{use_case}_") for table in tables)}
        if not tables:
            continue  # the platform's record of jobs
        # Only its entities count once, so its rows are independent and chance can be estimated.
        expected = {"churn"} if name == "live_verdict" else set(SHOWN)
        assert read == expected, name


def test_the_levels_of_drift_are_those_of_the_parameters(dashboard: Dashboard) -> None:
    query = dashboards.queries_of(dashboard)["drift_levels"]
    shown = re.findall(
        r"'(\w+)' AS use_case.*?([\d.]+)D AS warning_level,\s+([\d.]+)D AS alarm_level", query, re.DOTALL
    )
    assert {use_case: (float(warn), float(alarm)) for use_case, warn, alarm in shown} == {
        name: (drift["psi_warn"], drift["psi_alarm"]) for name, drift in _drift_parameters().items()
    }


def _drift_parameters() -> dict[str, Any]:
    files = {name: PROJECT / "conf" / "base" / name / "parameters.yml" for name in SHOWN}
    values = {name: yaml.safe_load(file.read_text(encoding="utf-8")) for name, file in files.items()}
    return {name: value[name]["monitoring"]["drift"] for name, value in values.items()}


def test_the_names_of_tables_are_those_of_a_schema() -> None:
    assert Lake("schema", LAKE).table_location("01_raw/churn/manifest_customers") == f"{LAKE}.churn_manifest_customers"


# --- planted mistakes, one of each kind


def _page(dashboard: Dashboard, name: str) -> Any:
    return next(page for page in dashboard["pages"] if page["name"] == name)


def _widget(dashboard: Dashboard, name: str) -> Any:
    return next(one for page in dashboard["pages"] for one in page["layout"] if one["widget"]["name"] == name)


def _query(dashboard: Dashboard, widget: str) -> Any:
    return _widget(dashboard, widget)["widget"]["queries"][0]["query"]


def _drop_filter(dashboard: Dashboard, page: str, name: str) -> None:
    layout = _page(dashboard, page)["layout"]
    layout.remove(next(one for one in layout if one["widget"]["name"] == name))


@pytest.mark.parametrize(
    ("mistake", "fault"),
    [
        (lambda d: _query(d, "lines_read").update(datasetName="flies"), "widget lines_read: there is no dataset flies"),
        (lambda d: d["datasets"].append({"name": "spare", "queryLines": ["SELECT 1\n"]}),
         "dataset spare is shown nowhere"),
        (lambda d: d["datasets"].append(d["datasets"][0]), "dataset files: 2 have this name"),
        (lambda d: d["datasets"][0]["queryLines"].append("UNION ALL SELECT * FROM main.lake.churn_x\n"),
         "dataset files: main.lake.churn_x names a schema"),
        (lambda d: d["datasets"][-1]["queryLines"].append("JOIN system.billing.usage USING (job_id)\n"),
         "dataset job_runs: system.billing.usage names a schema"),
        (lambda d: _widget(d, "lines_refused")["position"].update(x=1), "widget lines_refused lies on lines_read"),
        (lambda d: _widget(d, "rows_quarantined")["position"].update(width=3),
         "widget rows_quarantined lies outside of the 6 columns"),
        (lambda d: _page(d, "drift").pop("displayName"), "page drift has no title"),
        (lambda d: _page(d, "drift")["layout"].pop(0), "page drift has no heading"),
        (lambda d: _drop_filter(d, "drift", "drift_filter_use_case"),
         "page drift: its filter of use cases leaves out drift_columns, drift_levels, drift_verdicts"),
        (lambda d: _drop_filter(d, "models", "models_filter_scored_day"),
         "page models: its filters of days leave out scores"),
        (lambda d: _query(d, "recall_per_day")["fields"].pop(),
         "widget recall_per_day shows avg(recall), which its query has not"),
        (lambda d: _widget(d, "verdicts")["widget"]["spec"]["encodings"]["columns"][0].pop("displayName"),
         "widget verdicts shows judged_at without a name for people"),
        (lambda d: _widget(d, "verdicts")["widget"]["spec"]["frame"].pop("title"), "widget verdicts has no title"),
        (lambda d: _widget(d, "verdicts")["widget"]["spec"].update(version=1),
         "widget verdicts: table has no version 1"),
    ],
)  # fmt: skip
def test_a_planted_mistake_is_found(dashboard: Dashboard, mistake: Callable[[Dashboard], object], fault: str) -> None:
    mistake(dashboard)
    assert fault in dashboards.find_faults(dashboard)


def test_the_file_is_written_for_people() -> None:
    text = dashboards.FILE.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert max(map(len, text.splitlines())) < 400
    assert json.loads(text).keys() == {"datasets", "pages"}
