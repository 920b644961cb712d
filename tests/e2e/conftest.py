"""One lake that the tests of docs and notebooks share."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkouts import copied, shown

from lakehouse_ml.use_cases.churn.synthetic import write_csv

# One quick trial instead of five.
QUICK_SEARCH = """\
churn:
  training:
    trials:
      - {estimator: logistic_regression, params: {C: 1.0}}
"""


@pytest.fixture(scope="session")
def readers_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, with fewer customers to land."""
    copy = copied(tmp_path_factory.mktemp("docs") / "project")
    write_csv(copy / "data" / "landing" / "churn" / "customers_simulated.csv", n=1_600)
    return copy


@pytest.fixture
def lived(readers_checkout: Path) -> Path:
    """That copy with a champion and scores in its own lake, made again if somebody has removed it."""
    (readers_checkout / "conf" / "local" / "parameters.yml").write_text(QUICK_SEARCH, encoding="utf-8")
    if not (readers_checkout / "data" / "mlflow.db").exists():
        shown("make run", readers_checkout)
    return readers_checkout
