"""Files for people and programs that remember what they were made of: a stamp beside each holds its fingerprint."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from posixpath import splitext
from typing import Any

from kedro.io import AbstractDataset

from lakehouse_ml.errors import TableError
from lakehouse_ml.storage import files
from lakehouse_ml.storage.provenance import get_provenance
from lakehouse_ml.storage.writes import EDITION, Edition, shorten_address

_STAMP = ".fingerprint"


class RecordedFile(AbstractDataset[Any, Any]):
    """A file at an address, written whole or not at all.

    An `Edition` of an earlier batch is written under a name of its own, so that the file's own name always stands for
    the newest batch. A hidden file beside each, its stamp, holds the fingerprint and the batch. It is written last:
    without it, the node that made the file runs again.
    """

    _address: str

    @abstractmethod
    def encode(self, content: Any) -> str:
        """The content as the text of the file."""

    def save(self, data: Any) -> None:
        """Write the content, or that of an edition, and then its stamp.

        Raises:
            OSError: The file can't be written; names it.
        """
        edition = data if isinstance(data, Edition) else Edition(data)
        address, made = edition.address(self._address), get_provenance()
        stamp = {"fingerprint": made.fingerprint if made else "", "batch": edition.batch}
        files.write(address, self.encode(edition.content))
        files.write(_stamp_of(address), json.dumps(stamp))

    def load(self) -> Any:
        """The content.

        Raises:
            TableError: There is no file yet.
        """
        return self.decode(self.text())

    def decode(self, text: str) -> Any:
        """The content of the file from its text."""
        return text

    def text(self) -> str:
        """The file as it is.

        Raises:
            TableError: There is no file yet.
        """
        if not self._exists():
            raise TableError(f"There is no file at {self._address} yet: run the stage that writes it first.")
        with files.open_bytes(self._address) as stream:
            return stream.read().decode()

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether the file, or an edition of it, was made with this fingerprint."""
        return any(stamp["fingerprint"] == fingerprint for _, stamp in self._stamps())

    def address_of(self, batch: str | None) -> str:
        """Where the file about a batch is: its own name, or an edition's."""
        about = [address for address, stamp in self._stamps() if stamp["batch"] == batch]
        return about[0] if about and self._address not in about else self._address

    def addresses_of(self, batches: set[str]) -> list[str]:
        """Where files about these batches are."""
        return [address for address, stamp in self._stamps() if stamp["batch"] in batches]

    def _stamps(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Address and stamp of the file and of its editions, as far as they are there."""
        fs, path = files.locate(self._address)
        folder = path.rpartition("/")[0]
        fs.invalidate_cache(folder)
        names = {name.rpartition("/")[2] for name in (fs.ls(folder, detail=False) if fs.isdir(folder) else [])}
        stem, suffix = splitext(path.rpartition("/")[2])
        for name in sorted(names):
            if re.fullmatch(f"{re.escape(stem)}({EDITION})?{re.escape(suffix)}", name) and f".{name}{_STAMP}" in names:
                address = f"{self._address.rpartition('/')[0]}/{name}"
                yield address, _read_stamp(_stamp_of(address))

    def _exists(self) -> bool:
        fs, path = files.locate(self._address)
        return bool(fs.exists(path))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": shorten_address(self._address)}


def remove(address: str) -> None:
    """Remove a file and its stamp."""
    for one in (address, _stamp_of(address)):
        fs, path = files.locate(one)
        fs.rm(path)


def _stamp_of(address: str) -> str:
    folder, _, name = address.rpartition("/")
    return f"{folder}/.{name}{_STAMP}"


def _read_stamp(address: str) -> dict[str, Any]:
    """Fingerprint and batch; neither, where the stamp can't be read as one."""
    with files.open_bytes(address) as stream, suppress(ValueError, KeyError, TypeError):
        stamp = json.loads(stream.read())
        return {"fingerprint": stamp["fingerprint"], "batch": stamp["batch"]}
    return {"fingerprint": None, "batch": None}
