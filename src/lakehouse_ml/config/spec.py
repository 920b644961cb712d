"""The base of every typed parameter: what conf may say, checked before anything runs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A frozen value built from conf; an unknown key or a wrong type is refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    def __str__(self) -> str:
        """The values as one line of JSON: what the tracking store shows of a parameter."""
        return self.model_dump_json(exclude_none=True)
