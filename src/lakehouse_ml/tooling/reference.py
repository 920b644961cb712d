"""The reference page: `python -m lakehouse_ml.tooling.reference docs/reference.md` writes it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_args

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from lakehouse_ml.project import CONF, PROJECT
from lakehouse_ml.tooling.flow import first_line, load_stages, write_or_print
from lakehouse_ml.use_cases import USE_CASES
from lakehouse_ml.use_cases.contracts import Table

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline

    from lakehouse_ml.use_cases.base import UseCase

_HEAD = """\
# Reference

`make docs` generates this page from code and conf, and a test keeps it current.
"""
_PARAMETERS = """\
Set in `conf/base/<use case>/parameters.yml`; the same keys in `conf/local/parameters.yml` take precedence. Unknown keys
and wrong types are refused before anything runs, and the message names them. A list replaces the whole list.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page of this project to the named file, or print it."""
    write_or_print(render_page(), argv)


def render_page() -> str:
    """The page of this project: make's targets, pipelines, conf, datasets and columns."""
    stages = load_stages()
    conf = _read_conf()
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    parts = [_HEAD, _render_targets(makefile), _render_commands(), _render_pipelines(stages)]
    for use_case in USE_CASES:
        parts += [
            render_parameters(use_case.name, collect_specs(use_case.name, stages), conf["parameters"][use_case.name]),
            _render_datasets(use_case, stages, conf["catalog"]),
            _render_columns(use_case),
        ]
    parts.append(_render_other_conf(conf))
    return "\n".join(parts)


def collect_specs(use_case: str, stages: Mapping[str, Pipeline]) -> dict[str, type[BaseModel]]:
    """The type of each parameter that a use case's nodes name, in the order in which data flows."""
    from kedro.validation.type_extractor import TypeExtractor

    types = TypeExtractor(dict(stages)).extract_types_from_pipelines()
    prefix = f"{use_case}."
    # A node that also serves use cases without the parameter says so: its type is a union with None.
    own = {name.removeprefix(prefix): kind for name, kind in types.items() if name.startswith(prefix)}
    return {name: find_inner_spec(kind) or kind for name, kind in own.items()}


def render_parameters(use_case: str, types: Mapping[str, type[BaseModel]], values: Mapping[str, Any]) -> str:
    """A section with one table per parameter: key, value in base, meaning.

    Raises:
        ValueError: A field has no word in its class's docstring.
    """
    parts = [f"## Parameters of {use_case}", "", _PARAMETERS]
    for name, kind in types.items():
        parts += [f"### {name}", "", first_line(kind, kind.__name__), "", "| key | base | meaning |", "|---|---|---|"]
        parts += [
            f"| `{key}` | {_cell(value)} | {meaning} |"
            for key, value, meaning in _list_fields(kind, values.get(name, {}))
        ]
        parts.append("")
    return "\n".join(parts)


def describe_fields(kind: type[BaseModel]) -> dict[str, str]:
    """What the docstring's Attributes, or those of the class above, say of each field.

    Raises:
        ValueError: It says nothing of a field.
    """
    meanings: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        _, _, listed = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", listed, re.MULTILINE)
        meanings |= {name: re.sub(r"\s+", " ", text) for name, text in entries if name in kind.model_fields}
    silent = [name for name in kind.model_fields if name not in meanings]
    if silent:
        raise ValueError(f"{kind.__name__} does not tell under Attributes what it means by {', '.join(silent)}.")
    return meanings


def _list_fields(kind: type[BaseModel], values: Any, path: str = "") -> Iterator[tuple[str, Any, str]]:
    """Key, value and meaning of each field; a field that is a spec itself gives its own fields instead."""
    meanings = describe_fields(kind)
    for name, field in kind.model_fields.items():
        key = f"{path}{name}"
        value = values.get(name, field.default) if isinstance(values, Mapping) else ""
        inner = _find_spec_of_kind(field.annotation, value) or find_inner_spec(field.annotation)
        if inner is None:
            yield key, "" if value is PydanticUndefined else value, meanings[name]
        elif inspect.isclass(field.annotation) or _find_spec_of_kind(field.annotation, value):
            yield from _list_fields(inner, value, f"{key}.")
        else:
            by_name = isinstance(value, Mapping)
            yield key, ", ".join(value) if by_name else f"{len(value)} entries" if value else "", meanings[name]
            prefix = f"{key}.<name>." if "dict" in str(field.annotation) else f"{key}[]."
            names = set()
            for each in iterate_inner_specs(field.annotation):
                rows = [row for row in _list_fields(each, "", prefix) if row[0] not in names]
                names |= {name for name, _, _ in rows}
                yield from rows


def _find_spec_of_kind(annotation: Any, value: Any) -> type[BaseModel] | None:
    """Of several specs that are told apart by `kind`, the one that is given; the first where no kind is."""
    several: list[type[BaseModel]] = [
        part
        for part in get_args(annotation)
        if inspect.isclass(part) and issubclass(part, BaseModel) and "kind" in part.model_fields
    ]
    kind = value.get("kind") if isinstance(value, Mapping) else None
    named = [part for part in several if kind in get_args(part.model_fields["kind"].annotation)]
    return next(iter(named or several), None)


def find_inner_spec(annotation: Any) -> type[BaseModel] | None:
    """The spec that an annotation is, or the first that it holds."""
    return next(iterate_inner_specs(annotation), None)


