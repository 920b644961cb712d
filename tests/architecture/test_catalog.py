"""The catalog is the map: every dataset stands on it once, in every environment, and nothing else does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.project import pipelines, settings
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogConfigResolver
from kedro.pipeline import Node, Pipeline

PROJECT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = sorted(path.name for path in (PROJECT / "conf").iterdir() if path.is_dir() and path.name != "base")
PREFIXES = (
    "landing_", "manifest_", "parsed_", "raw_", "checked_", "clean_", "quarantine_", "feature_", "label_",
    "model_input_", "candidate_", "champion_", "incumbent_", "metrics_", "verdict_",
    "promotion_", "score_", "outcome_", "report_",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _project() -> None:
    bootstrap_project(PROJECT)


def whole() -> Pipeline:
    return pipelines["__default__"]


def loader(env: str, **runtime: Any) -> OmegaConfigLoader:
    return settings.CONFIG_LOADER_CLASS(
        conf_source=str(PROJECT / "conf"), env=env, runtime_params=runtime, **settings.CONFIG_LOADER_ARGS
    )


def resolver(env: str, **runtime: Any) -> CatalogConfigResolver:
    return CatalogConfigResolver(config=loader(env, **runtime)["catalog"])


def places(catalog: CatalogConfigResolver) -> dict[str, str]:
    """The path of each stored dataset, relative to the lake."""
    names = [name for name in whole().datasets() if matching(name, catalog)]
    entries = {name: catalog.config.get(name) or catalog.resolve_pattern(name) for name in names}
    kept = {name: str(entry["filepath"]) for name, entry in entries.items() if "filepath" in entry}
    # Landing tables share their folder.
    return {name: path.removeprefix("/lake/") for name, path in kept.items() if ".landing_" not in name}


def matching(name: str, catalog: CatalogConfigResolver) -> list[str]:
    """The entry of a dataset: its own, or the pattern that matches best."""
    if name in catalog.config:
        return [name]
    pattern = catalog.match_dataset_pattern(name)
    return [pattern] if pattern else []


def off_the_map(pipeline: Pipeline, catalog: CatalogConfigResolver) -> list[str]:
    """Datasets of a pipeline without an entry: Kedro would keep them in memory and lose them."""
    names = [name for name in pipeline.datasets() if not name.startswith("params:") and name != "parameters"]
    return sorted(name for name in names if not matching(name, catalog))


def wrongly_named(names: list[str]) -> list[str]:
    """Datasets whose name doesn't begin with their layer."""
    shorts = {name: name.partition(".")[2] for name in names}
    return sorted(name for name, short in shorts.items() if short != "clock" and not short.startswith(PREFIXES))


def composed(globals_: dict[str, Any], text: str) -> list[str]:
    """Globals composed of other globals: an environment that overrides one would not change the other."""
    nested = [key for key, value in globals_.items() if isinstance(value, dict)]
    return nested + re.findall(r"^(\w+):.*\$\{(?!variable:)", text, flags=re.MULTILINE)


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_every_dataset_is_on_the_map_in_every_environment(env: str) -> None:
    assert off_the_map(whole(), resolver(env)) == []


def test_a_dataset_that_is_not_on_the_map_is_found() -> None:
    stray = Pipeline([Node(len, inputs="clean_customers", outputs="cleen_customers", name="stray")], namespace="churn")
    assert off_the_map(stray, resolver("local")) == ["churn.cleen_customers"]


def test_every_dataset_name_begins_with_its_layer() -> None:
    names = [name for name in whole().datasets() if not name.startswith("params:")]
    assert wrongly_named(names) == []


def test_a_dataset_without_a_layer_is_found() -> None:
    assert wrongly_named(["churn.customers_clean"]) == ["churn.customers_clean"]


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_no_pattern_catches_a_parameter(env: str) -> None:
    catalog = resolver(env)
    params = [name for name in whole().datasets() if name.startswith("params:")]
    assert params
    assert [name for name in params if catalog.match_dataset_pattern(name)] == []


def test_a_pattern_without_a_prefix_would_catch_a_parameter() -> None:
    greedy = CatalogConfigResolver(config={"{use_case}.{report}": {"type": "json.JSONDataset", "filepath": "{report}"}})
    assert greedy.match_dataset_pattern("params:churn.training")


