"""What lies in a landing folder, what of it is known, and what is to be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from pydantic import Field, field_validator

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.errors import LandingError, shell_word

_SIMULATED = re.compile(r"_simulated(\.|$)")


class IngestionSpec(Spec):
    """How files tell the day that their rows describe, what means missing, and how many rows may be refused.

    Attributes:
        snapshot_pattern: Regular expression; its first group, found in a file's name, is the day (YYYY-MM-DD).
        snapshot_default: The day of files whose name has none.
        missing_words: Values that mean missing in every column, such as N/A; upper and lower case are the same.
        tolerated_refused_share: Share of a file's rows that may be refused; with more, the file isn't used and the run
            stops.
    """

    snapshot_pattern: str
    snapshot_default: date
    missing_words: tuple[str, ...]
    tolerated_refused_share: float = Field(ge=0, le=1)

    @field_validator("snapshot_pattern")
    @classmethod
    def _has_one_group(cls, value: str) -> str:
        if re.compile(value).groups < 1:
            raise ValueError("needs a group in parentheses around the day")
        return value


def is_simulated(name: str) -> bool:
    """Whether a file is simulated, by its name: it ends in `_simulated`, as the names of all generated samples do."""
    return bool(_SIMULATED.search(name.rsplit("/", 1)[-1]))


@dataclass(frozen=True)
class LandingFile:
    """A file (or a version of a source table): its name is its identity, its hash tells a change.

    Attributes:
        name: Path below the landing folder.
        path: Address that opens it.
        sha256: Hash of its bytes; for a table, its version.
        header: Column names as they stand in it; None where the file is known and wasn't opened.
        has_rows: Whether anything stands behind the header, as far as the file was opened.
    """

    name: str
    path: str
    sha256: str
    header: tuple[str, ...] | None = None
    has_rows: bool = True


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
        recorded_as: The folder as the manifest names it: its path below the lake where it lies in the lake, which may
            be moved.
        unrecorded: Names of files whose rows may be stored although no manifest says so: a run did not finish.
    """

    address: str
    format: str
    delimiter: str
    files: tuple[LandingFile, ...]
    known: Mapping[str, str]
    known_address: str | None
    recorded_as: str
    unrecorded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Selection:
    """What is to be done with a folder.

    Attributes:
        files: Files to read now.
        vanished: Names that were read once but lie there no more; their rows stay.
        taken_back: Names of files that an unfinished run read and that lie there no more; their rows are removed.
    """

    files: tuple[LandingFile, ...]
    vanished: tuple[str, ...]
    taken_back: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files to read."""
        return tuple(file.name for file in self.files)

    @property
    def replaced(self) -> tuple[str, ...]:
        """Names of the files whose stored rows are replaced by what is read now, or by nothing."""
        return (*self.names, *self.taken_back)


def select(landing: Landing) -> Selection:
    """New and corrected files.

    Raises:
        LandingError: The lake holds rows of another folder.
    """
    if landing.known_address not in (None, landing.address):
        raise LandingError(
            f"This lake holds rows from {landing.known_address}, and {landing.address} is another landing folder. "
            f"Name a lake of its own: make run LANDING={shell_word(landing.address)} LAKE=data/another_lake"
        )
    present = {file.name for file in landing.files}
    new = tuple(file for file in landing.files if landing.known.get(file.name) != file.sha256)
    vanished = tuple(sorted(name for name in landing.known if name not in present))
    return Selection(new, vanished, tuple(sorted(landing.unrecorded - present)))


def check_content(landing: Landing, selection: Selection, day_of: Callable[[str], date], today: date) -> list[str]:
    """Refuse content that would count twice: the same rows for the same day under two names.

    Args:
        landing: The folder.
        selection: What of it is about to be read.
        day_of: The day of a file's rows, by its name; one for all files of a table whose rows tell their time.
        today: The day of the run.

    Returns:
        A sentence for each new file that has the rows of another day's file, which may be a mistake.

    Raises:
        LandingError: Two files have the same rows for the same day; or a file that was dated in the future is gone from
            the folder, and a new one has its rows.
    """
    warnings = []
    new = {file.name for file in selection.files}
    # Names by content. A corrected file's rows replace those of what was known under its name.
    read: dict[str, list[str]] = {}
    for name, sha256 in landing.known.items():
        if name not in new:
            read.setdefault(sha256, []).append(name)
    for file in selection.files:
        others, day = read.setdefault(file.sha256, []), day_of(file.name)
        for other in others if file.has_rows else ():
            same = f"{file.name} in {landing.address} has the same content as {other}"
            withdraw = f"kedro withdraw file {shell_word(other)}"
            if other in selection.vanished and (day_of(other) == day or day_of(other) > today):
                raise LandingError(
                    f"{same}, which lay there before: its rows would count twice. Give it that name again or, if the "
                    f"name was wrong, take out what was read from it: {withdraw}"
                )
            if day_of(other) == day:
                raise LandingError(
                    f"{same}: its rows would count twice. Remove one of the two (a corrected file keeps its name)."
                )
            warnings.append(
                f"{same}, of another day: both are read. If {other} is wrong, take out its rows: {withdraw}"
            )
        others.append(file.name)
    return warnings
