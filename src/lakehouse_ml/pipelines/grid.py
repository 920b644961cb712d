"""The grid of stages and use cases: each use case fills each stage's shape once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any

from lakehouse_ml.use_cases.base import UseCase

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline


def infer_inputs(function: Callable[..., Any]) -> dict[str, str]:
    """Map the parameters of a use case's function to datasets: `spec` to the features' parameters, others to tables."""
    return {
        name: "params:features" if name == "spec" else f"clean_{name}"
        for name in inspect.signature(function).parameters
    }


def population_input(use_case: UseCase) -> dict[str, str]:
    """The node input `population`; empty where an entity has multiple rows, for such rows have no population."""
    return {} if use_case.multiple_rows_per_entity else {"population": "params:population"}


def bind_no_population(use_case: UseCase) -> dict[str, None]:
    """The keyword argument `population=None` where an entity has multiple rows; else empty, and it is an input."""
    return {"population": None} if use_case.multiple_rows_per_entity else {}


def bind(function: Callable[..., Any], **values: Any) -> Callable[..., Any]:
    """Bind a use case's values to a node function; name, docstring and types stay, since Kedro reads them."""
    return update_wrapper(partial(function, **values), function)


def fill_stage(stage: str, shape: Callable[[UseCase], Pipeline]) -> Pipeline:
    """Build a stage once per use case: nodes `<use case>.<stage>.<node>`, data `<use case>.<dataset>`."""
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
