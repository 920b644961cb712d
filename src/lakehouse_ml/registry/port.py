"""What the project asks of a model registry, whichever product holds the versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from lakehouse_ml.modelling.card import Candidate

Alias = Literal["champion", "challenger"]


@dataclass(frozen=True)
class ModelVersion:
    """A registered version of a model.

    Attributes:
        number: Its number, as text.
        created_at: When it was registered, in UTC.
        run_id: The run that registered it; None if the registry does not know.
        tags: Its tags. Versions of a list may come without: Unity Catalog returns tags of a single version only.
    """

    number: str
    created_at: datetime
    run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RegisteringRun:
    """The run that registered a version.

    Attributes:
        use_case: Whose run it was; None for a run of another project.
        commit: Git commit of the code, if there was one.
        is_interrupted: Whether it failed or was killed.
    """

    use_case: str | None
    commit: str | None
    is_interrupted: bool


class ModelRegistry(Protocol):
    """A registry of model versions. `name` is a model's full name; nothing is contacted before the first call."""

    def find_by_alias(self, name: str, alias: Alias) -> ModelVersion | None:
        """The version with an alias; None if no version, or no model of the name, has it."""

    def get_version(self, name: str, number: str) -> ModelVersion:
        """A version with its tags.

        Raises:
            RegistryError: The registry has no such version.
        """

    def list_versions(self, name: str) -> list[ModelVersion]:
        """All versions; empty if there is no model of the name."""

    def get_run(self, run_id: str) -> RegisteringRun:
        """The run that registered a version, as `ModelVersion.run_id` names it."""

    def register(self, name: str, candidate: Candidate) -> str:
        """Store a model with its card, signature and requirements as a new version, and return its number."""

    def tag(self, name: str, number: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version, in this order."""

    def describe(self, name: str, number: str, text: str) -> None:
        """Set the description that the registry's page shows for a version."""

    def move_alias(self, name: str, alias: Alias, number: str) -> None:
        """Give an alias to a version, and take it from whichever version had it."""

    def delete_version(self, name: str, number: str) -> None:
        """Delete a version."""

    def download(self, name: str, number: str, folder: Path) -> Path:
        """Copy the files of a version into an empty folder, and return the folder of the copy.

        Raises:
            RegistryError: No such version, or files that are missing or not safe to read.
        """


def use_case_of(name: str) -> str:
    """The use case that a model is named after: the last part of its full name."""
    return name.rsplit(".", 1)[-1]
