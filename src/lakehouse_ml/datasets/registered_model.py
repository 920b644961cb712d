"""Models in the registry: logged and registered through kedro-mlflow, checked before they are loaded."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import platform
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kedro.io import AbstractDataset
from pydantic import validate_call

from lakehouse_ml.config.locations import LakeKind
from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.errors import RegistryError, chain, first_line
from lakehouse_ml.modelling.card import Candidate, Model, ModelCard, Promotion, Standing
from lakehouse_ml.modelling.estimators.base import library
from lakehouse_ml.registry.artefact import REMEDY, digest, download
from lakehouse_ml.storage.provenance import get_provenance

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

_CARD = "lakehouse_ml.card"
_MADE_WITH = "lakehouse_ml.made_with"
_FINGERPRINT = "fingerprint"
# How many predictors a version's description names.
_NAMED = 5
_JUDGED_AGAINST = "judged_against"
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
        role: Literal["challenger", "champion", "incumbent"],
        digests: str,
        other_versions: Literal["warn", "refuse"] = "warn",
        lake_kind: LakeKind = "path",
        artifacts: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Nothing is contacted before `load` or `save`.

        Args:
            name: Of the registered model; its last part, after a catalog and a schema, is the use case.
            role: Which version is meant.
            digests: Delta table outside the registry that holds each version's digest.
            other_versions: What `load` does where libraries differ, by their first two numbers, from those that the
                model was made with.
            lake_kind: What `digests` is: an address or a table's name.
            artifacts: Folder that conf gives MLflow's artefacts, where that is outside of the lake; files of versions
                anywhere else are refused.
            metadata: For kedro-viz.
        """
        self._name = name
        self._role = role
        self._other_versions = other_versions
        self._artifacts = artifacts
        self._digests = DeltaTable(
            filepath=digests, kind=lake_kind, mode="merge", keys=("model", "version"), frame="pandas"
        )
        self.metadata = metadata

    def load(self) -> Model | None:
        """The version, resolved once; None while nobody has the role of champion or incumbent.

        Raises:
            RegistryError: No challenger, files outside of the lake, links, a digest that isn't the recorded one, a
                description that can't be read, types outside the allow-list, or made with other versions where those
                are refused.
        """
        version = self._version()
        if version is None:
            if self._role == "challenger":
                raise RegistryError(f"There is no candidate of {self._name} yet: kedro run --pipelines training")
            return None
        with tempfile.TemporaryDirectory() as folder:
            # Checked and loaded from the same copy: what is loaded is what was checked.
            uri = f"models:/{self._name}/{version}"
            copy = download(self._name, version, Path(folder), self._artifacts)
            self._check_digest(copy, version)
            card, packages = _read_description(copy, uri)
            self._check_versions(packages, uri)
            return Model(self._name, version, _read(copy, uri, card), card)

    def save(self, data: Candidate) -> None:
        """Log the candidate to the active run, register it, record its digest, and make it the challenger.

        The challenger of the same fingerprint is the same model: an attempt registered it that broke off afterwards.

        Raises:
            RegistryError: The role isn't `challenger`.
        """
        if self._role != "challenger":
            raise RegistryError(f"The {self._role} of {self._name} is made by a verdict, not by saving.")
        import mlflow
        import pandas as pd

        made = get_provenance()
        if made and self.has_fingerprint(made.fingerprint):
            return
        _drop_half_registered(self._name)
        version = _register(self._name, data)
        with tempfile.TemporaryDirectory() as folder:
            sha256 = digest(download(self._name, version, Path(folder), self._artifacts))
        row = {"model": self._name, "version": version, "sha256": sha256}
        self._digests.save(pd.DataFrame([row]))
        tags = {
            "use_case": _use_case(self._name),
            "estimator": data.card.estimator,
            "threshold": f"{data.card.threshold:.4f}",
            "sha256": row["sha256"],
            **{f"input.{name}": token for name, token in (made.inputs if made else {}).items() if "params" not in name},
        }
        client = mlflow.MlflowClient()
        for key, value in tags.items():
            client.set_model_version_tag(self._name, version, key, value)
        client.update_model_version(self._name, version, _described(data.card))
        client.set_registered_model_alias(self._name, "challenger", version)
        # Last: a version without it was left half registered.
        client.set_model_version_tag(self._name, version, _FINGERPRINT, made.fingerprint if made else "")

    def token(self) -> str:
        """The version that has the role now."""
        return f"version {self._version()}"

    def maker(self, version: str) -> dict[str, Any]:
        """What made a version: `inputs` (versions by dataset name), `run`, `git` and `at` (UTC).

        Raises:
            RegistryError: There is no such version.
        """
        import mlflow

        client = mlflow.MlflowClient()
        try:
            found = client.get_model_version(self._name, version)
        except mlflow.MlflowException as error:
            raise RegistryError(f"The registry has no version {version} of {self._name}.") from error
        inputs = {key.removeprefix("input."): value for key, value in found.tags.items() if key.startswith("input.")}
        tags = client.get_run(found.run_id).data.tags if found.run_id else {}
        at = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
        return {"inputs": inputs, "run": found.run_id, "git": tags.get("git_sha"), "at": at}

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether the challenger was made with this fingerprint, and is still what was registered."""
        import mlflow

        challenger = by_alias(self._name, "challenger")
        if challenger is None or challenger.tags.get(_FINGERPRINT) != fingerprint:
            return False
        try:
            with tempfile.TemporaryDirectory() as folder:
                files = download(self._name, str(challenger.version), Path(folder), self._artifacts)
                self._check_digest(files, str(challenger.version))
        except (RegistryError, OSError, mlflow.MlflowException) as error:
            log.warning("%s", first_line(error))
            return False
        return True

    def _exists(self) -> bool:
        return self._version() is not None

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name, "role": self._role}

    def _version(self) -> str | None:
        if self._role != "incumbent":
            held = by_alias(self._name, self._role)
            return str(held.version) if held else None
        # A candidate that was promoted is champion itself: it stays judged against the one before it.
        challenger = by_alias(self._name, "challenger")
        judged = challenger.tags.get(_JUDGED_AGAINST) if challenger else None
        if judged is not None:
            return judged or None
        champion = by_alias(self._name, "champion")
        return str(champion.version) if champion else None

    def _check_digest(self, copy: Path, version: str) -> None:
        recorded = self._recorded_digests(version)
        if not recorded:
            raise RegistryError(
                f"Version {version} of {self._name} has no recorded digest: it wasn't registered by this project, "
                f"and is not loaded. {REMEDY}"
            )
        if len(recorded) > 1:
            raise RegistryError(
                f"Version {version} of {self._name} has {len(recorded)} different digests in {self._digests.address}: "
                f"it is not loaded. {REMEDY}"
            )
        if recorded != {digest(copy)}:
            raise RegistryError(
                f"Version {version} of {self._name} is not what was registered: its files have another digest. "
                f"It is not loaded. {REMEDY}"
            )

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

    def _check_versions(self, packages: Mapping[str, str], uri: str) -> None:
        other = differing(packages)
        if not other:
            return
        told = f"{uri} was made with {', '.join(f'{name} {was} (here is {now})' for name, was, now in other)}"
        if self._other_versions == "refuse":
            raise RegistryError(
                f"{told}, and is not loaded: install those, train again, or set other_versions: warn in globals.yml."
            )
        log.warning("%s: its scores may differ from those that it was judged by.", told)


class ChampionAlias(AbstractDataset[Promotion, Standing]):
    """The one edge that moves the champion's alias, and where scoring learns who is champion.

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
        self.metadata = metadata

    def load(self) -> Standing:
        """Champion and newest candidate as they stand."""
        champion, candidate = by_alias(self._name, "champion"), by_alias(self._name, "challenger")
        tags = dict(candidate.tags) if candidate else {}
        return Standing(
            champion=str(champion.version) if champion else None,
            candidate=str(candidate.version) if candidate else None,
            decision=tags.get("verdict"),
            reason=tags.get("verdict_reason"),
            tags=tags,
        )

    def save(self, data: Promotion) -> None:
        """Tag the judged version with its verdict; on `approve`, and only then, make it champion."""
        client = _client()
        made = get_provenance()
        tags = {
            "verdict": data.decision,
            "verdict_reason": data.reason,
            "evidence": data.evidence,
            _JUDGED_AGAINST: data.incumbent or "",
        }
        for key, value in tags.items():
            client.set_model_version_tag(self._name, data.version, key, value)
        if data.decision == "approve":
            client.set_registered_model_alias(self._name, "champion", data.version)
        client.set_model_version_tag(
            self._name, data.version, "promotion_fingerprint", made.fingerprint if made else ""
        )

    def token(self) -> str:
        """Champion, candidate and verdict as they stand."""
        now = self.load()
        return f"champion {now.champion}, candidate {now.candidate} {now.decision}"

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether the newest candidate's verdict was carried out with this fingerprint."""
        return self.load().tags.get("promotion_fingerprint") == fingerprint

    def _exists(self) -> bool:
        return self.load().champion is not None

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name}


