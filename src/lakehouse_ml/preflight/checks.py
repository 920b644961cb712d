"""Whether an environment can be run as it is, judged by its conf alone: no engine, no network, nothing opened."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lakehouse_ml.config.lake import find_unset, is_local, is_table_name
from lakehouse_ml.engine.spec import EngineSpec
from lakehouse_ml.errors import ConfError
from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.preflight.conf import OF_JOB, Conf, leaves, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kedro.io import CatalogConfigResolver
    from kedro.pipeline import Pipeline

    from lakehouse_ml.config.loader import ProjectConfigLoader

_SECRET_KEY = re.compile(r"(?i)(passw(or)?d|secret|token|api_?key|access_?key|private_?key)$")
# What says where a secret is, instead of being one.
_REFERENCE = re.compile(r"\$\{oc\.env:|\{\{secrets/")
_SECRET_VALUE = re.compile(
    r"\bdapi[0-9a-f]{32}|\bdose[0-9a-f]{32}|\bA(?:KIA|SIA)[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY|"
    r"\bgh[pousr]_\w{36}|://[^\s/:@$]+:[^\s/@$]+@|\beyJ[\w-]{20,}\.eyJ|"
    r"\$\{variable:\s*\w*(?:TOKEN|SECRET|PASSWORD|KEY)\b"
)
_SUFFIXES = (".yml", ".yaml", ".json")
_IN_MEMORY = ("MemoryDataset", "SharedMemoryDataset")
# What another engine writes by these properties, delta-rs, which commits for Sail, would misread.
_MISREAD = {"delta.enableDeletionVectors": "true", "delta.columnMapping.mode": "name"}


@dataclass(frozen=True)
class Preflight:
    """One environment's conf, beside the others'.

    Attributes:
        source: Conf's folder.
        env: Its environment.
        load: Builds the loader of an environment, with the runtime parameters of its jobs.
        stages: The pipelines of the stages, each a task of a job.
        addresses: The runtime parameters that the environment's jobs pass on.
    """

    source: Path
    env: str
    load: Callable[[str], ProjectConfigLoader]
    stages: Mapping[str, Pipeline]
    addresses: Mapping[str, str] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """Find what is wrong with the environment, a sentence each, with file and line."""
        faults = list(self._find_secrets())
        try:
            faults += self._conf.faults(self._loader)
            faults += self._check_types()
            faults += self._check_memory_datasets()
            faults += self._check_names()
            faults += self._check_engine_fit()
            faults += self._check_isolation()
        except ConfError as error:
            faults.append(str(error))
        except Exception as error:
            explanation = self._conf.explain(error)
            if explanation is None:
                raise
            faults.append(explanation)
        return list(dict.fromkeys(faults))

    @cached_property
    def _conf(self) -> Conf:
        return Conf((self.source / self.env, self.source / "base"), self.addresses, "databricks.yml")

    @cached_property
    def _loader(self) -> ProjectConfigLoader:
        return self.load(self.env)

    @cached_property
    def _catalog(self) -> CatalogConfigResolver:
        from kedro.io import CatalogConfigResolver

        in_memory = {"{default}": {"type": "MemoryDataset"}}
        return CatalogConfigResolver(config=self._loader["catalog"], default_runtime_patterns=in_memory)

    @cached_property
    def _datasets(self) -> dict[str, dict[str, Any]]:
        """The catalog entry of each dataset of the stages."""
        names = {name for stage in self.stages.values() for name in stage.datasets() if not name.startswith("params:")}
        entries = {name: self._catalog.config.get(name) or self._catalog.resolve_pattern(name) for name in names}
        return dict(sorted(entries.items()))

    def _at(self, dataset: str, key: str) -> str:
        pattern = None if dataset in self._catalog.config else self._catalog.match_dataset_pattern(dataset)
        return self._conf.where("catalog", (pattern or dataset, key))

    def _check_types(self) -> Iterator[str]:
        """Find parameters that their types refuse."""
        from kedro.validation.parameter_validator import ParameterValidator

        try:
            ParameterValidator(dict(self.stages)).validate_raw_params(self._loader["parameters"])
        except Exception as error:
            yield self._conf.explain(error) or str(error)

    def _check_memory_datasets(self) -> Iterator[str]:
        """Find datasets that one task writes and another reads, stored where only the first can see them."""
        # Not validated: `Conf.faults` reports what is wrong with it.
        remote = EngineSpec.model_construct(**self._loader["spark"]).is_in_workspace
        for name in sorted({name for stage in self.stages.values() for name in stage.all_outputs()}):
            entry = self._datasets[name]
            readers = [stage for stage in STAGES if stage in self.stages and name in self.stages[stage].inputs()]
            if readers and str(entry["type"]).endswith(_IN_MEMORY):
                yield (
                    f"{self._conf.where('catalog', (name,))}: {name}, which {' and '.join(readers)} reads in a task of "
                    f"its own, is kept in memory: store it, by an entry in the catalog."
                )
            for key, address in _addresses(entry):
                if remote and entry.get("kind", "path") == "path" and is_local(address):
                    yield (
                        f"{self._at(name, key)}: {name} is stored in {address}, a folder of one machine: other tasks "
                        f"can't see it."
                    )

    def _check_names(self) -> Iterator[str]:
        """Find tables and models whose name is unset, or is invalid in Unity Catalog."""
        registry = self._loader["mlflow"]["server"].get("mlflow_registry_uri") or ""
        reported = {name for _, value in leaves(self._loader["globals"]) for name in find_unset(value)} | {*OF_JOB}
        for name, entry in self._datasets.items():
            path = str(entry.get("filepath", ""))
            unset = [variable for variable in find_unset(path) if variable not in reported]
            if unset:
                yield f"{self._at(name, 'filepath')}: {name}: {' and '.join(unset)} is not set."
            if entry.get("kind") == "schema" and not find_unset(path) and not is_table_name(path):
                yield f"{self._at(name, 'filepath')}: {name} can't be called {path} in Unity Catalog."
            model = str(entry["name"]) if "role" in entry and registry.startswith("databricks-uc") else ""
            if model and not find_unset(model) and not is_table_name(model):
                yield f"{self._at(name, 'name')}: Unity Catalog takes catalog.schema.model, not {model}."

    def _check_engine_fit(self) -> Iterator[str]:
        """Find tables that the engine can't reach or would misread, and datasets that share a location."""
        engine = self._loader["spark"]["engine"]
        owners: dict[str, str] = {}
        for name, entry in self._datasets.items():
            if engine == "sail" and entry.get("kind") == "schema":
                yield f"{self._at(name, 'kind')}: {name} is a table of a catalog, which sail doesn't reach."
            for key, value in leaves(entry) if engine == "sail" else ():
                if str(value).lower() == _MISREAD.get(str(key[-1])):
                    yield f"{self._at(name, str(key[0]))}: {name} has {key[-1]}, which sail would misread."
            unknown = [column for column in entry.get("partition_by", ()) if column not in _columns(name, entry)]
            if unknown:
                yield (
                    f"{self._at(name, 'partition_by')}: {name} is partitioned by {', '.join(unknown)}, which its "
                    f"contract doesn't have."
                )
            place = str(entry.get("filepath", "")).lower()
            if place and ".landing_" not in name and owners.setdefault(place, name) != name:
                yield f"{self._at(name, 'filepath')}: {name} and {owners[place]} are both stored in {place}."

    def _check_isolation(self) -> Iterator[str]:
        """Find stores of another environment that this one writes to."""
        addresses = self._find_addresses(self.env)
        outputs = {name for stage in self.stages.values() for name in stage.all_outputs()}
        for other in sorted(path.name for path in self.source.iterdir() if (path / "globals.yml").is_file()):
            if other in (self.env, "base"):
                continue
            other_addresses = self._find_addresses(other)
            for key in sorted(addresses.keys() & other_addresses.keys()):
                if _overlap(addresses[key], other_addresses[key]):
                    yield (
                        f"{self._conf.where_address(key)}: {key} is {addresses[key]}, and that of the "
                        f"environment {other} is {other_addresses[key]}: each environment needs its own."
                    )
            for name in sorted(outputs):
                path = str(self._datasets[name].get("filepath", ""))
                if (
                    "lake" in other_addresses
                    and not _overlap(addresses.get("lake", ""), other_addresses["lake"])
                    and _is_within(path, other_addresses["lake"])
                ):
                    yield f"{self._at(name, 'filepath')}: {name} is written to {path}, in the lake of {other}."

    def _find_addresses(self, env: str) -> dict[str, str]:
        """Lake, models and experiment that an environment or its jobs set; it shares the others with base."""
        file = self.source / env / "globals.yml"
        named = yaml.safe_load(file.read_text(encoding="utf-8")) or {} if file.is_file() else {}
        loader = self.load(env)
        named |= loader.runtime_params or {}
        return {key: loader.named(key) for key in ("lake", "models", "experiment") if named.get(key)}

    def _find_secrets(self) -> Iterator[str]:
        """Find values in the files of conf that look like secrets; the message never shows them."""
        folders = (self.source / "base", self.source / self.env)
        for file in sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in _SUFFIXES):
            for line in sorted({*find_secret_lines(file), *find_secret_keys(file)}):
                yield (
                    f"{file}, line {line}: looks like a hard-coded secret: secrets come from the environment "
                    f"(${{oc.env:NAME}} in credentials.yml) or from a secret scope ({{{{secrets/<scope>/<key>}}}})."
                )


