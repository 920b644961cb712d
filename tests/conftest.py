"""Real parts that many tests share: one Sail session, one project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from few_rows import SETTINGS

PROJECT = Path(__file__).resolve().parents[1]
TELCO = PROJECT.parent / "shared" / "data" / "telco"
# As the project sets it for its own processes: two workers share the cores, and a waiting thread must not hold one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Somebody who deploys from this shell has set them, for the bundle.
for _name in [name for name in os.environ if name.startswith("BUNDLE_VAR_")]:
    del os.environ[_name]
# A search's worker processes cost more than its few fits do here. test_kills.py and test_imports.py have them.
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

# Files that take longest, the longest first. They are begun first, so that no worker ends with one alone: with a single
# test each, some would otherwise come last.
LONGEST = (
    "test_parity.py",
    "test_delta_table.py",
    "test_rehearsal_on_spark.py",
    "test_spark.py",
    "test_pages.py",
    "test_rehearsal.py",
    "test_kills.py",
    "test_withdraw.py",
    "test_life_in_a_bucket.py",
    "test_machines.py",
    "test_bad_state.py",
    "test_wheel.py",
    "test_months.py",
    "test_workspace.py",
    "test_bad_input.py",
    "test_moved_lake.py",
    "test_readme.py",
    "test_own_use_case.py",
    "test_fuzz_landing.py",
    "test_life.py",
    "test_environments.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--engine spark`: the tests that take a session run on Apache Spark, on a JVM."""
    parser.addoption("--engine", choices=["sail", "spark"], default="sail", help="what the session computes with")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest files, and test what tables promise on Apache Spark too, which commits to them itself.

    What only delta-rs commits is tested once.
    """
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    for item in items:
        of_tables = item.path.name == "test_delta_table.py" or item.path.parent.name == "s3"
        asked = of_tables and "spark" in getattr(item, "fixturenames", ())
        if config.getoption("engine") == "spark" and asked:
            item.add_marker("jvm")


@pytest.fixture(scope="session")
def spark(request: pytest.FixtureRequest) -> Any:
    """The chosen engine's session, in UTC."""
    from lakehouse_ml.engine.sessions import ENGINE
    from lakehouse_ml.engine.spec import EngineSpec

    chosen = {"sail": {"engine": "sail"}, "spark": {"engine": "spark", "settings": SETTINGS}}
    ENGINE.choose(EngineSpec.model_validate(chosen[request.config.getoption("engine")]))
    return ENGINE.session()


@pytest.fixture
def server() -> Iterator[str]:
    """A Spark Connect server of this machine."""
    from pysail.spark import SparkConnectServer

    started = SparkConnectServer("127.0.0.1", 0)
    started.start(background=True)
    yield "sc://{}:{}".format(*started.listening_address)
    started.stop()


@pytest.fixture(scope="session")
def telco() -> Path:
    """The folder with the real file, where there is one."""
    if not TELCO.is_dir():
        pytest.skip(f"the real Telco file isn't at {TELCO}: only beside the project's own checkout")
    return TELCO
