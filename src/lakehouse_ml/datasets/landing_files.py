"""Files that arrive over time in a folder, or the versions of an existing Delta table."""

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
    """Lists a landing folder and says what of it the manifest knows. Rows are read later, by the engine.

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
        """Nothing is opened before `load`.

        Args:
            filepath: The folder; for `delta`, the table.
            manifest: The Delta table that ingestion records its files in. Their rows and refused lines are stored
                beside it, in tables named `raw_…` and `quarantine_lines_…` instead of `manifest_…`.
            lake_kind: What `manifest` is: an address or a table's name.
            files: Pattern, or patterns, of the names that belong to this table, below the folder.
            format: How a file is to be read.
            delimiter: Of CSV.
            optional: Whether the folder may be missing or empty.
            metadata: For kedro-viz.
        """
        self._address = filepath.rstrip("/")
        self._manifest = DeltaTable(filepath=manifest, kind=lake_kind, frame="pandas")
        of_rows = (_sibling(manifest, part) for part in ("raw", "quarantine_lines"))
        self._of_rows = [DeltaTable(filepath=address, kind=lake_kind) for address in of_rows if address]
        self._lake = Lake.of_table(lake_kind, manifest)
        self._recorded_as = self._lake.shorten(self._address)
        self._patterns = [files] if isinstance(files, str) else files
        self._format = format
        self._delimiter = delimiter
        self._optional = optional
        self.metadata = metadata
        self._listed: tuple[LandingFile, ...] | None = None

    @property
    def address(self) -> str:
        """The folder."""
        return self._address

    def load(self) -> Landing:
        """The folder beside the manifest; headers only of files that are new or changed.

        Raises:
            LandingError: The folder is missing, a file, or holds no file of this table.
        """
        ENGINE.session()  # whoever loads a landing folder is about to read it with the engine
        known, known_address, unrecorded = self._settled()
        files = tuple(
            file if known.get(file.name) == file.sha256 else self._with_header(file) for file in self._files()
        )
        return Landing(
            self._address, self._format, self._delimiter, files, known, known_address, self._recorded_as, unrecorded
        )

    def save(self, data: NoReturn) -> None:
        """Refused: files come from outside."""
        raise DatasetError(f"A landing folder can only be read: {data!r} is not written there.")

    def token(self) -> str | None:
        """Hash over the names and hashes of what was read and of what lies in the folder.

        A file that was read and is gone counts as if it were there, for its rows stay.
        """
        files = self._settled()[0] | {file.name: file.sha256 for file in self._files()}
        listing = json.dumps([self._recorded_as, sorted(files.items())])
        return hashlib.sha256(listing.encode()).hexdigest()

    def recorded(self) -> tuple[dict[str, str], str | None]:
        """Hash of each file that was read, by name, and the folder that they came from."""
        return self._known()

    def vanished(self) -> list[str]:
        """Names that were read once and lie there no more; their rows stay."""
        return sorted(set(self._known()[0]) - {file.name for file in self._list()})

    def has_begun(self) -> bool:
        """Whether files lie there, may be missing, or were read before; no file is opened."""
        return self._optional or self._manifest.exists() or self._has_files()

    def check_there(self) -> None:
        """Refuse a folder without files of this table; no file is opened.

        Raises:
            LandingError: The folder is missing, a file, empty, or holds no file of this table.
        """
        if not self._optional and not self._has_files():
            raise LandingError(self._absence())

    def _has_files(self) -> bool:
        if self._format == "delta":
            return bool(self._table_version())
        return bool(self._paths(*files.locate(self._address)))

    def _exists(self) -> bool:
        return bool(self._list())

    def _describe(self) -> dict[str, Any]:
        return {
            "filepath": shorten_address(self._address, 1),
            "files": ", ".join(self._patterns),
            "format": self._format,
        }

    def _files(self) -> tuple[LandingFile, ...]:
        if self._listed is None:
            self._listed = self._list()
        if not self._listed and not self._optional:
            raise LandingError(self._absence())
        return self._listed

    def _absence(self) -> str:
        """Why no file of this table was found, and what to do."""
        folder = Path(self._address)
        what = f"No file named {' or '.join(self._patterns)} lies in {self._address}"
        if is_local(self._address) and not folder.exists():
            what = f"The landing folder {self._address} does not exist"
        elif is_local(self._address) and all(path.name.startswith(".") for path in folder.iterdir()):
            what = f"The landing folder {self._address} is empty"
        return (
            f"{what}. Put the table's files there, name their folder with LANDING=, or let `make run` write a "
            f"generated sample."
        )

    def _list(self) -> tuple[LandingFile, ...]:
        if self._format == "delta":
            return self._table_version()
        fs, root = files.locate(self._address)
        paths = self._paths(fs, root)
        return tuple(self._listed_file(fs, path, path[len(root) :].lstrip("/")) for path in paths)

    def _paths(self, fs: Any, root: str) -> list[str]:
        """The files of this table, by name; none is opened."""
        if fs.isfile(root):
            raise LandingError(f"{self._address} is a file; LANDING names the folder that holds it.")
        return sorted({path for pattern in self._patterns for path in _matching(fs, root, pattern)})

    def _listed_file(self, fs: Any, path: str, name: str) -> LandingFile:
        from lakehouse_ml.storage.parsing import content_hash

        if not is_utf8(path):
            raise LandingError(
                f"The name '{name}' in {self._address} is not UTF-8, as names from older shares and archives may be. "
                f"Rename the file, then run again."
            )
        if not fs.isfile(path):
            raise LandingError(
                f"{name} in {self._address} has the name of a file and is a folder, or a link that leads nowhere. "
                f"Move its files up beside it under names of their own, or give it another name."
            )
        address = fs.unstrip_protocol(path)
        try:
            return LandingFile(name, address, content_hash(address))
        except OSError as error:
            raise LandingError(f"{name} in {self._address} can't be read: {error}. May you read it?") from error

    def _table_version(self) -> tuple[LandingFile, ...]:
        import deltalake

        if not deltalake.DeltaTable.is_deltatable(self._address):
            return ()
        name = self._address.rsplit("/", 1)[-1]
        return (LandingFile(name, self._address, f"version {deltalake.DeltaTable(self._address).version()}"),)

    def _with_header(self, file: LandingFile) -> LandingFile:
        # pyarrow is slow to import and not needed while nothing is new.
        from lakehouse_ml.storage.parsing import read_head

        header, has_rows = read_head(file.path, self._format, self._delimiter, file.name)
        return LandingFile(file.name, file.path, file.sha256, header, has_rows)

    def _settled(self) -> tuple[dict[str, str], str | None, frozenset[str]]:
        """Hashes of the files whose rows are stored as the manifest says, their folder, and the names of the others."""
        (known, address), unrecorded = self._known(), self._unrecorded()
        return {name: sha256 for name, sha256 in known.items() if name not in unrecorded}, address, unrecorded

    def _unrecorded(self) -> frozenset[str]:
        """Names of files whose rows were stored, replaced or removed after the manifest was written."""
        commits = self._manifest.commits() if self._manifest.exists() else iter(())
        recorded = next((commit["inputs"].values() for commit in commits if commit.get("inputs")), ())
        stored = [table for table in self._of_rows if table.exists()]
        return frozenset(name for table in stored for name in table.batches_since(recorded))

    def _known(self) -> tuple[dict[str, str], str | None]:
        if not self._manifest.exists():
            return {}, None
        rows = self._manifest.load().to_dict("records")
        addresses = [self._lake.expand(row["landing"]) for row in rows]
        return {row["source_file"]: row["file_sha256"] for row in rows}, addresses[0] if addresses else None


def _sibling(manifest: str, part: str) -> str | None:
    """Address of a table beside a manifest; None where the manifest has a name of another form."""
    start, separator, name = manifest.rpartition("manifest_")
    return f"{start}{part}_{name}" if separator else None


def _matching(fs: Any, root: str, pattern: str) -> Iterator[str]:
    folder, _, name = pattern.rpartition("/")
    base = f"{root}/{folder}" if folder else root
    if fs.isdir(base):
        yield from (path for path in fs.ls(base, detail=False) if _belongs(path.rsplit("/", 1)[-1], name))


def _belongs(name: str, pattern: str) -> bool:
    """Whether a file is one of a table's: its own name, or that of what is compressed in it, fits."""
    return fnmatch(name.removesuffix(".gz"), pattern) and not name.startswith((".", "_"))
