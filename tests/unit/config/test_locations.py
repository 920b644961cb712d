"""Where a lake's tables, files and models are, by its kind; and what stands for what nobody has set."""

from __future__ import annotations

import pytest

from lakehouse_ml.config import locations


@pytest.mark.parametrize(
    ("kind", "lake", "where"),
    [
        ("path", "/lake", "/lake/08_reporting/churn/of_trial/metrics_drift"),
        ("path", "s3://bucket/lake", "s3://bucket/lake/08_reporting/churn/of_trial/metrics_drift"),
        ("schema", "main.prod", "main.prod.churn_of_trial_metrics_drift"),
    ],
)
def test_a_table_is_below_an_address_or_in_a_schema_without_its_layer(kind: str, lake: str, where: str) -> None:
    assert locations.table(kind, lake, "08_reporting/churn/of_trial/metrics_drift") == where


@pytest.mark.parametrize(("kind", "lake"), [("path", "/lake"), ("path", "abfss://c@a.dfs/x"), ("schema", "main.prod")])
def test_a_table_s_name_is_found_again_in_its_address(kind: str, lake: str) -> None:
    where = locations.table(kind, lake, "07_model_output/churn/churn_trial")
    assert locations.name(kind, where, "churn") == "churn_trial"


@pytest.mark.parametrize(
    ("lake", "address", "recorded"),
    [
        ("/lake", "/lake/landing/churn", "landing/churn"),
        ("/lake", "/lakes/landing", "/lakes/landing"),
        ("s3://b/lake", "s3://b/lake/landing", "landing"),
        ("s3://b/lake", "s3://b/landing", "s3://b/landing"),
        (None, "/Volumes/main/landing", "/Volumes/main/landing"),
    ],
)
def test_an_address_in_a_lake_is_recorded_as_its_path_below_the_lake(
    lake: str | None, address: str, recorded: str
) -> None:
    assert locations.below(lake, address) == recorded
    assert locations.above(lake, recorded) == address


def test_a_table_s_path_tells_the_lake_and_its_name_in_a_schema_does_not() -> None:
    assert locations.lake_of("path", locations.table("path", "/my/lake", "01_raw/churn/manifest")) == "/my/lake"
    assert locations.lake_of("schema", locations.table("schema", "main.prod", "01_raw/churn/manifest")) is None


def test_what_is_no_table_lies_in_the_lake_or_in_a_volume_of_its_schema() -> None:
    assert locations.files("path", "s3://bucket/lake", "files") == "s3://bucket/lake"
    assert locations.files("schema", "main.prod", "files") == "/Volumes/main/prod/files"


def test_a_kind_that_nobody_knows_is_refused_whatever_the_lake_looks_like() -> None:
    with pytest.raises(ValueError, match="lake_kind can't be 'volume': it is path or schema"):
        locations.table("volume", "main.prod", "01_raw/churn/raw")


def test_a_variable_is_its_value_or_the_other_one_or_a_mark_that_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_CATALOG", "main")
    assert locations.variable("LAKEHOUSE_CATALOG", "other") == "main"
    monkeypatch.setenv("LAKEHOUSE_CATALOG", "")
    assert locations.variable("LAKEHOUSE_CATALOG", "other") == "other"
    assert locations.unset(f"s3://{locations.variable('LAKEHOUSE_CATALOG')}/x") == ["LAKEHOUSE_CATALOG"]
    assert locations.unset("s3://bucket/x") == locations.unset(None) == []


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("main.prod", True), ("my-catalog.lakehouse_ml_dev", True), (f"{'c' * 255}.s", True),
        ("main", False), ("main.prod.x", False), ("main.", False), ("main.my schema", False), ("main.a/b", False),
        ("main.Prod", False), ("main.a\tb", False), (f"{'c' * 256}.s", False), ("<CATALOG>.prod", False),
    ],
)  # fmt: skip
def test_what_unity_catalog_takes_for_a_schema(name: str, fits: bool) -> None:
    assert locations.is_schema(name) is fits


@pytest.mark.parametrize(
    ("address", "local"),
    [("data", True), ("/data/lake", True), ("s3://b/x", False), ("gs://b/x", False), ("/Volumes/main/x/files", False)],
)
def test_a_folder_of_one_machine_is_told_from_an_address(address: str, local: bool) -> None:
    assert locations.is_local(address) is local


@pytest.mark.parametrize(
    ("kind", "given", "schema"),
    [("schema", "main.prod", "main.prod"), ("schema", "", "main.me"), ("path", "data/mine", "main.me")],
)
def test_a_schema_that_a_run_is_given_brings_its_models(kind: str, given: str, schema: str) -> None:
    assert locations.models(kind, given, "main.me") == schema
