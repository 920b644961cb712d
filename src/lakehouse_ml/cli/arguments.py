"""Arguments of `kedro run` that Kedro takes as text or from a file: `--params` and `--config`, parsed and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import click
import yaml
from kedro.utils import load_obj
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lakehouse_ml.errors import is_utf8, printable, suggest_name
from lakehouse_ml.preflight.conf import RUNTIME, line_of

SECTION = "run"
# Options that take several names, divided by commas on the command line.
_LISTS = frozenset(
    {"tags", "node_names", "from_nodes", "to_nodes", "from_inputs", "to_outputs", "pipelines", "namespaces"}
)
_MAPPINGS = frozenset({"params", "runner_params"})
_FLAGS = frozenset({"is_async", "only_missing_outputs", "quiet"})
_WANTED = (
    dict.fromkeys(_LISTS, "a list of names") | dict.fromkeys(_MAPPINGS, "keys with values")
    | dict.fromkeys(_FLAGS, "true or false")
)  # fmt: skip


def parse_params(_context: click.Context, option: click.Parameter, value: str | Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as a nested mapping, from `key=value,key=value` or from the mapping of a file.

    Values are YAML, as in a file of conf, and an empty one is null; addresses and names (`lake`, `landing`) are text
    as typed.

    Raises:
        click.ClickException: A part without `=`, without a key, or with a value that can't be read; no UTF-8.
    """
    name = f"--{(option.name or '').replace('_', '-')}"
    if isinstance(value, Mapping):
        pairs = list(_flatten((), value))
    elif not is_utf8(value):
        raise click.ClickException(f"{name}: {printable(value)} is not UTF-8: rename the folder that it names.")
    else:
        pairs = [_parse_pair(part, name) for part in value.split(",") if part.strip()]
    config = OmegaConf.create()
    for number, (key, parameter) in enumerate(pairs):
        for other, _ in pairs[:number]:
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                raise click.ClickException(f"{name}: {key} conflicts with {other}. Leave one of them out.")
        OmegaConf.update(config, key, parameter, merge=True)
    return cast("dict[str, Any]", OmegaConf.to_container(config))


def _flatten(above: tuple[str, ...], values: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Values by dotted key; a key may have dots of its own."""
    for key, value in values.items():
        path = (*above, str(key))
        yield from _flatten(path, value) if isinstance(value, Mapping) and value else [(".".join(path), value)]


def _parse_pair(part: str, name: str) -> tuple[str, Any]:
    key, equals, value = (text.strip() for text in part.partition("="))
    if not equals or not key:
        lacks = "key before its =" if equals else "="
        raise click.ClickException(
            f"{name}: {part.strip()!r} has no {lacks}. Parameters are KEY=VALUE, divided by "
            "commas; a value with a comma is written into a file, --config FILE with run: {params: {KEY: VALUE}}."
        )
    if key in RUNTIME:
        return key, value[1:-1] if value[:1] in "\"'" and value[:1] == value[-1:] else value
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
        return key, cast("dict[str, Any]", parsed)["value"]
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        problem = getattr(error, "problem", None) or str(error).strip().splitlines()[0]
        raise click.ClickException(f"{name}: {key}={value} can't be read as YAML: {problem}.") from error


def check_named(params: Mapping[str, Any]) -> None:
    """Refuse an address or a name that is empty or no text: a variable of the shell may be unset.

    Raises:
        click.ClickException: Names the parameter.
    """
    for name in sorted(RUNTIME.intersection(params)):
        value = params[name]
        if value is None or not str(value).strip():
            raise click.ClickException(f"--params: {name} is empty. Give it a value, {name}=VALUE, or leave it out.")
        if not isinstance(value, str):
            raise click.ClickException(f"--params: {name} can't be {value!r}: it is text. In a file put it in quotes.")


def check_runner(name: str | None) -> None:
    """Refuse a runner that can't be imported.

    Raises:
        click.ClickException: Names the runner.
    """
    try:
        load_obj(name or "SequentialRunner", "kedro.runner")
    except (ImportError, AttributeError, ValueError) as error:
        raise click.ClickException(
            f"--runner: no runner is named {name!r}. Leave the option out: nodes run one after another."
        ) from error


def read_config(context: click.Context, option: click.Parameter, file: str | None) -> str | None:
    """Take defaults of the other options from a YAML file's section `run`; what is typed counts more.

    Raises:
        click.ClickException: Names file, line and key of what can't be used.
    """
    if file:
        options = {
            spelling.lstrip("-").replace("-", "_"): parameter.name
            for parameter in context.command.params
            if parameter.name and parameter is not option
            for spelling in (parameter.name, *parameter.opts)
            if len(spelling.lstrip("-")) > 2
        }
        context.default_map = {**(context.default_map or {}), **_Config(Path(file)).arguments(options)}
    return file


class _Config:
    """A file of arguments."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def arguments(self, options: Mapping[str, str]) -> dict[str, Any]:
        """Values by the name of their option; `known` are the names by each spelling."""
        sections = self._read()
        for name in sections:
            if name != SECTION:
                belongs = "belongs below" if str(name).replace("-", "_") in options else "is not known: use"
                raise self._refusal((name,), f"{belongs} the section {SECTION}:, indented.")
        section = sections.get(SECTION)
        if not isinstance(section, Mapping) or not section:
            raise click.ClickException(f"{self._file}: no arguments found. Write them below {SECTION}:, indented.")
        arguments: dict[str, Any] = {}
        for key, value in section.items():
            spelling = str(key).replace("-", "_")
            if spelling not in options:
                raise self._refusal(
                    (SECTION, key), f"is not an argument of {SECTION}. {suggest_name(spelling, options)}"
                )
            if options[spelling] in arguments:
                raise self._refusal((SECTION, key), "appears twice, under two names.")
            arguments[options[spelling]] = self._value(key, options[spelling], value)
        return arguments

    def _read(self) -> Mapping[Any, Any]:
        try:
            read = OmegaConf.to_container(OmegaConf.load(self._file))
        except (yaml.YAMLError, UnicodeDecodeError, OSError, OmegaConfBaseException) as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or str(error).strip().splitlines()[0]
            raise click.ClickException(f"{self._file}{line}: this is not valid YAML ({problem}).") from error
        return read if isinstance(read, Mapping) else {}

    def _value(self, key: Any, name: str, value: Any) -> Any:
        key_path = (SECTION, key)
        if value is None or value in ("", [], {}):
            raise self._refusal(key_path, "is empty. Give it a value, or remove the line.")
        if name in _LISTS and isinstance(value, list):
            return ",".join(self._name(key_path, one) for one in value)
        if name in _MAPPINGS and isinstance(value, Mapping):
            return value
        if name == "load_versions" and isinstance(value, Mapping):
            return ",".join(f"{dataset}:{version}" for dataset, version in value.items())
        if not isinstance(value, bool if name in _FLAGS else str):
            raise self._refusal(key_path, f"can't be {value!r}: it is {_WANTED.get(name, 'text')}.")
        return value

    def _name(self, at: Sequence[Any], one: Any) -> str:
        if not isinstance(one, str) or not one.strip():
            raise self._refusal(at, f"can't hold {one!r}: it is a list of names.")
        return one

    def _refusal(self, key: Sequence[Any], what: str) -> click.ClickException:
        return click.ClickException(f"{self._file}, line {line_of(self._file, key)}: {key[-1]} {what}")
