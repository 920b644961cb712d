"""What lies in a landing folder, what of it is known, and what is to be read."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from lakehouse_ml.errors import LandingError


@dataclass(frozen=True)
class LandingFile:
    """A file (or a version of a source table): its name is its identity, its hash tells a change.

    Attributes:
        name: Path below the landing folder.
        path: Address that opens it.
        sha256: Hash of its bytes; for a table, its version.
        header: Column names as they stand in it; None where the file is known and wasn't opened.
    """

    name: str
    path: str
    sha256: str
    header: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Landing:
    """One table's landing folder as it is now, beside what was read from it before.

    Attributes:
        address: The folder.
        format: `csv`, `parquet`, `jsonl` or `delta`.
        delimiter: Of CSV.
        files: What lies there, by name.
        known: Hash of each file that was ingested, by name.
        known_address: The folder that those came from.
    """

    address: str
    format: str
    delimiter: str
    files: tuple[LandingFile, ...]
    known: Mapping[str, str]
    known_address: str | None


@dataclass(frozen=True)
class Selection:
    """Files to read now, and names that were read once but lie there no more (their rows stay)."""

    files: tuple[LandingFile, ...]
    vanished: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files to read."""
        return tuple(file.name for file in self.files)


def select(landing: Landing) -> Selection:
    """New and corrected files.

    Raises:
        LandingError: The lake holds rows of another folder, or one content stands under two names.
    """
    if landing.known_address not in (None, landing.address):
        raise LandingError(
            f"This lake holds rows from {landing.known_address}, and {landing.address} is another landing folder. "
            f"Name a lake of its own: make run LANDING={landing.address} LAKE=data/another_lake"
        )
    present = {file.name for file in landing.files}
    vanished = sorted(name for name in landing.known if name not in present)
    unchanged = {file.name for file in landing.files if landing.known.get(file.name) == file.sha256}
    # What lies there now under a known name has replaced what was known of it.
    gone = {landing.known[name]: name for name in vanished}
    first = {file.sha256: file.name for file in landing.files if file.name in unchanged}
    for file in landing.files:
        name = first.setdefault(file.sha256, file.name)
        if name != file.name:
            raise LandingError(
                f"{file.name} in {landing.address} has the same content as {name}: its rows would count twice. "
                f"Remove one of the two (a corrected file keeps its name)."
            )
        if file.sha256 in gone and file.name not in unchanged:
            raise LandingError(
                f"{file.name} in {landing.address} has the same content as {gone[file.sha256]}, which lay there "
                f"before: its rows would count twice. Give it that name again or, if the name was wrong, take out what "
                f"was read from it: kedro withdraw file {shlex.quote(gone[file.sha256])}"
            )
    return Selection(tuple(file for file in landing.files if file.name not in unchanged), tuple(vanished))
