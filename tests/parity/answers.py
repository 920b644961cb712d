"""What every Spark node of both use cases answers on one engine: `python answers.py <spec as JSON> <folder>`.

The answers are `answers.json` in that folder. It runs in the environment of the engine, which may have no pytest.
"""

from __future__ import annotations

import inspect
import json
import math
import platform
import sys
import time
import typing
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyspark
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema

from lakehouse_ml.datasets.landing_files import LandingFiles
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.engine.spec import EngineSpec
from lakehouse_ml.errors import find
from lakehouse_ml.modelling.card import Candidate, Promotion, RegistryStatus
from lakehouse_ml.modelling.model import Model
from lakehouse_ml.project import PROJECT
from lakehouse_ml.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS
from lakehouse_ml.storage.landing import Landing
from lakehouse_ml.storage.writes import Edition, ReplaceBatch
from lakehouse_ml.tooling import flow
from lakehouse_ml.tooling.reference import find_inner_spec
from lakehouse_ml.use_cases import USE_CASES
from parity.cases import CLOCK, CONF, PARTITIONS, VARIANTS, Folder, write

# An odd row keeps the columns that identify rows, and those that are never null.
_SOUND = {
    "customer_id", "snapshot_on", "machine_id", "predicted_at", "observed_at", "logged_at", "replaced_at", "failed_at",
    "component", "source_file", "file_sha256", "line_number", "ingested_at", "label", "known_at", "part", "batch",
    "probability", "decision", "threshold", "model_name", "model_version", "scored_at", "rank", "expected_gain",
    "learned_until", "day",
}  # fmt: skip


def nodes(use_case: str) -> dict[str, Node]:
    """Nodes of a use case by name, in the order in which data flows."""
    return {node.name: node for node in _all_nodes() if node.name.startswith(f"{use_case}.")}


@cache
def _all_nodes() -> list[Node]:
    return sum(flow.load_stages().values(), start=Pipeline([])).nodes


def is_sparks(node: Node) -> bool:
    """Whether a node takes or gives a frame of Spark's."""
    return any(map(_is_frame, _hints(node).values()))


