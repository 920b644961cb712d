"""Where a lake's tables, files and models are, by its kind; and what stands for what nobody has set."""

from __future__ import annotations

import pytest

from lakehouse_ml.config.lake import Lake, find_unset, is_local, is_schema_name, read_variable


@pytest.mark.parametrize(
    ("kind", "lake", "where"),
    [
        ("path", "/lake", "/lake/08_reporting/churn/of_trial/metrics_drift"),
        ("path", "s3://bucket/lake", "s3://bucket/lake/08_reporting/churn/of_trial/metrics_drift"),
        ("schema", "main.prod", "main.prod.churn_of_trial_metrics_drift"),
    ],
)
def test_a_table_is_below_an_address_or_in_a_schema_without_its_layer(kind: str, lake: str, where: str) -> None:
    assert Lake(kind, lake).table_location("08_reporting/churn/of_trial/metrics_drift") == where


@pytest.mark.parametrize(("kind", "lake"), [("path", "/lake"), ("path", "abfss://c@a.dfs/x"), ("schema", "main.prod")])
def test_a_table_s_name_is_found_again_in_its_address(kind: str, lake: str) -> None:
    where = Lake(kind, lake).table_location("07_model_output/churn/churn_trial")
    assert Lake(kind, lake).table_name(where, "churn") == "churn_trial"


@pytest.mark.parametrize(
    ("lake", "address", "recorded"),
    [
        ("/lake", "/lake/landing/churn", "landing/churn"),
        ("/lake", "/lakes/landing", "/lakes/landing"),
        ("s3://b/lake", "s3://b/lake/landing", "landing"),
        ("s3://b/lake", "s3://b/landing", "s3://b/landing"),
        ("/lake", "/Volumes/main/landing", "/Volumes/main/landing"),
    ],
)
def test_an_address_in_a_lake_is_recorded_as_its_path_below_the_lake(lake: str, address: str, recorded: str) -> None:
    assert Lake("path", lake).shorten(address) == recorded
    assert Lake("path", lake).expand(recorded) == address


def test_an_address_is_recorded_as_it_is_where_the_lake_is_a_schema() -> None:
    lake = Lake("schema", "main.prod")
    assert lake.shorten("/Volumes/main/landing") == lake.expand("/Volumes/main/landing") == "/Volumes/main/landing"


@pytest.mark.parametrize("lake", [Lake("path", "/my/lake"), Lake("path", "s3://b/x"), Lake("schema", "main.prod")])
def test_a_table_s_location_tells_its_lake(lake: Lake) -> None:
    assert Lake.of_table(lake.kind, lake.table_location("01_raw/churn/manifest")) == lake


def test_what_is_no_table_lies_in_the_lake_or_in_a_volume_of_its_schema() -> None:
    assert Lake("path", "s3://bucket/lake").files_location("files") == "s3://bucket/lake"
    assert Lake("schema", "main.prod").files_location("files") == "/Volumes/main/prod/files"


def test_a_kind_that_nobody_knows_is_refused_whatever_the_lake_looks_like() -> None:
    with pytest.raises(ValueError, match="lake_kind can't be 'volume': it is path or schema"):
        Lake("volume", "main.prod")  # type: ignore[arg-type]


def test_a_variable_is_its_value_or_the_other_one_or_a_mark_that_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_CATALOG", "main")
    assert read_variable("LAKEHOUSE_CATALOG", "other") == "main"
    monkeypatch.setenv("LAKEHOUSE_CATALOG", "")
    assert read_variable("LAKEHOUSE_CATALOG", "other") == "other"
    assert find_unset(f"s3://{read_variable('LAKEHOUSE_CATALOG')}/x") == ["LAKEHOUSE_CATALOG"]
    assert find_unset("s3://bucket/x") == find_unset(None) == []


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("main.prod", True), ("my-catalog.lakehouse_ml_dev", True), (f"{'c' * 255}.s", True),
        ("main", False), ("main.prod.x", False), ("main.", False), ("main.my schema", False), ("main.a/b", False),
        ("main.Prod", False), ("main.a\tb", False), (f"{'c' * 256}.s", False), ("<CATALOG>.prod", False),
    ],
)  # fmt: skip
def test_what_unity_catalog_takes_for_a_schema(name: str, fits: bool) -> None:
    assert is_schema_name(name) is fits


@pytest.mark.parametrize(
    ("address", "local"),
    [("data", True), ("/data/lake", True), ("s3://b/x", False), ("gs://b/x", False), ("/Volumes/main/x/files", False)],
)
def test_a_folder_of_one_machine_is_told_from_an_address(address: str, local: bool) -> None:
    assert is_local(address) is local


@pytest.mark.parametrize(
    ("kind", "lake", "schema"),
    [("schema", "main.prod", "main.prod"), ("schema", "", "main.me"), ("path", "data/mine", "main.me")],
)
def test_a_schema_that_a_run_is_given_brings_its_models(kind: str, lake: str, schema: str) -> None:
    conf = {"lake_kind": kind, "lake": "main.conf", "models": "main.me"}
    assert Lake.of_conf(conf, {"lake": lake} if lake else {}, str).model_schema == schema


@pytest.mark.parametrize(
    ("kind", "text", "root", "address"),
    [
        ("path", "data/mine", "/project/data/mine", None),
        ("path", "s3://bucket/lake", "s3://bucket/lake", "s3://bucket/lake"),
        ("schema", "main.prod", "main.prod", None),
    ],
)
def test_a_lake_is_the_run_s_before_it_is_conf_s(kind: str, text: str, root: str, address: str | None) -> None:
    def resolve(folder: str) -> str:
        return folder if "://" in folder else f"/project/{folder}"

    own = {"lake_kind": kind, "lake": text, "models": ""}
    other = {"lake_kind": kind, "lake": "elsewhere", "models": ""}
    lake = Lake.of_conf(own, {}, resolve)
    assert (lake.root, lake.address) == (root, address)
    assert Lake.of_conf(other, {"lake": text}, resolve).root == root
