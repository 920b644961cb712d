"""Files of a registered version: checked by digest, description and allow-list before a model is read from them."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Literal

from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.errors import RegistryError, chain
from lakehouse_ml.modelling.card import ModelCard
from lakehouse_ml.modelling.estimators.base import estimator_backend
from lakehouse_ml.modelling.model import Model

log = logging.getLogger(__name__)

REMEDY = "Restore the lake from a copy, or start a new one from the same files: LAKE=<folder>."
# Written by MLflow at the top of a version that it downloads; not part of what was registered.
DOWNLOAD_MARK = "registered_model_meta"
_CARD = "lakehouse_ml.card"
_MADE_WITH = "lakehouse_ml.made_with"


def digest(folder: Path) -> str:
    """SHA-256 over names and bytes of all files of a model, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / DOWNLOAD_MARK:
            total.update(path.relative_to(folder).as_posix().encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def check_digest(copy: Path, name: str, number: str, recorded: set[str], table: str) -> None:
    """Compare the digest of a copy with the recorded one.

    Args:
        copy: Folder with the files of a version.
        name: The model's full name.
        number: The version's number.
        recorded: Digests that were recorded for the version when it was registered.
        table: Address of the table that holds them.

    Raises:
        RegistryError: No digest, several digests, or a different one.
    """
    if not recorded:
        raise RegistryError(
            f"Version {number} of {name} has no recorded digest: it wasn't registered by this project, and is not "
            f"loaded. {REMEDY}"
        )
    if len(recorded) > 1:
        raise RegistryError(
            f"Version {number} of {name} has {len(recorded)} different digests in {table}: it is not loaded. {REMEDY}"
        )
    if recorded != {digest(copy)}:
        raise RegistryError(
            f"Version {number} of {name} is not what was registered: its files have another digest. It is not loaded. "
            f"{REMEDY}"
        )


def check_plain_files(folder: Path, name: str, number: str) -> None:
    """Refuse links, which lead out of the lake, and everything else that is neither file nor folder."""
    if not folder.is_dir():
        raise RegistryError(f"Version {number} of {name} is not loaded: its folder {folder} is missing. {REMEDY}")
    for path in (folder, *sorted(folder.rglob("*"))):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            kind = "a link" if path.is_symlink() else "neither a file nor a folder"
            raise RegistryError(f"Version {number} of {name} is not loaded: {str(path)!r} is {kind}. {REMEDY}")


def check_download_mark(path: Path, name: str, number: str) -> None:
    """Refuse other content than MLflow writes: the digest doesn't cover this file."""
    if path.exists() and _read_mark(path) != {"model_name": name, "model_version": number}:
        raise RegistryError(
            f"Version {number} of {name} is not loaded: {path} is not what MLflow writes there. Remove that file, and "
            f"find out who wrote it."
        )


def load_model(copy: Path, name: str, number: str, other_versions: Literal["warn", "refuse"]) -> Model:
    """Read a model from a copy whose digest was checked.

    Its description (the MLmodel file) is read first, and the model only if it is a stock model of a known library.

    Args:
        copy: Folder with the files of a version.
        name: The model's full name.
        number: The version's number.
        other_versions: What to do if the installed libraries differ from those that the model was trained with.

    Raises:
        RegistryError: A description that can't be read, another flavour or format, code beside the model, types outside
            the allow-list, a library that this engine can't load, or other versions of libraries where those are
            refused.
    """
    version = f"Version {number} of {name}"
    card, packages = _read_description(copy, version)
    _check_versions(packages, version, other_versions)
    return Model(name, number, _read_model(copy, version, card), card)


def describe_contents(card: ModelCard, packages: Mapping[str, str]) -> dict[str, Any]:
    """What is stored inside a version beside its weights: the card, Python, the platform's runtime, and libraries.

    Args:
        card: The model's card.
        packages: Installed version by package.
    """
    runtime = os.environ.get("DATABRICKS_RUNTIME_VERSION", "")
    made_with = {"python": platform.python_version(), "runtime": runtime, "packages": dict(packages)}
    return {_CARD: card.to_json(), _MADE_WITH: made_with}


def installed_version(package: str) -> str:
    """Version of a package; a platform's own Spark is no package, and imported in any case.

    Nothing else is imported: the name may come from a model's file.
    """
    try:
        return version_of(package)
    except (PackageNotFoundError, ValueError):
        return str(import_module("pyspark").__version__) if package == "pyspark" else "not installed"


def _read_mark(path: Path) -> Any:
    import yaml

    try:
        return {key: str(value) for key, value in yaml.safe_load(path.read_bytes()).items()}
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _read_description(copy: Path, version: str) -> tuple[ModelCard, dict[str, str]]:
    """Read the model's card, and the version of each package that the model was trained with; refuse any fault."""
    try:
        card, packages, faults = _parse_description(copy)
    except RegistryError as error:
        raise RegistryError(f"{version} is not loaded: {error}") from error
    except Exception as error:
        message = f"{version} is not loaded: its description (MLmodel) can't be read: {_in_one_line(error)}. {REMEDY}"
        raise RegistryError(message) from error
    if faults:
        raise RegistryError(f"{version} is not loaded: {'; '.join(faults)}. {REMEDY}")
    engines = estimator_backend(card.library).ENGINES
    if ENGINE.kind not in engines:
        raise RegistryError(
            f"{version} is not loaded: it is a model of {card.library}, which needs the engine "
            f"{' or '.join(engines)}, and this run uses {ENGINE.kind}. Name an environment with that engine "
            f"(--env spark), or train another model."
        )
    return card, packages


def _parse_description(copy: Path) -> tuple[ModelCard, dict[str, str], list[str]]:
    """Parse card, packages and faults; a file that somebody else wrote may raise any exception here."""
    from mlflow.models import Model as Description

    description = Description.load(str(copy))
    metadata = description.metadata or {}
    if _CARD not in metadata:
        raise RegistryError(f"it has no model card. {REMEDY}")
    card = ModelCard.from_json(metadata[_CARD])
    backend = estimator_backend(card.library)
    flavor = description.flavors.get(backend.FLAVOR.removeprefix("mlflow."), {})
    faults = backend.find_faults(copy, flavor)
    if flavor.get("code"):
        faults.append("it brings code of its own")
    packages = metadata.get(_MADE_WITH, {}).get("packages", {})
    return card, {str(name): str(trained_with) for name, trained_with in packages.items()}, faults


def _check_versions(packages: Mapping[str, str], version: str, other_versions: Literal["warn", "refuse"]) -> None:
    """Compare packages with the installed ones by the first two numbers of their versions."""
    installed = {name: installed_version(name) for name in packages}
    differing = [
        f"{name} {trained_with} (installed: {installed[name]})"
        for name, trained_with in packages.items()
        if trained_with.split(".")[:2] != installed[name].split(".")[:2]
    ]
    if not differing:
        return
    difference = f"{version} was trained with {', '.join(differing)}"
    if other_versions == "refuse":
        raise RegistryError(
            f"{difference}, and is not loaded: install those versions, train again, or set other_versions: warn in "
            f"globals.yml."
        )
    log.warning("%s: its scores may differ from those that it was judged by.", difference)


def _read_model(copy: Path, version: str, card: ModelCard) -> Any:
    """Read the model itself; skops refuses a file with types that its description doesn't name."""
    from kedro_mlflow.io.models import MlflowModelLocalFileSystemDataset

    flavor = estimator_backend(card.library).FLAVOR
    try:
        return MlflowModelLocalFileSystemDataset(filepath=str(copy), flavor=flavor).load()
    except Exception as error:
        # Kedro wraps the library's message in one about its dataset.
        why = _in_one_line(list(chain(error))[-1])
        message = f"{version} is not loaded: its file does not match its description: {why} {REMEDY}"
        raise RegistryError(message) from error


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
