"""Secrets planted in what surrounds a run, and a search for them in whatever it left, packed files included."""

from __future__ import annotations

import gzip
import io
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq

# Each plant ends in a word of its own, so that a finding says where it came from.
_PLANT = "Zq7planted"


def plant(name: str) -> str:
    return f"{_PLANT}{name.replace('_', '').lower()}"


def _address(scheme: str, name: str) -> str:
    return "://".join((scheme, f"anna:{plant(name)}@127.0.0.1:9/x"))


VARIABLES = {
    **{name: _address("http", name) for name in (
        "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3", "HTTP_PROXY", "HTTPS_PROXY", "DATABRICKS_HOST",
    )},
    **{name: plant(name) for name in (
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "DATABRICKS_TOKEN",
        "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
    )},
    "SPARK_REMOTE": f"sc://127.0.0.1:9/;token={plant('SPARK_REMOTE')}",
    "MLFLOW_TRACKING_USERNAME": "anna",  # who ran it, which MLflow shows on purpose
    "NO_PROXY": "127.0.0.1",
}  # fmt: skip


def find_plants(folder: Path) -> list[str]:
    """Files below a folder in which a plant is, by their path and, in a packed one, the member's."""
    plants = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        plants += [f"{path}{inside}" for inside, text in _texts(path.read_bytes(), path) if _PLANT in text]
    return plants


def is_planted(text: str) -> bool:
    return _PLANT in text


def _texts(content: bytes, path: Path | None = None) -> Iterator[tuple[str, str]]:
    """What can be read in a file: as it is, unpacked, a table's rows, a database's rows."""
    yield "", content.decode("utf-8", errors="replace")
    if content[:2] == b"\x1f\x8b":
        yield from _texts(gzip.decompress(content))
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                for inside, text in _texts(archive.read(member)):
                    yield f"!{member}{inside}", text
    elif content[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(content))
        yield "", f"{table.schema.metadata} {table.to_pylist()}"
    elif content[:15] == b"SQLite format 3" and path is not None:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as store:
            yield "", "\n".join(store.iterdump())