def by_alias(name: str, alias: str) -> ModelVersion | None:
    """The version that carries an alias, if any does."""
    from mlflow.exceptions import MlflowException

    try:
        return _client().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        # The SQL store says INVALID_PARAMETER_VALUE for a missing alias, RESOURCE_DOES_NOT_EXIST for a missing model.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def differing(packages: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Packages of which other versions are installed, by the first two numbers: name, given and installed version."""
    known = [(name, was, _installed(name)) for name, was in packages.items()]
    return [each for each in known if each[1].split(".")[:2] != each[2].split(".")[:2]]


def _installed(package: str) -> str:
    """Version of a package; a platform's own Spark is no package, and imported in any case.

    Nothing else is imported: the name may come from a model's file.
    """
    try:
        return version_of(package)
    except (PackageNotFoundError, ValueError):
        return str(import_module("pyspark").__version__) if package == "pyspark" else "not installed"


def _made_with(packages: Mapping[str, str]) -> dict[str, Any]:
    """What a model was made with: Python, the platform's runtime (empty where there is none), and its libraries."""
    runtime = os.environ.get("DATABRICKS_RUNTIME_VERSION", "")
    return {"python": platform.python_version(), "runtime": runtime, "packages": dict(packages)}


def _use_case(name: str) -> str:
    """The last part of a model's full name."""
    return name.rsplit(".", 1)[-1]


