"""Retries of a Spark Connect client: a server that never answered is reported soon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# After 0.05, 0.2, 0.8, 3.2 and 12.8 s. Apache Spark's client would retry for 10 minutes, that of Databricks for 85 s.
_RETRIES = 5


@contextmanager
def retry_for_seconds(session: SparkSession) -> Iterator[None]:
    """Retry the first requests to a server for some seconds, and later ones as often as the client usually does.

    If the server does not answer, nothing is retried any more: the client would retry to say goodbye to it.
    """
    from pyspark.sql.connect.client.retries import DefaultPolicy

    connected: Any = session  # its type is that of a classic session
    client = connected.client
    usual_policies = client.get_retry_policies()
    client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES)])
    try:
        yield
    except Exception:
        client.set_retry_policies([])
        raise
    client.set_retry_policies(usual_policies)
