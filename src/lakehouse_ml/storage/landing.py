"""The files of a landing folder, and which of them a run must read."""

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
    """How a file name gives the day of its rows, which values mean missing, and how many rows may be refused.

    Attributes:
        snapshot_pattern: Regular expression. Its first group, matched in the name of a file, is the day (YYYY-MM-DD).
        snapshot_default: The day of files whose name has none.
        missing_words: Values that mean missing in every column, such as N/A; case does not matter.
        tolerated_refused_share: Share of the rows of a file that may be refused. With more, the file is not used and
            the run stops.
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
    """Whether the name of a file ends in `_simulated`, as the names of all generated samples do."""
    return bool(_SIMULATED.search(name.rsplit("/", 1)[-1]))


@dataclass(frozen=True)
class LandingFile:
    """A file, or a version of a source table. Its name is its identity; a new hash means changed content.

    Attributes:
        name: Path below the landing folder.
        path: Address to open.
        sha256: Hash of its bytes; for a table, its version.
        header: Column names as in the file; None for an unchanged file, which is not opened.
        has_rows: Whether anything follows the header; True for a file that is not opened.
    """

    name: str
    path: str
    sha256: str
    header: tuple[str, ...] | None = None
    has_rows: bool = True


@dataclass(frozen=True)
class Landing:
    """The landing folder of a table as it is now, and the files that the manifest recorded.

    Attributes:
        address: The folder.
        format: `csv`, `parquet`, `jsonl` or `delta`.
        delimiter: Delimiter of CSV files.
        files: Present files, by name.
        recorded_hashes: Hash of each recorded file, by name.
        recorded_address: Folder of the recorded files; None without any.
        manifest_address: The folder as the manifest names it: inside the lake by its path below the lake, since a lake
            may be moved.
        unrecorded_names: Names of files whose rows may be stored although the manifest lacks them: a run did not
            finish.
    """

    address: str
    format: str
    delimiter: str
    files: tuple[LandingFile, ...]
    recorded_hashes: Mapping[str, str]
    recorded_address: str | None
    manifest_address: str
    unrecorded_names: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Selection:
    """The files of a landing folder that a run must read or forget.

    Attributes:
        files: New and changed files, to read now.
        missing_names: Recorded files that are no longer in the folder; their rows stay.
        orphaned_names: Files that an unfinished run read and that are no longer in the folder; their rows are removed.
    """

    files: tuple[LandingFile, ...]
    missing_names: tuple[str, ...]
    orphaned_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files to read."""
        return tuple(file.name for file in self.files)

    @property
    def replaced_names(self) -> tuple[str, ...]:
        """Names of the files whose stored rows are replaced by new ones, or removed."""
        return (*self.names, *self.orphaned_names)


def select_files(landing: Landing) -> Selection:
    """Select new and changed files.

    Raises:
        LandingError: The lake holds rows of another folder.
    """
    if landing.recorded_address not in (None, landing.address):
        raise LandingError(
            f"This lake holds rows from {landing.recorded_address}, and {landing.address} is another landing folder. "
            f"Name a lake of its own: make run LANDING={shell_word(landing.address)} LAKE=data/another_lake"
        )
    present = {file.name for file in landing.files}
    changed = tuple(file for file in landing.files if landing.recorded_hashes.get(file.name) != file.sha256)
    missing = tuple(sorted(name for name in landing.recorded_hashes if name not in present))
    return Selection(changed, missing, tuple(sorted(landing.unrecorded_names - present)))


def check_content(landing: Landing, selection: Selection, day_of: Callable[[str], date], today: date) -> list[str]:
    """Refuse content that would count twice: the same rows for the same day in two files.

    Args:
        landing: The folder.
        selection: Its new and changed files.
        day_of: Returns the day of a file name; the same day for all files of a table whose rows have their own time.
        today: The day of the run.

    Returns:
        A warning for each new file with the content of a file of another day, which may be a mistake.

    Raises:
        LandingError: Two files have the same content for the same day; or a file dated in the future is gone, and a new
            file has its content.
    """
    warnings = []
    new = {file.name for file in selection.files}
    # The rows of a changed file replace those recorded under its name, so its old content does not count.
    names_by_content: dict[str, list[str]] = {}
    for name, sha256 in landing.recorded_hashes.items():
        if name not in new:
            names_by_content.setdefault(sha256, []).append(name)
    for file in selection.files:
        duplicates, day = names_by_content.setdefault(file.sha256, []), day_of(file.name)
        for duplicate in duplicates if file.has_rows else ():
            fault = f"{file.name} in {landing.address} has the same content as {duplicate}"
            withdraw = f"kedro withdraw file {shell_word(duplicate)}"
            if duplicate in selection.missing_names and (day_of(duplicate) == day or day_of(duplicate) > today):
                raise LandingError(
                    f"{fault}, which was in the folder before: its rows would count twice. Give it that name again "
                    f"or, if that name was wrong, withdraw its rows: {withdraw}"
                )
            if day_of(duplicate) == day:
                raise LandingError(
                    f"{fault}: its rows would count twice. Remove one of the two (a corrected file keeps its name)."
                )
            warnings.append(
                f"{fault}, of another day: both are read. If {duplicate} is wrong, withdraw its rows: {withdraw}"
            )
        duplicates.append(file.name)
    return warnings