def _described(card: ModelCard) -> str:
    """What MLflow's page of a version says of it in words."""
    params = ", ".join(f"{name} {value}" for name, value in card.params.items())
    found = ", ".join(f"{name} {card.metrics[name]:.3f}" for name in ("f1", "roc_auc") if name in card.metrics)
    ranked = sorted(card.importance, key=lambda name: -card.importance[name])[:_NAMED]
    return (
        f"{card.estimator} ({params or 'defaults'}), chosen by cross-validation ({found}). Decides from a probability "
        f"of {card.threshold:.3f} on. Looks most at {', '.join(ranked)}."
    )


def _client() -> MlflowClient:
    import mlflow

    return mlflow.MlflowClient()


def _drop_half_registered(name: str) -> None:
    """Delete versions whose run broke off before it had finished with them: nobody can load them."""
    from mlflow.exceptions import MlflowException

    client = _client()
    try:
        versions = client.search_model_versions(f"name = '{name}'")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # no model of the name yet
            raise
        return
    for version in versions:
        run = client.get_run(version.run_id) if version.run_id else None
        if run is None or "use_case" not in run.data.tags or run.info.status not in ("FAILED", "KILLED"):
            continue
        # Unity Catalog tells tags of a single version only.
        if _FINGERPRINT not in client.get_model_version(name, version.version).tags:
            client.delete_model_version(name, version.version)
            log.warning("Version %s of %s, half registered by a run that broke off, is gone.", version.version, name)


