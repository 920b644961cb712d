"""Landing folders: files that arrive over time, or the versions of an existing Delta table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, NoReturn

from kedro.io import AbstractDataset, DatasetError
from pydantic import validate_call

from lakehouse_ml.config.lake import Lake, LakeKind, is_local
from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.errors import LandingError, is_utf8
from lakehouse_ml.storage import files
from lakehouse_ml.storage.landing import Landing, LandingFile
from lakehouse_ml.storage.writes import shorten_address

Format = Literal["csv", "parquet", "jsonl", "delta"]


class LandingFiles(AbstractDataset[NoReturn, Landing]):
    """Lists a landing folder beside the files that its manifest recorded. The engine reads the rows later.

    Example:
        ```yaml
        churn.landing_customers:
          type: lakehouse_ml.datasets.landing_files.LandingFiles
          filepath: data/landing/churn
          files: "*.csv"
          format: csv
          manifest: data/01_raw/churn/manifest_customers
        ```
    """

    @validate_call
    def __init__(
        self,
        *,
        filepath: str,
        manifest: str,
        lake_kind: LakeKind = "path",
        files: str | list[str] = "*",
        format: Format = "csv",
        delimiter: str = ",",
        optional: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Configure the folder. Nothing is opened before `load`.

        Args:
            filepath: The folder; for `delta`, the table.
            manifest: The Delta table in which ingestion records its files. Rows and refused lines are stored beside it,
                in tables named `raw_…` and `quarantine_lines_…` instead of `manifest_…`.
            lake_kind: What `manifest` is: an address or the name of a table.
            files: Pattern, or patterns, of the file names of this table, below the folder.
            format: Format of the files.
            delimiter: Delimiter of CSV files.
            optional: Whether the folder may be missing or empty.
            metadata: For kedro-viz.
        """
        self._address = filepath.rstrip("/")
        self._manifest = DeltaTable(filepath=manifest, kind=lake_kind, frame="pandas")
        row_tables = (_sibling(manifest, part) for part in ("raw", "quarantine_lines"))
        self._row_tables = [DeltaTable(filepath=address, kind=lake_kind) for address in row_tables if address]
        self._lake = Lake.of_table(lake_kind, manifest)
        self._manifest_address = self._lake.shorten(self._address)
        self._patterns = [files] if isinstance(files, str) else files
        self._format = format
        self._delimiter = delimiter
        self._optional = optional
        self.metadata = metadata
        self._listing: tuple[LandingFile, ...] | None = None

    @property
    def address(self) -> str:
        """The folder."""
        return self._address

    def load(self) -> Landing:
        """List the folder beside the manifest, with the headers of new and changed files only.

        Raises:
            LandingError: The folder is missing, a file, or holds no file of this table.
        """
        ENGINE.session()  # a node that loads a landing folder reads it with the engine next
        hashes, recorded_address, unrecorded = self._read_settled_files()
        files = tuple(
            file if hashes.get(file.name) == file.sha256 else self._read_header(file) for file in self._require_files()
        )
        return Landing(
            address=self._address,
            format=self._format,
            delimiter=self._delimiter,
            files=files,
            recorded_hashes=hashes,
            recorded_address=recorded_address,
            manifest_address=self._manifest_address,
            unrecorded_names=unrecorded,
        )

    def save(self, data: NoReturn) -> None:
        """Refuse to save: files come from outside."""
        raise DatasetError(f"A landing folder can only be read: {data!r} is not written there.")

    def token(self) -> str | None:
        """Hash over the names and hashes of recorded and present files.

        A recorded file that is gone counts too, because its rows stay.
        """
        files = self._read_settled_files()[0] | {file.name: file.sha256 for file in self._require_files()}
        listing = json.dumps([self._manifest_address, sorted(files.items())])
        return hashlib.sha256(listing.encode()).hexdigest()

    def read_manifest(self) -> tuple[dict[str, str], str | None]:
        """Hash of each recorded file, by name, and their folder; None without any."""
        if not self._manifest.exists():
            return {}, None
        rows = self._manifest.load().to_dict("records")
        addresses = [self._lake.expand(row["landing"]) for row in rows]
        return {row["source_file"]: row["file_sha256"] for row in rows}, addresses[0] if addresses else None

    def list_missing(self) -> list[str]:
        """Names of recorded files that are no longer in the folder; their rows stay."""
        return sorted(set(self.read_manifest()[0]) - {file.name for file in self._list()})

    def is_available(self) -> bool:
        """Whether the table is optional, has files or has a manifest; opens no file."""
        return self._optional or self._manifest.exists() or self._has_files()

    def check_files_exist(self) -> None:
        """Refuse a folder without files of this table; opens no file.

        Raises:
            LandingError: The folder is missing, a file or empty, or has no file of this table.
        """
        if not self._optional and not self._has_files():
            raise LandingError(self._explain_absence())

    def _has_files(self) -> bool:
        if self._format == "delta":
            return bool(self._list_table_version())
        return bool(self._list_paths(*files.locate(self._address)))

    def _exists(self) -> bool:
        return bool(self._list())

    def _describe(self) -> dict[str, Any]:
        return {
            "filepath": shorten_address(self._address, 1),
            "files": ", ".join(self._patterns),
            "format": self._format,
        }

    def _require_files(self) -> tuple[LandingFile, ...]:
        if self._listing is None:
            self._listing = self._list()
        if not self._listing and not self._optional:
            raise LandingError(self._explain_absence())
        return self._listing

    def _explain_absence(self) -> str:
        """Why there is no file of this table, and what to do."""
        folder = Path(self._address)
        fault = f"No file named {' or '.join(self._patterns)} in {self._address}"
        if is_local(self._address) and not folder.exists():
            fault = f"The landing folder {self._address} does not exist"
        elif is_local(self._address) and all(path.name.startswith(".") for path in folder.iterdir()):
            fault = f"The landing folder {self._address} is empty"
        return (
            f"{fault}. Put the table's files there, name their folder with LANDING=, or let `make run` write a "
            f"generated sample."
        )

    def _list(self) -> tuple[LandingFile, ...]:
        if self._format == "delta":
            return self._list_table_version()
        fs, root = files.locate(self._address)
        paths = self._list_paths(fs, root)
        return tuple(self._hash_file(fs, path, path[len(root) :].lstrip("/")) for path in paths)

    def _list_paths(self, fs: Any, root: str) -> list[str]:
        """Paths of the files of this table, sorted; opens none."""
        if fs.isfile(root):
            raise LandingError(f"{self._address} is a file. Set LANDING to its folder.")
        return sorted({path for pattern in self._patterns for path in _find_matches(fs, root, pattern)})

    def _hash_file(self, fs: Any, path: str, name: str) -> LandingFile:
        from lakehouse_ml.storage.parsing import content_hash

        if not is_utf8(path):
            raise LandingError(
                f"The name '{name}' in {self._address} is not UTF-8; names from older shares and archives may not be. "
                f"Rename the file, then run again."
            )
        if not fs.isfile(path):
            raise LandingError(
                f"{name} in {self._address} is named like a file, but is a folder or a broken link. Move its files up "
                f"beside it under names of their own, or rename it."
            )
        address = fs.unstrip_protocol(path)
        try:
            return LandingFile(name, address, content_hash(address))
        except OSError as error:
            raise LandingError(f"{name} in {self._address} can't be read: {error}. Check its permissions.") from error

    def _list_table_version(self) -> tuple[LandingFile, ...]:
        import deltalake

        if not deltalake.DeltaTable.is_deltatable(self._address):
            return ()
        name = self._address.rsplit("/", 1)[-1]
        return (LandingFile(name, self._address, f"version {deltalake.DeltaTable(self._address).version()}"),)

    def _read_header(self, file: LandingFile) -> LandingFile:
        # pyarrow is slow to import, and not needed if no file is new.
        from lakehouse_ml.storage.parsing import read_head

        header, has_rows = read_head(file.path, self._format, self._delimiter, file.name)
        return LandingFile(file.name, file.path, file.sha256, header, has_rows)

    def _read_settled_files(self) -> tuple[dict[str, str], str | None, frozenset[str]]:
        """Hashes of the files whose rows are stored as recorded, their folder, and the names of unrecorded files."""
        (hashes, address), unrecorded = self.read_manifest(), self._list_unrecorded()
        return {name: sha256 for name, sha256 in hashes.items() if name not in unrecorded}, address, unrecorded

    def _list_unrecorded(self) -> frozenset[str]:
        """Names of files whose rows were stored, replaced or removed after the manifest was written."""
        commits = self._manifest.commits() if self._manifest.exists() else iter(())
        recorded_tokens = next((commit["inputs"].values() for commit in commits if commit.get("inputs")), ())
        tables = [table for table in self._row_tables if table.exists()]
        return frozenset(name for table in tables for name in table.batches_since(recorded_tokens))


def _sibling(manifest: str, part: str) -> str | None:
    """Address of a table beside a manifest; None if the name of the manifest has another form."""
    start, separator, name = manifest.rpartition("manifest_")
    return f"{start}{part}_{name}" if separator else None


def _find_matches(fs: Any, root: str, pattern: str) -> Iterator[str]:
    folder, _, name = pattern.rpartition("/")
    base = f"{root}/{folder}" if folder else root
    if fs.isdir(base):
        yield from (path for path in fs.ls(base, detail=False) if _is_match(path.rsplit("/", 1)[-1], name))


def _is_match(name: str, pattern: str) -> bool:
    """Whether the name of a file, without `.gz`, matches a pattern; hidden files never do."""
    return fnmatch(name.removesuffix(".gz"), pattern) and not name.startswith((".", "_"))
