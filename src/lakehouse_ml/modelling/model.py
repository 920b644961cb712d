"""A registered version that scores rows in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse_ml.errors import RegistryError
from lakehouse_ml.modelling.card import ModelCard
from lakehouse_ml.modelling.estimators.base import estimator_backend, select_predictors

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Model:
    """A registered version, loaded and checked."""

    name: str
    version: str
    model: Any
    card: ModelCard

    def score(self, rows: pd.DataFrame) -> np.ndarray:
        """Score rows in memory: probability of the positive outcome, shape (n_rows,); other columns are ignored.

        Raises:
            RegistryError: Predictors are missing; the message names them.
        """
        self.check_columns(rows.columns)
        return estimator_backend(self.card.library).score(
            self.model, select_predictors(rows, self.card.categorical, self.card.numeric)
        )

    def check_columns(self, columns: Iterable[str]) -> None:
        """Check that rows with these columns can be scored; the label dimension is set by scoring, not by the rows.

        Raises:
            RegistryError: Predictors are missing; the message names them.
        """
        missing = sorted(set(self.card.predictors) - {self.card.label_dimension} - set(columns))
        if missing:
            raise RegistryError(
                f"Version {self.version} of {self.name} needs columns that the features no longer have: "
                f"{', '.join(missing)}. It was trained by other code: go back to that, or start a new lake with "
                f"LAKE=<folder>."
            )