def test_globals_are_leaves_in_every_environment() -> None:
    files = list((PROJECT / "conf").glob("*/globals.yml"))
    assert files
    for file in files:
        values = loader("local")["globals"]
        assert composed(values, file.read_text(encoding="utf-8")) == []


def test_a_composed_global_is_found() -> None:
    assert composed({"lake": "data", "root": "data/x"}, "lake: data\nroot: ${lake}/x\n") == ["root"]
    assert composed({"places": {"lake": "data"}}, "") == ["places"]


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_every_typed_parameter_builds_in_every_environment(env: str) -> None:
    from kedro.validation.parameter_validator import ParameterValidator

    built = ParameterValidator({"__default__": whole()}).validate_raw_params(loader(env)["parameters"])
    wanted = {name.removeprefix("params:") for name in whole().datasets() if name.startswith("params:")}
    for name in wanted:
        use_case, key = name.split(".")
        assert not isinstance(built[use_case][key], dict), f"{name} is not typed"


def test_an_environment_that_changes_one_parameter_keeps_its_siblings(tmp_path: Path) -> None:
    for folder, text in {
        "base": "churn: {training: {folds: 3, seed: 0}}",
        "prod": "churn: {training: {folds: 5}}",
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "parameters.yml").write_text(text, encoding="utf-8")
    arguments = dict(settings.CONFIG_LOADER_ARGS)
    merged = OmegaConfigLoader(conf_source=str(tmp_path), env="prod", **arguments)["parameters"]
    assert merged == {"churn": {"training": {"folds": 5, "seed": 0}}}


@pytest.mark.parametrize("table", ["score_{table}", "trial", "metrics_drift", "churn", "checked"])
def test_no_two_datasets_lie_in_the_same_place_whatever_the_table_of_results_is_called(table: str) -> None:
    paths = list(places(resolver("local", lake="/lake", results_table=table)).values())
    assert len(paths) > 50
    assert sorted({path for path in paths if paths.count(path) > 1}) == []
    assert [path for path in paths for other in paths if path.startswith(f"{other}/")] == []


def test_data_derived_from_scores_keeps_its_place_and_another_results_table_has_its_own() -> None:
    usual, trial = (
        places(resolver("local", lake="/lake")),
        places(resolver("local", lake="/lake", results_table="trial")),
    )
    new_places = {name: (usual[name], trial[name]) for name in usual if usual[name] != trial[name]}
    assert {name.partition(".")[2]: paths for name, paths in new_places.items() if name.startswith("churn.")} == {
        "score_customers": ("07_model_output/churn/score_customers", "07_model_output/churn/trial"),
        "score_actions": ("07_model_output/churn/score_actions", "07_model_output/churn/trial_actions"),
        "report_actions": ("07_model_output/churn/actions.csv", "07_model_output/churn/trial_actions.csv"),
        "verdict_live": ("08_reporting/churn/verdict_live", "08_reporting/churn/of_trial/verdict_live"),
        **{
            name: (f"08_reporting/churn/{path}", f"08_reporting/churn/of_trial/{path}")
            for name, path in {
                "metrics_drift": "metrics_drift",
                "metrics_live": "metrics_live",
                "verdict_drift": "verdict_drift",
                "outcome_customers": "outcome_customers",
                "report_drift": "drift.json",
                "report_page": "report.html",
            }.items()
        },
    }
    stages = [pipelines[stage] for stage in ("batch_scoring", "monitoring")]
    assert set(new_places) == {name for stage in stages for name in stage.all_outputs()}


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_every_entry_of_the_catalog_is_used(env: str) -> None:
    catalog = resolver(env)
    used = {entry for name in whole().datasets() for entry in matching(name, catalog)}
    entries = [*catalog.config, *(pattern for pattern in catalog.list_patterns() if pattern != "{default}")]
    assert sorted(set(entries) - used) == []


def test_every_validator_of_the_catalog_is_a_contract_that_exists() -> None:
    from kedro.validation.core import ValidatorSpec, resolve_validator

    conf = loader("local")["catalog"]
    catalog = CatalogConfigResolver(config=conf)
    checked = 0
    for name in whole().datasets():
        if name.startswith("params:") or not matching(name, catalog):
            continue
        entry = catalog.resolve_pattern(name)
        if "validator" in entry:
            contract: Any = resolve_validator(ValidatorSpec.from_dataset_config(name, entry["validator"]))
            assert contract.name == name.partition(".")[2]
            checked += 1
    assert checked > 10