def _register(name: str, candidate: Candidate) -> str:
    """Log and register through kedro-mlflow; everything that MLflow would otherwise guess is said."""
    from kedro_mlflow.io.models import MlflowModelTrackingDataset
    from mlflow.models import infer_signature

    estimators = library(candidate.card.library)
    given = estimators.save_args(candidate)
    packages = {package: _installed(package) for package in given["pip_requirements"]}
    logged = MlflowModelTrackingDataset(
        flavor=estimators.FLAVOR,
        save_args=given
        | {
            "name": f"{_use_case(name)}_model",
            "registered_model_name": name,
            "signature": infer_signature(candidate.example, estimators.decide(candidate.model, candidate.example)),
            "pip_requirements": [f"{package}=={installed}" for package, installed in packages.items()],
            "metadata": {_CARD: candidate.card.to_json(), _MADE_WITH: _made_with(packages)},
        },
    )
    # MLflow prints that it registered; the run's summary says so.
    with contextlib.redirect_stderr(io.StringIO()):
        logged.save(candidate.model)
    return str(logged.model_info.registered_model_version)


def _read_description(copy: Path, uri: str) -> tuple[ModelCard, dict[str, str]]:
    """Read the MLmodel file before anything is loaded, and refuse what isn't a stock model of a library of ours.

    Returns:
        The model's card, and the version of each package that the model was made with.

    Raises:
        RegistryError: A description that can't be read, another flavour or format, code beside the model, types outside
            the allow-list, or a library that this engine can't load.
    """
    try:
        card, packages, found = _parse_description(copy)
    except RegistryError as error:
        raise RegistryError(f"{uri} is not loaded: {error}") from error
    except Exception as error:
        told = f"{uri} is not loaded: its description (MLmodel) can't be read: {_line(error)}. {REMEDY}"
        raise RegistryError(told) from error
    if found:
        raise RegistryError(f"{uri} is not loaded: {'; '.join(found)}. {REMEDY}")
    engines = library(card.library).ENGINES
    if ENGINE.kind not in engines:
        raise RegistryError(
            f"{uri} is not loaded: it is a model of {card.library}, which computes with the engine "
            f"{' or '.join(engines)}, and this run with {ENGINE.kind}. Name an environment with that engine "
            f"(--env spark), or train another model."
        )
    return card, packages


def _parse_description(copy: Path) -> tuple[ModelCard, dict[str, str], list[str]]:
    """Card, packages and faults; whatever a file that somebody else wrote makes of it, comes as some exception."""
    from mlflow.models import Model as Description

    description = Description.load(str(copy))
    metadata = description.metadata or {}
    if _CARD not in metadata:
        raise RegistryError(f"it has no model card. {REMEDY}")
    card = ModelCard.from_json(metadata[_CARD])
    estimators = library(card.library)
    flavor = description.flavors.get(estimators.FLAVOR.removeprefix("mlflow."), {})
    found = estimators.faults(copy, flavor)
    if flavor.get("code"):
        found.append("it brings code of its own")
    packages = metadata.get(_MADE_WITH, {}).get("packages", {})
    return card, {str(name): str(was) for name, was in packages.items()}, found


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _read(copy: Path, uri: str, card: ModelCard) -> Any:
    """The model itself; skops refuses a file with types that its description doesn't name."""
    from kedro_mlflow.io.models import MlflowModelLocalFileSystemDataset

    try:
        return MlflowModelLocalFileSystemDataset(filepath=str(copy), flavor=library(card.library).FLAVOR).load()
    except Exception as error:
        # Kedro's words about its dataset stand before those of the library.
        why = _line(list(chain(error))[-1])
        told = f"{uri} is not loaded, its file can't be read as what its description says: {why} {REMEDY}"
        raise RegistryError(told) from error
