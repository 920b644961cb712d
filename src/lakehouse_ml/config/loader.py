"""Kedro's loader of conf: each kind of file is read once, and its addresses are checked as it is read."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf

from lakehouse_ml.config import redirects
from lakehouse_ml.config.lake import Lake, mark_unset
from lakehouse_ml.config.tracking import TrackingStore
from lakehouse_ml.project import PROJECT

# Kinds of conf that name stores.
_OF_STORES = ("globals", "mlflow", "catalog")


def resolve_address(text: str) -> str:
    """An address as it is, a folder as an absolute path; relative paths start at the project folder."""
    return text if "://" in text else str((PROJECT / text).resolve())


class ProjectConfigLoader(OmegaConfigLoader):
    """Parses and resolves each kind of conf once: a run asks for its six kinds some thirty times, 20 ms each.

    Conf asks for the run's lake by `${lake:}`, `${table:path}`, `${files:}` and `${model:use_case}`, and for its
    tracking store by `${tracking:}`, `${registry:}`, `${artifacts:}` and `${experiment:}`.
    """

    @property
    def lake(self) -> Lake:
        """The run's lake: that of its runtime parameters, else conf's.

        Raises:
            ValueError: `lake_kind` is none.
        """
        return Lake.of_conf(self["globals"], self.runtime_params or {}, resolve_address)

    @property
    def landing(self) -> str:
        """The address of the run's landing folder, which holds those of the use cases."""
        return resolve_address(self.named("landing"))

    def named(self, name: str) -> str:
        """An address or a name: a runtime parameter, else the value of globals.yml, else the mark of an unset one."""
        value = (self.runtime_params or {}).get(name) or self["globals"][name]
        return mark_unset(name) if value is None else str(value)

    @property
    def files(self) -> str:
        """The folder of files that are not tables'."""
        return self.lake.files_location(self.named("volume"))

    @property
    def _tracking(self) -> TrackingStore:
        return TrackingStore.of_conf(self["globals"]["tracking"], self.lake)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """A kind of conf, merged and resolved, as a copy that the caller may change.

        Raises:
            ConfError: An address in it has a secret inside.
        """
        read: dict[str, dict[str, Any]] = self.__dict__.setdefault("_read", {})
        if key in self:
            return super().__getitem__(key)
        if key not in read:
            self._register_lake_resolvers()
            values = super().__getitem__(key)
            if key in _OF_STORES:
                redirects.check_addresses(f"{key}.yml", values)
            read[key] = values
        return deepcopy(read[key])

    def _register_lake_resolvers(self) -> None:
        """OmegaConf has one resolver of a name for all loaders, of which each asks its own lake."""
        resolvers: Mapping[str, Any] = {
            "lake": lambda: self.lake.root,
            "table": self._locate_table,
            "files": lambda: self.files,
            "model": self._name_model,
            "tracking": lambda: self._tracking.uri,
            "registry": lambda: self._tracking.registry_uri,
            "artifacts": lambda: self._tracking.artifacts,
            "experiment": lambda: self.named("experiment"),
        }
        for name, resolver in resolvers.items():
            OmegaConf.register_new_resolver(name, resolver, replace=True)

    def _locate_table(self, path: str) -> str:
        return self.lake.table_location(path)

    def _name_model(self, use_case: str) -> str:
        return self.lake.model_name(use_case)
