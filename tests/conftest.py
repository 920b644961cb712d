"""Real parts that many tests share: one Sail session, one project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[1]
TELCO = PROJECT.parent / "shared" / "data" / "telco"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--engine spark`: the tests that take a session run on Apache Spark, on a JVM."""
    parser.addoption("--engine", choices=["sail", "spark"], default="sail", help="what the session computes with")


@pytest.fixture(scope="session")
def spark(request: pytest.FixtureRequest) -> Any:
    """The chosen engine's session, in UTC."""
    from lakehouse_ml.spark import ENGINE, EngineSpec

    settings = {"spark.driver.memory": "4g", "spark.sql.shuffle.partitions": 2}
    chosen = {"sail": {"engine": "sail"}, "spark": {"engine": "spark", "settings": settings}}
    ENGINE.choose(EngineSpec.model_validate(chosen[request.config.getoption("engine")]))
    return ENGINE.session()


@pytest.fixture(scope="session")
def telco() -> Path:
    """The folder with the real file, where there is one."""
    if not TELCO.is_dir():
        pytest.skip(f"the real Telco file isn't at {TELCO}: only beside the project's own checkout")
    return TELCO
