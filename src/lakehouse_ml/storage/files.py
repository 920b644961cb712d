"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, that becomes `path` if nothing fails and is removed if something does."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def locate(address: str) -> tuple[Any, str]:
    """The file system that an address lies in, and its path there: by its scheme alone, so names mean nothing.

    fsspec's own `url_to_fs` and `open` read `::` in a name as a chain of file systems, and `*` as many files.
    """
    scheme = address.partition("://")[0] if "://" in address else "file"
    if scheme == "file":
        return fsspec.filesystem("file"), address.removeprefix("file://")
    fs = fsspec.filesystem(scheme)
    return fs, fs._strip_protocol(address)  # noqa: SLF001 - what `url_to_fs` calls, and there is no other name for it


def open_bytes(address: str, compression: str | None = None) -> IO[bytes]:
    """Open a file to read; `compression="infer"` takes it from the name."""
    fs, path = locate(address)
    opened: IO[bytes] = fs.open(path, "rb", compression=compression)
    return opened


def write(address: str, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all; its folder is made.

    Args:
        address: A path, or an address with a scheme, where a store takes a whole object at once.
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
        with complete(Path(address)) as partial:
            partial.write_bytes(text.encode())
    except OSError as error:
        raise type(error)(error.errno, error.strerror, address) from error
