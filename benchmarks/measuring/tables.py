"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A table whose columns are the keys of the first row; the first column is text, the others are right-aligned."""
    names = list(rows[0])
    rule = ["---", *("--:" for _ in names[1:])]
    lines = [names, rule, *([row[name] for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
