"""Rooms import only what lies below them; one planted import breaks each contract."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter.configuration import configure
from importlinter.contracts.acyclic_siblings import AcyclicSiblingsContract
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract
from importlinter.domain.contract import Contract

PROJECT = Path(__file__).resolve().parents[2]
KINDS: Mapping[str, type[Contract]] = {
    "acyclic_siblings": AcyclicSiblingsContract,
    "forbidden": ForbiddenContract,
    "independence": IndependenceContract,
    "layers": LayersContract,
}
SETTINGS = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
CONTRACTS = {contract["name"]: contract for contract in SETTINGS["contracts"]}
# An import that breaks a contract: who imports what.
PLANTED = [
    ("Rooms are layers", "lakehouse_ml.storage.lock", "lakehouse_ml.runs.session"),
    ("Rooms are layers", "lakehouse_ml.use_cases.churn.features", "lakehouse_ml.pipelines.grid"),
    ("Rooms are layers", "lakehouse_ml.runs.summary", "lakehouse_ml.cli.commands"),
    ("What decides imports nothing that touches the world", "lakehouse_ml.pipelines.training.nodes", "mlflow"),
    ("What decides imports nothing that touches the world", "lakehouse_ml.report.page", "lakehouse_ml.engine.sessions"),
    ("What decides imports nothing that touches the world", "lakehouse_ml.use_cases.churn.labels", "kedro"),
    ("Modelling knows data and parameters alone", "lakehouse_ml.modelling.drift", "lakehouse_ml.use_cases.churn"),
    ("No stage imports another", "lakehouse_ml.pipelines.monitoring.nodes", "lakehouse_ml.pipelines.training.nodes"),
    (
        "Use cases are independent of each other",
        "lakehouse_ml.use_cases.churn.features",
        "lakehouse_ml.use_cases.predictive_maintenance.features",
    ),
    ("No circle of modules or folders", "lakehouse_ml.modelling.metrics", "lakehouse_ml.modelling.gates"),
    ("No circle of modules or folders", "lakehouse_ml.storage.delta.writers", "lakehouse_ml.storage.delta.spark"),
]


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    configure()
    return grimp.build_graph("lakehouse_ml", include_external_packages=True, exclude_type_checking_imports=True)


@pytest.fixture
def graph(imports: grimp.ImportGraph) -> grimp.ImportGraph:
    """A copy that a test, and the check of a contract, may change."""
    return deepcopy(imports)


def is_kept(name: str, graph: grimp.ImportGraph) -> bool:
    options: dict[str, Any] = {key: value for key, value in CONTRACTS[name].items() if key not in ("name", "type")}
    if "exhaustive" in options:
        options["exhaustive"] = str(options["exhaustive"])
    session = {"root_packages": ["lakehouse_ml"], "include_external_packages": "True"}
    contract = KINDS[CONTRACTS[name]["type"]](name, session, options)
    return bool(contract.check(graph=graph, verbose=False).kept)


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_contract_is_kept(name: str, graph: grimp.ImportGraph) -> None:
    assert is_kept(name, graph)


@pytest.mark.parametrize(("name", "importer", "imported"), PLANTED)
def test_one_import_breaks_the_contract(name: str, importer: str, imported: str, graph: grimp.ImportGraph) -> None:
    assert {importer, imported} <= graph.modules

    graph.add_import(importer=importer, imported=imported)

    assert not is_kept(name, graph)


def test_each_contract_has_an_import_that_breaks_it() -> None:
    assert {name for name, _, _ in PLANTED} == set(CONTRACTS)


def test_a_new_room_without_a_layer_breaks_the_layers(graph: grimp.ImportGraph) -> None:
    graph.add_module("lakehouse_ml.attic")

    assert not is_kept("Rooms are layers", graph)
