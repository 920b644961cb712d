"""The page that compares every Spark node on all engines: `python tests/parity/page.py docs/parity.md`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from parity.cases import VARIANTS
from parity.compared import ABSOLUTE, RELATIVE, differences
from parity.engines import ENGINES, PROJECT, ask, missing

_HEAD = """\
# Equal results on every engine

`make parity` generates this page, last from commit {commit} of {day}. The tests in `tests/parity` make the same
comparison in `make test-all`.

Every node that reads or returns a Spark frame runs on each engine, in one session, with the same inputs: generated
landing files, and the results of earlier nodes with fractions rounded to nine digits, so that they are equal to the
bit. Inputs come in four variants:

{variants}

Nodes that share a function with an earlier node get only *many* and *odd*. Except where stated, Spark interprets
expressions instead of generating code.

A result is everything that a node returns: tables with their column types, batches, a model's card, a page, or the
message with which it refuses its input. Floating-point numbers may differ by a relative {relative:g} (or an absolute
{absolute:g}). Nulls, NaN, types, whole numbers, timestamps (to the microsecond), texts and messages must be equal. Sail
runs in UTC; client, server and workers of the other engines run in the time zone of the Chatham Islands (UTC+12:45).

A case is one variant of the inputs of one node. Sail's results are the reference:

| engine | version | client | equal cases | seconds |
|---|---|---|--:|--:|
{engines}

{equal}

| node | {heads} |
|---|{bars}
{rows}
"""


def main(target: Path) -> int:
    """Ask all engines and write the page; 1 if one differs or is missing."""
    for engine in ENGINES:
        if lacks := missing(engine):
            print(f"{engine}: {lacks}", file=sys.stderr)
            return 1
    with tempfile.TemporaryDirectory() as folder:
        results = {engine: ask(engine, Path(folder) / engine) for engine in ENGINES}
    target.write_text(page(results), encoding="utf-8")
    return any("differ" in line for line in target.read_text(encoding="utf-8").splitlines() if line.startswith("| `"))


def page(answered: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with the answers of each engine."""
    expected = answered["sail"]["answers"]
    others = [engine for engine in ENGINES if engine != "sail"]
    equal = {
        engine: {node: _equal(expected[node], answered[engine]["answers"][node]) for node in expected}
        for engine in others
    }
    cases = sum(map(len, expected.values()))
    rows = [
        _row(node, len(by_variant), [equal[engine][node] for engine in others]) for node, by_variant in expected.items()
    ]
    lines = []
    for engine, name in ENGINES.items():
        facts, n = answered[engine]["facts"], sum(equal[engine].values()) if engine in equal else cases
        cells = (name, _computes(engine, facts), _client(engine, facts), f"{n} of {cases}", f"{facts['seconds']:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return _HEAD.format(
        commit=_git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"),
        day=_git("log", "-1", "--format=%cs"),
        variants="\n".join(f"- **{name}**: {says}." for name, says in VARIANTS.items()),
        relative=RELATIVE,
        absolute=ABSOLUTE,
        engines="\n".join(lines),
        equal=f"{len(expected)} nodes, with the number of cases that have equal results:",
        heads=" | ".join(ENGINES[engine] for engine in others),
        bars="--:|" * len(others),
        rows="\n".join(rows),
    )


def _equal(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> int:
    return sum(not differences(expected[variant], actual[variant]) for variant in expected)


def _row(node: str, cases: int, equal: list[int]) -> str:
    cells = " | ".join(str(n) if n == cases else f"{cases - n} differ" for n in equal)
    return f"| `{node}` | {cells} |"


def _computes(engine: str, facts: Mapping[str, str]) -> str:
    if engine == "sail":
        return f"pysail {facts['engine.version']}"
    return f"Apache Spark {version('pyspark')}" + (", standalone, by Spark Connect" if engine == "cluster" else "")


def _client(engine: str, facts: Mapping[str, str]) -> str:
    client = f"databricks-connect {facts['client']}" if engine == "connect" else f"pyspark {facts['client']}"
    return f"{client}, Python {facts['python']}"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
