"""A page as a value: sections of sentences, pictures and tables; and its rendering, as HTML that needs nothing else."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lakehouse_ml.errors import printable

if TYPE_CHECKING:
    from markupsafe import Markup

Tone = Literal["good", "neutral", "bad"]
# A day, or a day and a time, by itself: not as a part of a file's name.
_MOMENT = re.compile(r"(?<![\w-])\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d)?)?(?![\w-])")


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
        finalize=_one_line,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"whole": _keep_moments_whole, "marked": _mark_names}
    return templates.get_template("page.html.j2").render(page=page) + "\n"


def _one_line(value: Any) -> Any:
    """A text as one line: names from files and tables may hold line ends, and letters that turn a line's order."""
    return printable(value) if type(value) is str else value


def _keep_moments_whole(text: str) -> Markup:
    """A text whose days and times are not broken into lines, for a browser would break after each hyphen."""
    return _set(text, _MOMENT)


def _mark_names(text: str) -> Markup:
    """The same of a sentence of ours, with what stands in backticks as a name from conf or code."""
    return _set(text, re.compile(rf"`[^`]+`|{_MOMENT.pattern}"))


def _set(text: str, pattern: re.Pattern[str]) -> Markup:
    """Names and moments in elements of their own; every part of the text is escaped."""
    from markupsafe import Markup, escape

    name, moment = Markup("<code>{}</code>"), Markup('<span class="moment">{}</span>')
    text, parts, end = printable(text), [], 0
    for match in pattern.finditer(text):
        part = match[0]
        parts.append(escape(text[end : match.start()]))
        parts.append(name.format(part.strip("`")) if part.startswith("`") else moment.format(part))
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])
