"""The pipelines as a page: `python -m lakehouse_ml.flow docs/flow.md` writes it, without a path it is printed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse_ml.pipelines import STAGES

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

PROJECT = Path(__file__).resolve().parents[2]
_HEAD = """\
# How data flows

Generated from the pipelines by `make docs`; a test compares. Within a stage, nodes stand in the order in which they
run; a name in a table is short for `<use case>.<name>`, and `conf/base/catalog.yml` says where it is stored.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page of this project's stages to the named file, or print it."""
    page = text(registered())
    target = list(sys.argv[1:] if argv is None else argv)
    if target:
        Path(target[0]).write_text(page, encoding="utf-8")
    else:
        print(page, end="")


def registered() -> dict[str, Pipeline]:
    """The project's stages by name, in the order in which data flows."""
    from kedro.framework.project import pipelines
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(PROJECT)
    return {name: pipelines[name] for name in STAGES}


def text(stages: Mapping[str, Pipeline]) -> str:
    """The page: a chart of the stages and the datasets between them, then the nodes of each.

    Args:
        stages: Pipelines by name, in order; their nodes are named `<use case>.<stage>.<node>`.

    Raises:
        ValueError: A node's function has no docstring.
    """
    sections = [_section(number, name, stage) for number, (name, stage) in enumerate(stages.items(), 1)]
    return "\n".join([_HEAD, _chart(stages), *sections])


def _chart(stages: Mapping[str, Pipeline]) -> str:
    """Mermaid: a box a stage, a cylinder a stored dataset that passes between stages, a rounded box what is given."""
    writer = {dataset: name for name, stage in stages.items() for dataset in stage.all_outputs()}
    readers: dict[str, list[str]] = {}
    for name, stage in stages.items():
        for dataset in sorted(stage.inputs()):
            if not dataset.startswith("params:"):
                readers.setdefault(dataset, []).append(name)
    lines = ["```mermaid", "flowchart TD"]
    for dataset, names in readers.items():
        key = dataset.replace(".", "__")
        source = f"{writer[dataset]} --> {key}[({dataset})]" if dataset in writer else f"{key}([{dataset}])"
        lines.append(f"    {source} --> {' & '.join(names)}")
    return "\n".join([*lines, "```", ""])


def _section(number: int, name: str, stage: Pipeline) -> str:
    lines = [f"## {number}. {name}", ""]
    if find_spec(package := f"{__package__}.pipelines.{name}"):
        lines += [_first_line(import_module(package), package), ""]
    for use_case, nodes in groupby(sorted(stage.nodes, key=_use_case), key=_use_case):
        lines += [f"### {use_case}", "", "| node | what it does | reads | writes |", "|---|---|---|---|"]
        lines += [_row(node, f"{use_case}.") for node in nodes]
        lines.append("")
    return "\n".join(lines)


def _row(node: Node, prefix: str) -> str:
    short = node.name.rsplit(".", 1)[-1]
    reads, writes = (
        ", ".join(f"`{name.replace(prefix, '', 1)}`" for name in names) for names in (node.inputs, node.outputs)
    )
    return f"| `{short}` | {_first_line(node.func, node.name)} | {reads} | {writes} |"


def _first_line(thing: Any, name: str) -> str:
    told = inspect.getdoc(thing)
    if not told:
        raise ValueError(f"{name} has no docstring: its first line is what docs/flow.md says of it.")
    return told.splitlines()[0].replace("|", "\\|")


def _use_case(node: Node) -> str:
    return node.name.split(".", 1)[0]


if __name__ == "__main__":
    main()