def answered(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """The answers by node and variant, and how many seconds each node took.

    A refusal is its sentence, and any other error its class. Landing files lie beside the folder, the same for all.
    """
    folders = write(folder.parent / "landing")
    answers: dict[str, dict[str, Any]] = {}
    seconds = {}
    for use_case in USE_CASES:
        world = _World(use_case.name, folders)
        node_variants = variants(use_case.name)
        for name, node in nodes(use_case.name).items():
            start = time.perf_counter()
            answer = {variant: world.ask(node, variant) for variant in node_variants.get(name, ("many",))}
            if name in node_variants:
                answers[name], seconds[name] = answer, time.perf_counter() - start
    return answers, seconds


def variants(use_case: str) -> dict[str, tuple[str, ...]]:
    """What each Spark node is asked: a function that several tables have gets one row and none of the first only."""
    by_node: dict[str, tuple[str, ...]] = {}
    functions = set()
    for name, node in nodes(use_case).items():
        function = inspect.unwrap(node.func)
        if is_sparks(node):
            by_node[name] = ("many", "odd") if function in functions else tuple(VARIANTS)
            functions.add(function)
    return by_node


class _World:
    """The datasets of a use case as far as its nodes have made them, from the variant `many`."""

    def __init__(self, use_case: str, folders: Mapping[tuple[str, str, str], Folder]) -> None:
        self._use_case, self._folders = use_case, folders
        loader = CONFIG_LOADER_CLASS(str(PROJECT / "conf"), env="base", **CONFIG_LOADER_ARGS)
        self._conf = _merged(loader["parameters"][use_case], CONF[use_case])
        self._outputs: dict[str, Any] = {}

    def ask(self, node: Node, variant: str) -> Any:
        """Run a node and return its answer; its outputs become inputs of the nodes after it."""
        hints = _hints(node)
        arguments = {}
        for argument, dataset in _wired(node).items():
            # Whatever else a node takes, it takes under one name for all.
            arguments[argument] = self._input(dataset, hints.get(argument) or hints[_others(node)], variant)
        try:
            returned = node.func(**arguments)
            if inspect.isgenerator(returned):
                returned = list(returned)
            several = len(node.outputs) > 1
            outputs = dict(zip(node.outputs, returned if several else (returned,), strict=True))
            answer = {dataset.split(".")[1]: _as_json(output) for dataset, output in outputs.items()}
        except Exception as error:
            if variant == "many":
                raise
            refused = find(error)
            return {"refused": str(refused)} if refused else {"error": type(error).__name__}
        if variant == "many":
            self._outputs |= {dataset: _kept(output) for dataset, output in outputs.items()}
        return answer

    def _input(self, dataset: str, hint: Any, variant: str) -> Any:
        if dataset.startswith("params:"):
            spec = find_inner_spec(hint)
            assert spec is not None, dataset
            return spec.model_validate(self._conf[dataset.split(".")[1]])
        name = dataset.split(".")[1]
        if name == "clock":
            return CLOCK
        if name.startswith("landing_"):
            return self._landing(name.removeprefix("landing_"), variant)
        if name in ("candidate_model", "champion_model", "incumbent_model"):
            candidate = self._outputs[f"{self._use_case}.candidate_model"]
            return Model(self._use_case, "0" if name == "incumbent_model" else "1", candidate.model, candidate.card)
        output = self._outputs[dataset]
        if isinstance(output, Promotion):
            return RegistryStatus(output.version, output.version, output.decision, output.reason)
        is_frame = _is_frame(hint) or isinstance(output, pa.Table)
        return _frame(output, variant) if is_frame else output

    def _landing(self, table: str, variant: str) -> Landing:
        folder = self._folders[self._use_case, table, variant]
        manifest = str(folder.path / "manifest")
        return LandingFiles(filepath=str(folder.path), manifest=manifest, files="*.*", format=folder.format).load()


def _wired(node: Node) -> dict[str, str]:
    """Datasets by the argument of the node's function."""
    bound = node._inputs
    assert isinstance(bound, dict)
    use_case = str(node.namespace).split(".", maxsplit=1)[0]
    return {name: dataset if "." in dataset else f"{use_case}.{dataset}" for name, dataset in bound.items()}


def _hints(node: Node) -> dict[str, Any]:
    return typing.get_type_hints(inspect.unwrap(node.func))


def _others(node: Node) -> str:
    parameters = inspect.signature(inspect.unwrap(node.func)).parameters.values()
    return next(parameter.name for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD)


def _is_frame(hint: Any) -> bool:
    return DataFrame in (hint, *typing.get_args(hint)) or any(map(_is_frame, typing.get_args(hint)))


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Conf with other values; a split is another one as a whole, for it is of one kind or another."""
    goes_deeper = {name for name, value in over.items() if isinstance(value, dict) and name in base and name != "split"}
    return {**base, **over, **{name: _merged(base[name], over[name]) for name in goes_deeper}}


def _frame(table: Any, variant: str) -> DataFrame:
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False)
    _plan(simply=variant != "many")
    rows = {"many": None, "odd": None, "one": 1, "none": 0}[variant]
    table = table if rows is None else table.slice(0, rows)
    table = _with_odd_values(table) if variant == "odd" else table
    # Without a row, a client asks for the types.
    frame = ENGINE.session().createDataFrame(table if len(table) else [], from_arrow_schema(table.schema))
    return frame.repartition(PARTITIONS) if variant == "many" else frame.coalesce(1)


def _plan(*, simply: bool) -> None:
    """Let Spark generate code and adapt plans, as it does by default, or do neither.

    A server compiles as a process does, and takes as long for it: the process alone is asked to.
    """
    if ENGINE.kind != "sail":
        conf = ENGINE.session().conf
        simply = simply or "connect" in type(ENGINE.session()).__module__
        conf.set("spark.sql.adaptive.enabled", not simply)
        conf.set("spark.sql.codegen.wholeStage", not simply)
        conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN" if simply else "FALLBACK")


def _with_odd_values(table: pa.Table) -> pa.Table:
    """Nulls, NaN, -0.0 and great numbers in regular rows, at another offset in each column."""
    for number, field in enumerate(table.schema):
        if field.name in _SOUND or "probability" in field.name or pa.types.is_nested(field.type):
            continue
        column = table.column(number)
        values: dict[int, Any] = {5: None}
        if pa.types.is_floating(field.type):
            values |= {7: float("nan"), 11: -0.0, 13: 98765.4321, 17: 4.9e-324}
        for every, value in values.items():
            hit = pa.array([(place + number) % every == 0 for place in range(len(table))], pa.bool_())
            column = pc.if_else(hit, pa.scalar(value, field.type), column)
        table = table.set_column(number, field, column)
    return table


def _kept(output: Any) -> Any:
    """An output as its dataset gives it back: rows of Spark's as Arrow, everything else as it is.

    Whoever takes it has the same input on every engine, to the bit: a search makes much of a fraction's last digit.
    """
    if isinstance(output, list):
        return pa.concat_tables([_kept(batch) for batch in output])
    if isinstance(output, ReplaceBatch):
        return _kept(output.rows)
    if isinstance(output, pd.DataFrame):
        rounded = {name: _rounded(output[name]) for name in output if pd.api.types.is_float_dtype(output[name])}
        timed = {"fit_seconds": 1.5} if "fit_seconds" in output else {}
        return output.assign(**(rounded | timed))
    return _arrow(output) if _is_spark(output) else output


def _is_spark(output: Any) -> bool:
    return hasattr(output, "sparkSession")


def _arrow(frame: Any) -> pa.Table:
    """The rows in an order that doesn't depend on the engine."""
    table = frame.toArrow()
    rows = _rows(table)
    order = sorted(range(len(rows)), key=lambda number: _order(rows[number]))
    for number, field in enumerate(table.schema):
        column = table.column(number)
        if pa.types.is_floating(field.type):
            column = pa.array(_rounded(column.to_pylist()), field.type)
        table = table.set_column(number, field.with_nullable(True), column)
    return table.take(pa.array(order, pa.int64()))


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    return [None if value is None else float(f"{value:.9g}") for value in values]


def _rows(table: pa.Table) -> list[list[Any]]:
    """Rows as JSON has them; days and microseconds since 1970, because Python has none after the year 9999."""
    for number, field in enumerate(table.schema):
        if pa.types.is_temporal(field.type):
            since = table.column(number).cast(pa.int32() if pa.types.is_date(field.type) else pa.int64())
            texts = [None if n is None else f"{field.type} {n}" for n in since.to_pylist()]
            table = table.set_column(number, field.name, pa.array(texts, pa.string()))
    return [_plain(list(row.values())) for row in table.to_pylist()]


def _as_json(output: Any) -> Any:
    """An output as JSON: types by Spark's names, and rows sorted where their order means nothing."""
    output = output.content if isinstance(output, Edition) else output
    if isinstance(output, ReplaceBatch):
        scope = {"column": output.column, "values": output.values, "number": output.number, "of": output.count}
        return scope | {"rows": _as_json(output.rows)}
    if isinstance(output, list):
        return [_as_json(one) for one in output]
    if _is_spark(output):
        return {"types": [list(pair) for pair in output.dtypes], "rows": sorted(_rows(output.toArrow()), key=_order)}
    if isinstance(output, pd.DataFrame):
        table = output.drop(columns="fit_seconds", errors="ignore")
        return {
            "columns": list(table.columns),
            "rows": [_plain(row) for row in table.itertuples(index=False, name=None)],
        }
    if isinstance(output, Candidate):
        return {"card": _plain(json.loads(output.card.to_json())), "example": _as_json(output.example)}
    return _plain(output)


def _plain(value: Any) -> Any:
    """A value as JSON has it; what JSON has no word for carries its kind."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or value is pd.NaT:
        return None
    if isinstance(value, datetime):
        return f"at {(value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()}"
    if isinstance(value, date | Decimal):
        return f"{type(value).__name__} {value}"
    return value.item() if isinstance(value, np.generic) else value


def _order(row: list[Any]) -> str:
    """Rows are in the order of what isn't a fraction; fractions come last, and roughly."""
    fractions = [value for value in row if isinstance(value, float)]
    rough = ["nan" if math.isnan(value) else f"{value:.6e}" for value in fractions]
    return json.dumps([[value for value in row if not isinstance(value, float)], rough])


def main(spec: str, folder: Path) -> None:
    """Ask the engine everything."""
    start = time.perf_counter()
    ENGINE.choose(EngineSpec.model_validate_json(spec))
    ENGINE.session()
    ready = time.perf_counter()
    answers, seconds = answered(folder)
    # Spark's client is of one version, whether it came with Spark or alone.
    client = version("databricks-connect") if ENGINE.kind == "connect" else pyspark.__version__
    facts = ENGINE.describe() | {"client": client, "python": platform.python_version()}
    facts |= {"start": ready - start, "seconds": time.perf_counter() - ready}
    everything = {"facts": facts, "answers": answers, "seconds": seconds}
    (folder / "answers.json").write_text(json.dumps(everything), encoding="utf-8")
    ENGINE.stop()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
