"""The grid of stages and use cases: each use case fills each stage's shape once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any

from lakehouse_ml.use_cases.base import UseCase

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline


def inputs_of(function: Callable[..., Any]) -> dict[str, str]:
    """Datasets that a use case's function reads, by its parameters."""
    return {
        name: "params:features" if name == "spec" else f"clean_{name}"
        for name in inspect.signature(function).parameters
    }


def population_of(use_case: UseCase) -> dict[str, str]:
    """The input `population` of a node, where rows are states of entities over time."""
    return {} if use_case.multiple_rows_per_entity else {"population": "params:population"}


def no_population(use_case: UseCase) -> dict[str, None]:
    """The same argument, filled where each row counts by itself."""
    return {"population": None} if use_case.multiple_rows_per_entity else {}


def filled(function: Callable[..., Any], **values: Any) -> Callable[..., Any]:
    """A node's function with a use case's values filled in; name, docstring and types stay, for Kedro reads them."""
    return update_wrapper(partial(function, **values), function)


def per_use_case(stage: str, shape: Callable[[UseCase], Pipeline]) -> Pipeline:
    """One stage filled once per use case: nodes `<use case>.<stage>.<node>`, data `<use case>.<dataset>`."""
    from kedro.pipeline import Pipeline

    from lakehouse_ml.use_cases import USE_CASES

    cells = [
        Pipeline(
            Pipeline(shape(use_case), namespace=stage, prefix_datasets_with_namespace=False),
            namespace=use_case.name,
        )
        for use_case in USE_CASES
    ]
    return sum(cells, start=Pipeline([]))
