"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def write(address: str, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all; its folder is made.

    Args:
        address: A path, or an address with a scheme, where a store takes a whole object at once.
        text: Written as it is, line ends included.

    Raises:
        OSError: The file can't be written; `filename` is its address.
    """
    if "://" in address:
        fs, path = fsspec.core.url_to_fs(address)
        fs.pipe_file(path, text.encode())
        return
    try:
        Path(address).parent.mkdir(parents=True, exist_ok=True)
        with complete(Path(address)) as partial:
            partial.write_bytes(text.encode())
    except OSError as error:
        raise type(error)(error.errno, error.strerror, address) from error
