"""Files with a fingerprint, which is stored in a hidden stamp file beside each."""

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
    """A file at an address, written atomically.

    An `Edition` of an earlier batch is written under a name of its own, so the name of the file always means the newest
    batch. A hidden file beside each, its stamp, has the fingerprint and the batch. The stamp is written last: without
    it, the node that made the file runs again.
    """

    _address: str

    @abstractmethod
    def encode(self, content: Any) -> str:
        """Turn content into the text of the file."""

    def save(self, data: Any) -> None:
        """Write content, or an edition of it, and then its stamp.

        Raises:
            OSError: The file can't be written; names the file.
        """
        edition = data if isinstance(data, Edition) else Edition(data)
        address, provenance = edition.address(self._address), get_provenance()
        stamp = {"fingerprint": provenance.fingerprint if provenance else "", "batch": edition.batch}
        files.write_text(address, self.encode(edition.content))
        files.write_text(_stamp_address(address), json.dumps(stamp))

    def load(self) -> Any:
        """Read the content.

        Raises:
            TableError: The file does not exist yet.
        """
        return self.decode(self.read_text())

    def decode(self, text: str) -> Any:
        """Turn the text of the file into content."""
        return text

    def read_text(self) -> str:
        """Read the text of the file.

        Raises:
            TableError: The file does not exist yet.
        """
        if not self._exists():
            raise TableError(f"There is no file at {self._address} yet: run the stage that writes it first.")
        with files.open_bytes(self._address) as stream:
            return stream.read().decode()

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether the file or one of its editions has this fingerprint."""
        return any(stamp["fingerprint"] == fingerprint for _, stamp in self._read_stamps())

    def address_of(self, batch: str | None) -> str:
        """Address of the file about a batch: its own or that of an edition."""
        matches = [address for address, stamp in self._read_stamps() if stamp["batch"] == batch]
        return matches[0] if matches and self._address not in matches else self._address

    def addresses_of(self, batches: set[str]) -> list[str]:
        """Addresses of the files about these batches."""
        return [address for address, stamp in self._read_stamps() if stamp["batch"] in batches]

    def _read_stamps(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Address and stamp of the file and of its editions, as far as they exist."""
        fs, path = files.locate(self._address)
        folder = path.rpartition("/")[0]
        fs.invalidate_cache(folder)
        names = {name.rpartition("/")[2] for name in (fs.ls(folder, detail=False) if fs.isdir(folder) else [])}
        stem, suffix = splitext(path.rpartition("/")[2])
        for name in sorted(names):
            if re.fullmatch(f"{re.escape(stem)}({EDITION})?{re.escape(suffix)}", name) and f".{name}{_STAMP}" in names:
                address = f"{self._address.rpartition('/')[0]}/{name}"
                yield address, _read_stamp(_stamp_address(address))

    def _exists(self) -> bool:
        fs, path = files.locate(self._address)
        return bool(fs.exists(path))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": shorten_address(self._address)}


def remove(address: str) -> None:
    """Remove a file and its stamp."""
    for part in (address, _stamp_address(address)):
        fs, path = files.locate(part)
        fs.rm(path)


def _stamp_address(address: str) -> str:
    folder, _, name = address.rpartition("/")
    return f"{folder}/.{name}{_STAMP}"


def _read_stamp(address: str) -> dict[str, Any]:
    """Fingerprint and batch; both None if the stamp is damaged."""
    with files.open_bytes(address) as stream, suppress(ValueError, KeyError, TypeError):
        stamp = json.loads(stream.read())
        return {"fingerprint": stamp["fingerprint"], "batch": stamp["batch"]}
    return {"fingerprint": None, "batch": None}