def iterate_inner_specs(annotation: Any) -> Iterator[type[BaseModel]]:
    """The specs that an annotation is, or holds, in order."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from iterate_inner_specs(part)


def _read_conf() -> dict[str, Any]:
    """Read base's conf, with paths relative to the project folder."""
    from kedro.framework.project import settings

    arguments = {**settings.CONFIG_LOADER_ARGS, "default_run_env": "base"}
    loader = settings.CONFIG_LOADER_CLASS(str(CONF), **arguments)
    names = ("parameters", "catalog", "globals", "spark", "mlflow")
    conf: dict[str, Any] = json.loads(
        json.dumps({name: loader[name] for name in names}, default=str).replace(f"{PROJECT}/", "")
    )
    return conf


def _render_targets(makefile: str) -> str:
    rows = re.findall(r"^([a-z-]+):[^#\n]*## (.+)$", makefile, re.MULTILINE)
    table = [f"| `make {name}` | {_escape(meaning)} |" for name, meaning in rows]
    return "\n".join(["## Commands", "", "| command | what it does |", "|---|---|", *table, ""])


def _render_commands() -> str:
    """The project's own words on Kedro's command line."""
    cli = import_module("lakehouse_ml.cli").cli  # as Kedro finds them

    rows = []
    for name, command in cli.commands.items():
        for path, each in _subcommands(name, command):
            rows.append(f"| `kedro {path}` | {_escape(str(each.help).splitlines()[0])} |")
    said = "Commands that the project adds to Kedro's, or changes:"
    return "\n".join([said, "", "| command | what it does |", "|---|---|", *rows, ""])


def _subcommands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, each in command.commands.items():
        yield from _subcommands(f"{path} {name}", each)


def _render_pipelines(stages: Mapping[str, Pipeline]) -> str:
    rows = [
        f"| `{name}` | {len(stage.nodes)} | {first_line(import_module(f'lakehouse_ml.pipelines.{name}'), name)} |"
        for name, stage in stages.items()
    ]
    said = "For `kedro run --pipelines`; without it, all of them. `--namespaces` is a use case: "
    said += ", ".join(f"`{use_case.name}`" for use_case in USE_CASES) + "."
    return "\n".join(["## Pipelines", "", said, "", "| pipeline | nodes | what it does |", "|---|--:|---|", *rows, ""])


def _render_datasets(use_case: UseCase, stages: Mapping[str, Pipeline], catalog: Mapping[str, Any]) -> str:
    from kedro.io import CatalogConfigResolver

    resolver = CatalogConfigResolver(dict(catalog), default_runtime_patterns={"{default}": {"type": "MemoryDataset"}})
    rows, prefix = [], f"{use_case.name}."
    for name in _flowing(use_case.name, stages):
        entry = resolver.resolve_pattern(name) or catalog[name]
        kind = str(entry["type"]).rsplit(".", 1)[-1]
        where = str(entry.get("filepath") or (f"{entry['name']}, {entry['role']}" if "role" in entry else ""))
        layer = entry.get("metadata", {}).get("kedro-viz", {}).get("layer", "")
        rows.append(f"| `{name.removeprefix(prefix)}` | {layer} | {kind} | {f'`{where}`' if where else ''} |")
    said = f"""\
In the order in which data flows. Names omit the prefix `{prefix}`; paths are those of the default lake.
[How data flows](flow.md) lists the nodes that write and read each."""
    head = ["| dataset | layer | kind | where |", "|---|---|---|---|"]
    return "\n".join([f"## Datasets of {use_case.name}", "", said, "", *head, *rows, ""])


def _flowing(use_case: str, stages: Mapping[str, Pipeline]) -> list[str]:
    names: dict[str, None] = {}
    for node in (node for stage in stages.values() for node in stage.nodes):
        names |= dict.fromkeys([*node.inputs, *node.outputs])
    return [name for name in names if name.startswith(f"{use_case}.")]


def _render_columns(use_case: UseCase) -> str:
    contracts = vars(import_module(f"lakehouse_ml.use_cases.{use_case.name}.contracts"))
    rows: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for table in (value for value in contracts.values() if isinstance(value, Table)):
        # What was parsed has every column of what landed and of what was refused; it would only lengthen the lists.
        for column in () if table.name.startswith("parsed_") else table.columns:
            rows.setdefault((column.name, column.type), (column.doc, []))[1].append(f"`{table.name}`")
    head = ["| column | type | meaning | tables |", "|---|---|---|---|"]
    body = [
        f"| `{name}` | {kind} | {_escape(doc)} | {', '.join(tables)} |" for (name, kind), (doc, tables) in rows.items()
    ]
    return "\n".join([f"## Columns of {use_case.name}", "", *head, *body, ""])


def _render_other_conf(conf: Mapping[str, Any]) -> str:
    parts = ["## Other conf", ""]
    for name in ("globals", "spark", "mlflow"):
        text = (CONF / "base" / f"{name}.yml").read_text(encoding="utf-8")
        meanings = dict(re.findall(r"^\s*(\w+):.*?\s# (.+)$", text, re.MULTILINE))
        parts += [f"### {name}.yml", "", "| key | base | meaning |", "|---|---|---|"]
        for key, value in _leaves(conf[name]):
            parts.append(f"| `{key}` | {_cell(value)} | {_escape(meanings.get(key.rsplit('.', 1)[-1], ''))} |")
        parts.append("")
    return "\n".join(parts)


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _cell(value: Any) -> str:
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | tuple):
        return ", ".join(f"`{part}`" for part in value)
    return f"`{_escape(str(value))}`" if str(value) else ""


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
