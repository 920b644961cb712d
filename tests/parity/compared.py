"""What differs between two engines' answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

RELATIVE = 1e-9
# Below, two fractions are the same nothing: a mean of deviations that cancel out.
ABSOLUTE = 1e-12


def differences(expected: Any, actual: Any, most: int = 5) -> list[str]:
    """The first few places where answers differ: kinds, names, types, nulls, numbers beyond the bounds, text."""
    return list(islice(_differences(expected, actual, ""), most))


def _differences(expected: Any, actual: Any, place: str) -> Iterator[str]:
    if type(expected) is not type(actual):
        yield f"{place}: {_short(expected)} here, {_short(actual)} there"
    elif isinstance(expected, dict):
        if expected.keys() != actual.keys():
            yield f"{place}: {sorted(expected)} here, {sorted(actual)} there"
        else:
            for name in expected:
                yield from _differences(expected[name], actual[name], f"{place}.{name}")
    elif isinstance(expected, list):
        if len(expected) != len(actual):
            yield f"{place}: {len(expected)} here, {len(actual)} there"
        for number, pair in enumerate(zip(expected, actual, strict=False)):
            yield from _differences(*pair, f"{place}[{number}]")
    elif isinstance(expected, float):
        if not _same(expected, actual):
            yield f"{place}: {expected!r} here, {actual!r} there"
    elif expected != actual:
        yield f"{place}: {_short(expected, actual)} here, {_short(actual, expected)} there"


def _same(one: float, other: float) -> bool:
    both_nan = math.isnan(one) and math.isnan(other)
    return both_nan or math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _short(value: Any, other: Any = "") -> str:
    """A value, of a long text the part from where it differs."""
    if not isinstance(value, str) or len(value) < 200:
        return repr(value)[:200]
    n_equal = next((n for n, (a, b) in enumerate(zip(value, other, strict=False)) if a != b), 0)
    return repr(value[max(0, n_equal - 40) : n_equal + 80])
