"""Failures of stores and disks are recognised by their messages, however deep a library has wrapped them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.storage.failures import (
    is_disk_failure,
    is_disk_full,
    is_store_failure,
    is_transient,
    temporary_folder_full_error,
)

PREDICATES = (is_store_failure, is_transient, is_disk_failure, is_disk_full)


def system_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    ("error", "true_predicates"),
    [
        (RuntimeError("S3Exception: NoSuchBucket"), {is_store_failure}),
        (RuntimeError("AccessDenied: not authorised"), {is_store_failure}),
        (RuntimeError("Client error with status 403 Forbidden"), {is_store_failure}),
        (RuntimeError("Generic S3 error: error sending request"), {is_store_failure, is_transient}),
        (RuntimeError("SlowDown: reduce your request rate"), {is_store_failure, is_transient}),
        (RuntimeError("Generic S3 error: AccessDenied"), {is_store_failure}),
        (system_error(errno.ENOSPC), {is_disk_failure, is_disk_full}),
        (system_error(errno.EDQUOT), {is_disk_failure, is_disk_full}),
        (RuntimeError("database or disk is full"), {is_disk_failure, is_disk_full}),
        (system_error(errno.EACCES), {is_disk_failure}),
        (system_error(errno.EROFS), {is_disk_failure}),
        (system_error(errno.EIO), {is_disk_failure}),
        (system_error(errno.ENOENT), set()),
        (ValueError("column price is missing"), set()),
    ],
    ids=lambda value: str(value) if isinstance(value, Exception) else "",
)
def test_a_message_tells_the_kind_of_a_failure(
    error: Exception, true_predicates: set[Callable[[BaseException], bool]]
) -> None:
    assert {predicate for predicate in PREDICATES if predicate(error)} == true_predicates


def test_the_cause_behind_an_error_counts() -> None:
    wrapped = RuntimeError("the engine failed")
    wrapped.__cause__ = ValueError("the writer failed")
    wrapped.__cause__.__context__ = system_error(errno.ENOSPC)

    assert is_disk_full(wrapped)


def test_a_refusal_behind_a_broken_response_is_not_transient() -> None:
    broken_off = RuntimeError("Generic S3 error: HTTP error")
    assert is_transient(broken_off)

    broken_off.__cause__ = RuntimeError("ExpiredToken")

    assert not is_transient(broken_off)


def test_a_full_temporary_folder_is_named_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    error = temporary_folder_full_error()

    assert isinstance(error, LakehouseError)
    assert f"{tmp_path} could not be written" in str(error)
    assert "TMPDIR=<folder>" in str(error)
