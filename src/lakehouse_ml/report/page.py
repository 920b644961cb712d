"""A page as a value: sections of sentences, pictures and tables; and its rendering, as HTML that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["good", "neutral", "bad"]


@dataclass(frozen=True)
class Picture:
    """A drawing (SVG text), what a person who can't see it should know (`alt`), and what to look for (`caption`)."""

    svg: str
    alt: str
    caption: str

    @property
    def address(self) -> str:
        """The drawing itself as an address, so that the page needs no other file."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Attributes:
        caption: What it shows, in a few words.
        columns: Heads.
        rows: Cells, as many per row as there are columns; the first names the row.
        numeric: Positions of the columns that are set as numbers.
        folded: Whether it is shown only when asked for (it is always printed).
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading of its own."""

    key: str
    title: str
    sentences: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    grids: Sequence[Grid] = ()


@dataclass(frozen=True)
class Tile:
    """One figure that is to be seen at a glance."""

    label: str
    value: str
    note: str
    tone: Tone = "neutral"


@dataclass(frozen=True)
class Page:
    """Everything that a report says."""

    title: str
    made_at: str
    summary: Sequence[str]
    tiles: Sequence[Tile]
    steps: Sequence[str]
    sections: Sequence[Section] = field(default_factory=tuple)


def render(page: Page) -> str:
    """The page as one HTML document without scripts or links to other files; every text in it is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("lakehouse_ml.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("page.html.j2").render(page=page) + "\n"
