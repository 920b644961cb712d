"""Files of a registered version: where they may lie, what may be among them, and their digest."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from lakehouse_ml.errors import RegistryError
from lakehouse_ml.registry import tracking_store

REMEDY = "Restore the lake from a copy, or start a new one from the same files: LAKE=<folder>."
# Written by MLflow at the top of a version that it downloads; not part of what was registered.
_DOWNLOAD_MARK = "registered_model_meta"


def download(name: str, version: str, folder: Path, artifacts: str | None = None) -> Path:
    """Copy the files of a version into a folder, and nothing that only pretends to be one of them.

    Of a store that is a file, only plain files below its folder, which is the lake, are copied; MLflow follows no other
    address. A server and Unity Catalog decide themselves where files are.

    Args:
        name: Of the registered model.
        version: Of it.
        folder: Where the copy goes.
        artifacts: Another folder below which files may lie.

    Returns:
        The copy.

    Raises:
        RegistryError: No such version, files elsewhere or missing, a link among them, or another version's mark.
    """
    import mlflow

    store = tracking_store.file_of(mlflow.get_registry_uri())
    if store is None:
        return Path(mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=str(folder)))
    source = _source(name, version, store, artifacts)
    _check_plain(source, name, version)
    _check_mark(source / _DOWNLOAD_MARK, name, version)
    return shutil.copytree(source, folder / "model")


def digest(folder: Path) -> str:
    """SHA-256 over names and bytes of all files of a model, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / _DOWNLOAD_MARK:
            total.update(path.relative_to(folder).as_posix().encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _source(name: str, version: str, store: Path, artifacts: str | None) -> Path:
    """The folder of a version's files, by the addresses in a store that is a file."""
    import mlflow

    client = mlflow.MlflowClient()
    try:
        address = client.get_model_version_download_uri(name, version)
        if address.startswith("models:/"):
            address = client.get_logged_model(address.removeprefix("models:/")).artifact_location
    except mlflow.MlflowException as error:
        raise RegistryError(f"The registry in {store} has no files of version {version} of {name}. {REMEDY}") from error
    path = tracking_store.local_path(address)
    roots = [store.parent, Path(artifacts)] if artifacts else [store.parent]
    if path is None or not any(root.resolve() in path.resolve().parents for root in roots):
        raise RegistryError(
            f"Version {version} of {name} is not loaded: by {store} its files are at {address!r}, outside of the lake. "
            f"{REMEDY} If the lake was moved and is read-only, make it writable first."
        )
    return path


def _check_plain(folder: Path, name: str, version: str) -> None:
    """Refuse links, which lead out of the lake, and whatever else is neither file nor folder."""
    if not folder.is_dir():
        raise RegistryError(f"Version {version} of {name} is not loaded: its folder {folder} is missing. {REMEDY}")
    for path in (folder, *sorted(folder.rglob("*"))):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            kind = "a link" if path.is_symlink() else "neither a file nor a folder"
            raise RegistryError(f"Version {version} of {name} is not loaded: {str(path)!r} is {kind}. {REMEDY}")


def _check_mark(path: Path, name: str, version: str) -> None:
    """Refuse other content than MLflow writes: the digest doesn't cover this file."""
    if path.exists() and _read_mark(path) != {"model_name": name, "model_version": version}:
        raise RegistryError(
            f"Version {version} of {name} is not loaded: {path} is not what MLflow writes there. Remove that file, and "
            f"find out who wrote it."
        )


def _read_mark(path: Path) -> Any:
    import yaml

    try:
        return {key: str(value) for key, value in yaml.safe_load(path.read_bytes()).items()}
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError):
        return None
