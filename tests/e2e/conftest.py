"""One lake that the tests of docs and notebooks share."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkouts import QUICK_SEARCH, copied, shown

from few_rows import told_in_conf
from lakehouse_ml.use_cases.churn.synthetic import write_csv
from lakehouse_ml.use_cases.predictive_maintenance.synthetic import simulate, write


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
    engine = readers_checkout / "conf" / "spark" / "spark.yml"
    engine.write_text(told_in_conf(engine.read_text(encoding="utf-8")), encoding="utf-8")
    if not (readers_checkout / "data" / "mlflow.db").exists():
        shown("make run", readers_checkout)
    return readers_checkout


@pytest.fixture
def plant(lived: Path) -> Path:
    """The same with the life of a small plant in its lake: 24 machines, from 2015-01-01 to 2015-03-16."""
    landing = lived / "data" / "landing" / "predictive_maintenance"
    if not landing.exists():
        write(landing, simulate(24, 75, seed=1))
    if not list(lived.glob("data/*/predictive_maintenance/score_machines")):
        shown("make run USE_CASE=predictive_maintenance", lived)
    return lived
