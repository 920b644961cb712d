"""Atomic files: a file appears under its name only when it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. On success it replaces `path`; on an error it is removed."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def locate(address: str) -> tuple[Any, str]:
    """The file system of an address, by its scheme alone, and the path in it.

    fsspec's own `url_to_fs` and `open` treat `::` in a name as a chain of file systems, and `*` as a pattern.
    """
    scheme = address.partition("://")[0] if "://" in address else "file"
    if scheme == "file":
        return fsspec.filesystem("file"), address.removeprefix("file://")
    fs = fsspec.filesystem(scheme)
    return fs, fs._strip_protocol(address)  # noqa: SLF001 - what `url_to_fs` calls, and there is no other name for it


def open_bytes(address: str, compression: str | None = None) -> IO[bytes]:
    """Open a file to read; `compression="infer"` decides by the name."""
    fs, path = locate(address)
    stream: IO[bytes] = fs.open(path, "rb", compression=compression)
    return stream


def write_text(address: str, text: str) -> None:
    """Write a UTF-8 text file atomically, and create its folder.

    Args:
        address: A path, or an address with a scheme: an object store writes an object atomically.
        text: Written as it is, line ends included.

    Raises:
        OSError: The file can't be written; `filename` is its address.
    """
    if "://" in address:
        fs, path = locate(address)
        fs.pipe_file(path, text.encode())
        return
    try:
        Path(address).parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(Path(address)) as partial:
            partial.write_bytes(text.encode())
    except OSError as error:
        raise type(error)(error.errno, error.strerror, address) from error
