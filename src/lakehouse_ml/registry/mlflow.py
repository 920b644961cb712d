"""MLflow's registry behind the port: an SQLite file in the lake, a server, or Unity Catalog."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse_ml.errors import RegistryError, first_line
from lakehouse_ml.modelling.card import Candidate
from lakehouse_ml.modelling.estimators.base import estimator_backend
from lakehouse_ml.registry import tracking_store
from lakehouse_ml.registry.artefact import (
    DOWNLOAD_MARK,
    REMEDY,
    check_download_mark,
    check_plain_files,
    describe_contents,
    installed_version,
)
from lakehouse_ml.registry.port import Alias, ModelVersion, RegisteringRun, use_case_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

_INTERRUPTED = ("FAILED", "KILLED")


class MlflowRegistry:
    """The registry that MLflow is set to use (`mlflow.set_registry_uri`)."""

    def __init__(self, artifacts: str | None = None) -> None:
        """Nothing is contacted before the first call.

        Args:
            artifacts: Folder that conf gives MLflow's artefacts, where that is outside of the lake. If the store is a
                file, files of versions anywhere else are refused.
        """
        self._artifacts = artifacts

    def find_by_alias(self, name: str, alias: Alias) -> ModelVersion | None:
        """The version with an alias; None if no version, or no model of the name, has it."""
        from mlflow.exceptions import MlflowException

        try:
            return _to_version(_client().get_model_version_by_alias(name, alias))
        except MlflowException as error:
            # The SQL store reports INVALID_PARAMETER_VALUE for a missing alias, RESOURCE_DOES_NOT_EXIST for a missing
            # model.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def get_version(self, name: str, number: str) -> ModelVersion:
        """A version with its tags.

        Raises:
            RegistryError: The registry has no such version.
        """
        from mlflow.exceptions import MlflowException

        try:
            return _to_version(_client().get_model_version(name, number))
        except MlflowException as error:
            raise RegistryError(f"The registry has no version {number} of {name}.") from error

    def list_versions(self, name: str) -> list[ModelVersion]:
        """All versions; empty if there is no model of the name."""
        from mlflow.exceptions import MlflowException

        try:
            return [_to_version(one) for one in _client().search_model_versions(f"name = '{name}'")]
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return []

    def get_run(self, run_id: str) -> RegisteringRun:
        """The run that registered a version."""
        run = _client().get_run(run_id)
        tags = run.data.tags
        return RegisteringRun(tags.get("use_case"), tags.get("git_sha"), run.info.status in _INTERRUPTED)

    def register(self, name: str, candidate: Candidate) -> str:
        """Log to the active run and register; everything that MLflow would otherwise guess is passed to it."""
        from kedro_mlflow.io.models import MlflowModelTrackingDataset
        from mlflow.models import infer_signature

        backend = estimator_backend(candidate.card.library)
        save_args = backend.build_save_args(candidate)
        packages = {package: installed_version(package) for package in save_args["pip_requirements"]}
        dataset = MlflowModelTrackingDataset(
            flavor=backend.FLAVOR,
            save_args=save_args
            | {
                "name": f"{use_case_of(name)}_model",
                "registered_model_name": name,
                "signature": infer_signature(candidate.example, backend.decide(candidate.model, candidate.example)),
                "pip_requirements": [f"{package}=={installed}" for package, installed in packages.items()],
                "metadata": describe_contents(candidate.card, packages),
            },
        )
        # MLflow prints that it registered a version; the run's summary does too.
        with contextlib.redirect_stderr(io.StringIO()):
            dataset.save(candidate.model)
        return str(dataset.model_info.registered_model_version)

    def tag(self, name: str, number: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version, in this order."""
        client = _client()
        for key, value in tags.items():
            client.set_model_version_tag(name, number, key, value)

    def describe(self, name: str, number: str, text: str) -> None:
        """Set the description that MLflow's page shows for a version."""
        _client().update_model_version(name, number, text)

    def move_alias(self, name: str, alias: Alias, number: str) -> None:
        """Give an alias to a version, and take it from whichever version had it."""
        _client().set_registered_model_alias(name, alias, number)

    def delete_version(self, name: str, number: str) -> None:
        """Delete a version."""
        _client().delete_model_version(name, number)

    def download(self, name: str, number: str, folder: Path) -> Path:
        """Copy the files of a version into a folder; of a store that is a file, plain files below its folder only.

        That folder is the lake, and MLflow itself would follow any address. A server and Unity Catalog decide where
        files are.

        Raises:
            RegistryError: No such version, files elsewhere or missing, a link among them, or another version's mark.
        """
        import mlflow

        store = tracking_store.find_file(mlflow.get_registry_uri())
        if store is None:
            try:
                copy = mlflow.artifacts.download_artifacts(f"models:/{name}/{number}", dst_path=str(folder))
            except mlflow.MlflowException as error:
                raise RegistryError(f"Version {number} of {name} can't be downloaded: {first_line(error)}") from error
            return Path(copy)
        source = self._find_source(name, number, store)
        check_plain_files(source, name, number)
        check_download_mark(source / DOWNLOAD_MARK, name, number)
        return shutil.copytree(source, folder / "model")

    def _find_source(self, name: str, number: str, store: Path) -> Path:
        """The folder of a version's files, by the addresses in a store that is a file."""
        import mlflow

        client = _client()
        try:
            address = client.get_model_version_download_uri(name, number)
            if address.startswith("models:/"):
                address = client.get_logged_model(address.removeprefix("models:/")).artifact_location
        except mlflow.MlflowException as error:
            raise RegistryError(
                f"The registry in {store} has no files of version {number} of {name}. {REMEDY}"
            ) from error
        path = tracking_store.to_local_path(address)
        roots = [store.parent, Path(self._artifacts)] if self._artifacts else [store.parent]
        if path is None or not any(root.resolve() in path.resolve().parents for root in roots):
            raise RegistryError(
                f"Version {number} of {name} is not loaded: by {store} its files are at {address!r}, outside of the "
                f"lake. {REMEDY} If the lake was moved and is read-only, make it writable first."
            )
        return path


def _client() -> MlflowClient:
    import mlflow

    return mlflow.MlflowClient()


def _to_version(version: MlflowVersion) -> ModelVersion:
    created_at = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return ModelVersion(str(version.version), created_at, version.run_id or None, dict(version.tags))
