"""Kedro's loader of conf, with each kind of file read once."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from kedro.config import OmegaConfigLoader


class ReadOnceConfigLoader(OmegaConfigLoader):
    """Parses and resolves each kind of conf once: a run asks for its six kinds some thirty times, 20 ms each."""

    def __getitem__(self, key: str) -> dict[str, Any]:
        """A kind of conf, merged and resolved, as a copy that the caller may change."""
        read: dict[str, dict[str, Any]] = self.__dict__.setdefault("_read", {})
        if key in self:
            return super().__getitem__(key)
        if key not in read:
            read[key] = super().__getitem__(key)
        return deepcopy(read[key])
