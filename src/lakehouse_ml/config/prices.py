"""What compute costs: `conf/<env>/prices.yml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from lakehouse_ml.config.spec import Spec

_Amount = Annotated[float, Field(ge=0)]


class DbuPrices(Spec):
    """Dollars per DBU."""

    jobs: _Amount
    serverless: _Amount
    notebooks: _Amount


class Node(Spec):
    """An hour of one machine: dollars on demand, and DBUs."""

    dollars: _Amount
    dbus: _Amount


class Prices(Spec):
    """Prices in US dollars, and what an estimate assumes.

    Attributes:
        dbu: Dollars per DBU.
        nodes: By node type.
        spot_share: Price of a spot machine, relative to one on demand.
        serverless_dbus: DBUs per hour of a serverless task.
        start_minutes: From the request of a cluster to its first task; machines and DBUs are paid.
        minutes: Of a task, by its key; `default` for all others.
        starts_by_arrival: Runs a month of a job that files or tables start.
    """

    dbu: DbuPrices
    nodes: Mapping[str, Node]
    spot_share: Annotated[float, Field(gt=0, le=1)]
    serverless_dbus: _Amount
    start_minutes: _Amount
    minutes: Mapping[str, _Amount]
    starts_by_arrival: _Amount