def find_secret_lines(file: Path) -> Iterator[int]:
    """Lines of a file that hold what looks like a secret."""
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if _SECRET_VALUE.search(line):
            yield number


def find_secret_keys(file: Path) -> Iterator[int]:
    """Lines of a file on which a key that names a secret has a value, and not where the secret is."""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return  # reported as invalid YAML elsewhere
    for key, value in leaves(values):
        named = key and _SECRET_KEY.search(str(key[-1]))
        if named and isinstance(value, str) and value and not _REFERENCE.search(value):
            yield line_of(file, key) or 1


def _columns(name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns of the contract that an entry is bound to."""
    from kedro.validation.core import ValidatorSpec, resolve_validator

    if "validator" not in entry:
        return ()
    contract: Any = resolve_validator(ValidatorSpec.from_dataset_config(name, entry["validator"]))
    return tuple(contract.names)


def _addresses(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("filepath", "digests"):
        if key in entry and entry.get("lake_kind", "path") == "path":
            yield key, str(entry[key])


def _overlap(one: str, other: str) -> bool:
    return bool(one and other) and (_is_within(one, other) or _is_within(other, one))


def _is_within(place: str, other: str) -> bool:
    """Whether a place is another one or lies in it."""
    return place.lower() == other.lower() or place.lower().startswith((f"{other}/".lower(), f"{other}.".lower()))
