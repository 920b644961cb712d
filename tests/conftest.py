"""Real parts that many tests share: one Sail session, one project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[1]
TELCO = PROJECT.parent / "shared" / "data" / "telco"


@pytest.fixture(scope="session")
def spark() -> Any:
    """The local engine's session, in UTC."""
    from lakehouse_ml.spark import ENGINE, EngineSpec

    ENGINE.choose(EngineSpec(engine="sail"))
    return ENGINE.session()


@pytest.fixture(scope="session")
def telco() -> Path:
    """The folder with the real file, where there is one."""
    if not TELCO.is_dir():
        pytest.skip(f"the real Telco file isn't at {TELCO}: only beside the project's own checkout")
    return TELCO
