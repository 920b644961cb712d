"""Render the pipelines as a page and a picture: `python -m lakehouse_ml.tooling.flow docs/flow.md`.

Without a path, the page is printed.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.project import configure
from lakehouse_ml.use_cases import USE_CASES

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

_HEAD = """\
# How data flows

`make docs` generates this page from the pipelines, and a test keeps it current. The nodes of a stage are listed in the
order in which they run. Names in the tables omit the prefix `<use case>.`; `conf/base/catalog.yml` defines where each
dataset is stored.

![The seven stages from top to bottom: the tables that each reads on the left, those that it writes on the \
right](flow.svg)
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page of this project's stages to the named file, and the picture beside it; or print the page."""
    stages = load_stages()
    target = write_or_print(render_page(stages), argv)
    if target:
        target.with_suffix(".svg").write_text(draw_stages(stages), encoding="utf-8")


def write_or_print(page: str, argv: Sequence[str] | None = None) -> Path | None:
    """Write a page to the file that the arguments name, and return it; without one, print the page."""
    parser = argparse.ArgumentParser(description="Write a page of the documentation, or print it.")
    parser.add_argument("file", type=Path, nargs="?", help="where to")
    target: Path | None = parser.parse_args(argv).file
    if target is None:
        print(page, end="")
    else:
        target.write_text(page, encoding="utf-8")
    return target


def load_stages() -> dict[str, Pipeline]:
    """Load the project's stages by name, in the order in which data flows."""
    from kedro.framework.project import pipelines

    configure()
    return {name: pipelines[name] for name in STAGES}


def render_page(stages: Mapping[str, Pipeline]) -> str:
    """Render the page: the picture of the stages, then the nodes of each.

    Args:
        stages: Pipelines by name, in order; their nodes are named `<use case>.<stage>.<node>`.

    Raises:
        ValueError: A node's function has no docstring.
    """
    sections = [_render_section(number, name, stage) for number, (name, stage) in enumerate(stages.items(), 1)]
    return "\n".join([_HEAD, *sections])


def draw_stages(stages: Mapping[str, Pipeline]) -> str:
    """Draw the stages below each other as SVG; what each reads from others on its left, what it writes on its right.

    Args:
        stages: Pipelines by name, in order; a dataset's use case is left out, so several of them fall together.
    """
    boxes, top = [], 8
    for number, (name, stage) in enumerate(stages.items(), 1):
        reads, writes = (_wrap_names(datasets) for datasets in (stage.inputs(), stage.outputs() | _list_stored(stage)))
        height = _LINE * max(len(reads), len(writes), 2) + 16
        boxes.append(_draw_box(f"{number}. {name}", reads, writes, top, height))
        top += height + 12
    return f"{_SVG_HEAD.format(height=top)}{''.join(boxes)}</svg>\n"


_LINE, _WIDTH = 18, 60
_SVG_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1180 {height}" font-family="sans-serif" font-size="12">'
    "<style>rect {{ fill: #eef3fb; stroke: #1f5fbf }} path {{ stroke: #5a6675; fill: none }} text {{ fill: #1b2430 }}"
    " .page {{ fill: #ffffff; stroke: none }} .name {{ font-weight: bold; text-anchor: middle }}"
    " .reads {{ text-anchor: end }}</style>"
    '<rect class="page" width="1180" height="{height}"/>\n'
)


def _list_stored(stage: Pipeline) -> set[str]:
    """Datasets that a stage writes and itself reads again."""
    return set(stage.all_outputs()) - stage.outputs()


def _wrap_names(datasets: Iterable[str]) -> list[str]:
    """Names without their use case and its tables, which differ, as lines of a readable width."""
    tables = {table for use_case in USE_CASES for table in (*use_case.sources, use_case.entity_plural)}
    names = {name.split(".", 1)[-1].rpartition("_") for name in datasets if not name.startswith("params:")}
    shown = sorted({f"{layer}_…" if table in tables else f"{layer}{_}{table}" for layer, _, table in names})
    return wrap(", ".join(shown), _WIDTH, break_long_words=False)


def _draw_box(title: str, reads: Sequence[str], writes: Sequence[str], top: int, height: int) -> str:
    middle = top + height / 2
    elements = [
        f'<rect x="490" y="{top}" width="200" height="{height}" rx="6"/>',
        f'<text class="name" x="590" y="{middle + 4}">{title}</text>',
        f'<path d="M445 {middle}h40m-6 -4l6 4l-6 4M690 {middle}h40m-6 -4l6 4l-6 4"/>',
    ]
    for kind, x, lines in (("reads", 437, reads), ("writes", 742, writes)):
        first = middle - _LINE * (len(lines) - 1) / 2 + 4
        elements += [
            f'<text class="{kind}" x="{x}" y="{first + _LINE * n}">{line}</text>' for n, line in enumerate(lines)
        ]
    return "\n".join([*elements, ""])


def _render_section(number: int, name: str, stage: Pipeline) -> str:
    lines = [f"## {number}. {name}", ""]
    if find_spec(package := f"lakehouse_ml.pipelines.{name}"):
        lines += [first_line(import_module(package), package), ""]
    for use_case, nodes in groupby(sorted(stage.nodes, key=_use_case), key=_use_case):
        lines += [f"### {use_case}", "", "| node | what it does | reads | writes |", "|---|---|---|---|"]
        lines += [_render_row(node, f"{use_case}.") for node in nodes]
        lines.append("")
    return "\n".join(lines)


def _render_row(node: Node, prefix: str) -> str:
    short = node.name.rsplit(".", 1)[-1]
    reads, writes = (
        ", ".join(f"`{name.replace(prefix, '', 1)}`" for name in names) for names in (node.inputs, node.outputs)
    )
    return f"| `{short}` | {first_line(node.func, node.name)} | {reads} | {writes} |"


def first_line(thing: Any, name: str) -> str:
    """Return the first line of a docstring as a cell of a table.

    Raises:
        ValueError: It has no docstring.
    """
    docstring = inspect.getdoc(thing)
    if not docstring:
        raise ValueError(f"{name} has no docstring: docs/flow.md shows its first line.")
    return docstring.splitlines()[0].replace("|", "\\|")


def _use_case(node: Node) -> str:
    return node.name.split(".", 1)[0]


if __name__ == "__main__":
    main()
