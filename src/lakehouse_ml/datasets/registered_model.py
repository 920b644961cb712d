"""Models in the registry as datasets: saved as the challenger, loaded by role, promoted by a verdict."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any, Literal

from kedro.io import AbstractDataset
from pydantic import validate_call

from lakehouse_ml.config.lake import LakeKind
from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.errors import RegistryError, first_line
from lakehouse_ml.modelling.card import Candidate, Promotion, RegistryStatus
from lakehouse_ml.modelling.model import Model
from lakehouse_ml.registry import state
from lakehouse_ml.registry.artefact import check_digest, digest, load_model
from lakehouse_ml.registry.mlflow import MlflowRegistry
from lakehouse_ml.registry.port import ModelRegistry
from lakehouse_ml.storage.provenance import get_provenance

log = logging.getLogger(__name__)

_DIGEST_COLUMNS = ("model", "version", "sha256")


class RegisteredModel(AbstractDataset[Candidate, "Model | None"]):
    """A version of a registered model, by role. Saving registers a new version; only the challenger can be saved.

    Roles: `challenger` is the newest candidate, `champion` the one that scores, `incumbent` the champion that the
    challenger is (or was) judged against.

    Example:
        ```yaml
        "{use_case}.candidate_model":
          type: lakehouse_ml.datasets.registered_model.RegisteredModel
          name: "{use_case}"
          role: challenger
          digests: data/06_models/{use_case}/digests
          other_versions: refuse
        ```
    """

    @validate_call
    def __init__(
        self,
        *,
        name: str,
        role: state.Role,
        digests: str,
        other_versions: Literal["warn", "refuse"] = "warn",
        lake_kind: LakeKind = "path",
        artifacts: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Nothing is contacted before `load` or `save`.

        Args:
            name: Full name of the registered model; its last part, after a catalog and a schema, is the use case.
            role: Which version to load.
            digests: Delta table outside the registry that holds each version's digest.
            other_versions: What `load` does if the installed libraries differ, by the first two numbers of their
                versions, from those that the model was trained with.
            lake_kind: Whether `digests` is an address or a table's name.
            artifacts: Folder that conf gives MLflow's artefacts, where that is outside of the lake; files of versions
                anywhere else are refused.
            metadata: For kedro-viz.
        """
        self._name = name
        self._role = role
        self._other_versions = other_versions
        self._registry: ModelRegistry = MlflowRegistry(artifacts)
        self._digests = DeltaTable(
            filepath=digests, kind=lake_kind, mode="merge", keys=("model", "version"), frame="pandas"
        )
        self.metadata = metadata

    def load(self) -> Model | None:
        """The version, resolved once; None while no version is champion or incumbent.

        Raises:
            RegistryError: No challenger, files outside of the lake, links, a digest that isn't the recorded one, a
                description that can't be read, types outside the allow-list, or trained with other versions of
                libraries where those are refused.
        """
        version = self._find_version()
        if version is None:
            if self._role == "challenger":
                raise RegistryError(f"There is no candidate of {self._name} yet: kedro run --pipelines training")
            return None
        with tempfile.TemporaryDirectory() as folder:
            # Checked and loaded from the same copy: nobody can exchange the files in between.
            copy = self._registry.download(self._name, version, Path(folder))
            self._check_digest(copy, version)
            return load_model(copy, self._name, version, self._other_versions)

    def save(self, data: Candidate) -> None:
        """Log the candidate to the active run, register it, record its digest, and make it the challenger.

        A challenger with the same fingerprint is the same model: an attempt that was interrupted later registered it.

        Raises:
            RegistryError: The role isn't `challenger`.
        """
        if self._role != "challenger":
            raise RegistryError(f"The {self._role} of {self._name} can't be saved: only a verdict changes it.")
        import pandas as pd

        provenance = get_provenance()
        if provenance and self.has_fingerprint(provenance.fingerprint):
            return
        state.delete_half_registered(self._registry, self._name)
        version = self._registry.register(self._name, data)
        with tempfile.TemporaryDirectory() as folder:
            sha256 = digest(self._registry.download(self._name, version, Path(folder)))
        self._digests.save(pd.DataFrame([(self._name, version, sha256)], columns=list(_DIGEST_COLUMNS)))
        state.make_challenger(self._registry, self._name, version, data.card, sha256, provenance)

    def token(self) -> str:
        """The version that has the role now."""
        return f"version {self._find_version()}"

    def origin(self, version: str) -> dict[str, Any]:
        """What a version was made of: `inputs` (versions by dataset name), `run`, `git` and `at` (UTC).

        Raises:
            RegistryError: The registry has no such version.
        """
        return state.read_origin(self._registry, self._name, version)

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether the challenger was made with this fingerprint, and its files are still those that were registered."""
        version = state.find_challenger(self._registry, self._name, fingerprint)
        if version is None:
            return False
        try:
            with tempfile.TemporaryDirectory() as folder:
                self._check_digest(self._registry.download(self._name, version, Path(folder)), version)
        except (RegistryError, OSError) as error:
            log.warning("%s", first_line(error))
            return False
        return True

    def _exists(self) -> bool:
        return self._find_version() is not None

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name, "role": self._role}

    def _find_version(self) -> str | None:
        return state.find_version(self._registry, self._name, self._role)

    def _check_digest(self, copy: Path, version: str) -> None:
        check_digest(copy, self._name, version, self._recorded_digests(version), self._digests.address)

    def _recorded_digests(self, version: str) -> set[str]:
        if not self._digests.exists():
            return set()
        table = self._digests.load()
        missing = [name for name in _DIGEST_COLUMNS if name not in table.columns]
        if missing:
            raise RegistryError(
                f"Version {version} of {self._name} is not loaded: the table of digests {self._digests.address} has no "
                f"column {', '.join(missing)}. Restore the table's folder from a copy, or start a new lake: "
                f"LAKE=<folder>."
            )
        rows = table[(table["model"] == self._name) & (table["version"] == version)]
        return set(map(str, rows["sha256"]))


class ChampionAlias(AbstractDataset[Promotion, RegistryStatus]):
    """The champion's alias: saving a verdict is the only thing that moves it; loading tells scoring who is champion.

    Example:
        ```yaml
        "{use_case}.promotion_model":
          type: lakehouse_ml.datasets.registered_model.ChampionAlias
          name: "{use_case}"
        ```
    """

    @validate_call
    def __init__(self, *, name: str, metadata: dict[str, Any] | None = None) -> None:
        """Nothing is contacted before `load` or `save`."""
        self._name = name
        self._registry: ModelRegistry = MlflowRegistry()
        self.metadata = metadata

    def load(self) -> RegistryStatus:
        """Champion, newest candidate, and its verdict."""
        return state.read_status(self._registry, self._name)

    def save(self, data: Promotion) -> None:
        """Tag the judged version with its verdict; on `approve`, and only then, make it champion."""
        state.apply_verdict(self._registry, self._name, data, get_provenance())

    def token(self) -> str:
        """Champion, candidate and verdict as they are now."""
        status = self.load()
        return f"champion {status.champion}, candidate {status.candidate} {status.decision}"

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether the newest candidate's verdict was applied with this fingerprint."""
        return state.is_verdict_applied(self.load(), fingerprint)

    def _exists(self) -> bool:
        return self.load().champion is not None

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name}
