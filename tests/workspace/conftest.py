"""A workspace in which everything is there that the target `prod` needs, and whoever types commands is signed in."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse_ml.operations.connection import client
from lakehouse_ml.operations.connection.client import Limits, Waits
from workspace.routes import Identity, Workspace
from workspace.server import WorkspaceServer, serve

ADA, ROOT, ROBOT = "ada@example.org", "root@example.org", "11111111-2222-3333-4444-555555555555"
TOKENS = {"token-of-ada": ADA, "token-of-root": ROOT, "token-of-robot": ROBOT}
SCHEMA = "main.lakehouse_ml_prod"
EXPERIMENT = f"/Users/{ROBOT}/lakehouse-ml-prod"


class VirtualWaits(Waits):
    """Pauses that take no time, and move the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def time(self) -> float:
        """The real time after the pauses."""
        return time.time() + sum(self.pauses)

    def pause(self, seconds: float) -> None:
        """Move the clock."""
        self.pauses.append(seconds)


@pytest.fixture
def workspace() -> Workspace:
    """Of its people, Ada deploys, the group `ds` owns the catalog, and the robot runs jobs."""
    place = Workspace(
        identities={
            "token-of-ada": Identity(ADA, ("ds",)),
            "token-of-root": Identity(ROOT, ("admins",)),
            "token-of-robot": Identity(ROBOT, ("robots",), is_service_principal=True),
        },
        experiments={EXPERIMENT: "77"},
        folders={f"/Users/{ROBOT}": "8", f"/Users/{ADA}": "9"},
        permissions={
            ("experiments", "77"): {ROBOT: "CAN_MANAGE", "ds": "CAN_READ"},
            ("directories", "8"): {ROBOT: "CAN_MANAGE", "ds": "CAN_READ"},
            ("directories", "9"): {ADA: "CAN_MANAGE"},
        },
        runtimes=["17.3.x-scala2.13", "18.x-scala2.13"],
        node_types={"m6id.2xlarge": [], "r6id.xlarge": [], "m6id.xlarge": []},
        pools={"pool-1": "warm"},
        warehouses={"w-1": "reports"},
        page_size=1,
    )
    place.add("catalog", "main", "ds")
    place.add("schema", SCHEMA, ADA)
    place.grant("catalog", "main", "account users", "USE_CATALOG")
    place.grant("schema", SCHEMA, ROBOT, "USE_SCHEMA", "CREATE_TABLE", "CREATE_MODEL", "SELECT", "MODIFY")
    for volume in ("files", "landing"):
        place.add("volume", f"{SCHEMA}.{volume}", ADA)
    place.grant("volume", f"{SCHEMA}.files", ROBOT, "READ_VOLUME", "WRITE_VOLUME")
    place.grant("volume", f"{SCHEMA}.landing", "robots", "READ_VOLUME")
    return place


@pytest.fixture
def server(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WorkspaceServer]:
    """A server of it, to which Ada is signed in by variables; nothing of whoever runs the tests."""
    for name in os.environ:
        if re.match("DATABRICKS_|ARM_|BUNDLE_VAR_|LAKEHOUSE_", name):
            monkeypatch.delenv(name)
    with serve(workspace) as running:
        monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))
        monkeypatch.setenv("DATABRICKS_HOST", running.host)
        monkeypatch.setenv("DATABRICKS_TOKEN", "token-of-ada")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield running
        assert (running.unknown, running.defects) == ([], [])


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> VirtualWaits:
    """Pauses that take no time, in every connection."""
    virtual = VirtualWaits()
    monkeypatch.setattr(client, "LIMITS", Limits(waits=virtual))
    return virtual
