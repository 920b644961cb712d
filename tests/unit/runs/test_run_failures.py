"""A full disk and too little address space are told by where and what, and not as something else."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import deltalake
import pandas as pd
import pytest
from deltalake.exceptions import DeltaError
from kedro.io import DatasetError

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.errors import LakehouseError, find
from lakehouse_ml.runs.failures import explain
from lakehouse_ml.storage.delta import delta_rs
from lakehouse_ml.storage.lock import lake_lock

FULL = "Failed to parse parquet: External: Unable to copy data to file: No space left on device (os error 28)"


def test_a_disk_that_fills_up_while_a_table_is_written_is_told_as_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: Any, **__: Any) -> None:
        raise DeltaError(FULL)

    table = DeltaTable(filepath=f"{tmp_path}/01_raw/churn/raw_customers")
    monkeypatch.setattr(deltalake, "write_deltalake", write)
    with pytest.raises(DatasetError) as failed:
        table.save(pd.DataFrame({"a": [1]}))
    assert find(failed.value) is None
    message = explain(failed.value, str(tmp_path))
    assert message is not None
    assert message.startswith(f"The disk is full: {tmp_path}/01_raw/churn/raw_customers could not be written.")


def test_a_full_disk_of_temporary_files_is_told_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = SimpleNamespace(sparkSession=None)  # what a frame is known by

    def stage(*_: Any) -> None:
        raise RuntimeError(FULL)

    monkeypatch.setattr(ENGINE, "stage", stage)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    writer = delta_rs.DeltaRsWriter("/elsewhere")
    with (
        pytest.raises(LakehouseError, match=rf"temporary files is full: {tmp_path} .*TMPDIR="),
        writer.prepare(frame),
    ):
        pass
    # A disk that fills up while the rows are stored is another one.
    monkeypatch.setattr(ENGINE, "stage", lambda *_: None)
    with pytest.raises(OSError, match="No space left"), writer.prepare(frame):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_too_little_address_space_is_a_sentence_before_the_engine_starts() -> None:
    code = (
        "from lakehouse_ml.engine.sessions import ENGINE; from lakehouse_ml.engine.spec import EngineSpec; "
        "ENGINE.choose(EngineSpec(engine='sail')); ENGINE.session()"
    )
    limited = ["sh", "-c", 'ulimit -v 2000000; exec "$@"', "sh", sys.executable, "-c", code]
    process = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert (
        "A process may use 1.9 GiB of address space here (ulimit -v), and the engine needs at least 6 GiB"
        in process.stderr
    )


def test_a_name_that_is_too_long_for_the_disk_is_a_sentence(tmp_path: Path) -> None:
    lake = str(tmp_path / ("x" * 300))
    with pytest.raises(OSError, match="too long") as failed, lake_lock(lake):
        pass
    message = explain(failed.value, lake)
    assert message == (
        f"{lake} is longer than a path may be on this disk. Name another folder: LAKE=<folder>, or LANDING=<folder>."
    )
