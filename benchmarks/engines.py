"""What each stage costs on each engine, and what a run costs before its first node.

    .venv/bin/python benchmarks/engines.py [--use-case churn] [--repeat 3] [--engines sail spark cluster connect]

Every engine runs a use case end to end on the same generated files, in one process and on a lake of its own;
the engines take turns. Where Java and `make jars` are, Apache Spark is among them: in one process (`local[*]`), and as
a standalone cluster of two workers behind its Spark Connect server; where `make connect` is too, the client of
Databricks Connect computes on such a server of this machine (`local[*]`). Servers run all the while. Start-up is taken
apart in other processes, on the lakes that are there then.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring.processes import Usage, gib, kedro, measure, seconds_in_nodes
from measuring.tables import markdown

from lakehouse_ml.pipelines import STAGES

if TYPE_CHECKING:
    from kedro.io import DataCatalog

ENV = {"sail": "local", "spark": "spark", "cluster": "spark", "connect": "connect"}
# What a server has to start isn't a run's.
IN_PROCESS = ("sail", "spark")
USE_CASES = ("churn", "predictive_maintenance")
PROJECT = Path(__file__).resolve().parents[1]
CONNECT = PROJECT / ".connect" / "bin" / "python"


def main() -> None:
    """Print both tables; the second where an engine in one process is among them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--use-case", choices=USE_CASES, default=USE_CASES[0])
    parser.add_argument("--repeat", type=int, default=3, help="lives of each engine")
    parser.add_argument("--engines", nargs="+", choices=list(ENV), help="the first is compared with")
    parser.add_argument("--phases", help=argparse.SUPPRESS)
    parser.add_argument("--lake", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.phases:
        print(json.dumps(phases(arguments.phases, arguments.lake)))
        return
    # Not above: what it imports would be missing from the steps.
    from lakehouse_ml.engine import jars

    there = ["sail"] if jars.find_missing() else [name for name in ENV if name != "connect" or CONNECT.exists()]
    arguments.engines = arguments.engines or there

    with tempfile.TemporaryDirectory(prefix="lakehouse-ml-bench-") as temporary:
        folder = Path(temporary)
        import_module(f"lakehouse_ml.use_cases.{arguments.use_case}.synthetic").write_sample(folder / "landing")
        goes = [
            (engine, folder / f"{engine}-{number}")
            for number in range(arguments.repeat)
            for engine in arguments.engines
        ]
        with _confs(arguments.engines, folder) as confs:
            lives = [
                (engine, _run_end_to_end(arguments.use_case, engine, confs[engine], folder, lake))
                for engine, lake in goes
            ]
        starts = [(engine, _measure_starts(engine, folder, lake)) for engine, lake in goes if engine in IN_PROCESS]
    used = {engine: [usage for who, usage in lives if who == engine] for engine in arguments.engines}
    print(markdown([_stage_row(stage, used) for stage in STAGES] + [_nodes_row(used), *_whole_rows(used)]))
    start_seconds = {engine: [seconds for who, seconds in starts if who == engine] for engine in dict(starts)}
    if starts:
        _, steps = starts[0]
        print("\n" + markdown([row for name in steps for row in _phase_rows(name, start_seconds)]))
    print(
        f"\nSeconds, median (least to greatest) of {arguments.repeat} goes each, by turns, on the generated files of "
        f"{arguments.use_case}; x is the ratio of the medians to {arguments.engines[0]}'s. CPU seconds of a step are "
        f"those of Python's process alone; a peak is that of the run's own processes."
    )


def phases(env: str, lake: str) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of each step of a start-up, in the order of `kedro run`, in this process."""
    took: dict[str, tuple[float, float]] = {}

    def step(name: str, do: Callable[[], object]) -> Any:
        inner = sum(wall for wall, _ in took.values()), sum(cpu for _, cpu in took.values())
        start = time.perf_counter(), time.process_time()
        done = do()
        # What a step within it took is its own, and not counted twice.
        within = [sum(each[n] for each in took.values()) - inner[n] for n in (0, 1)]
        took[name] = time.perf_counter() - start[0] - within[0], time.process_time() - start[1] - within[1]
        return done

    def of_kedro() -> None:
        import kedro.framework.cli.cli  # noqa: F401 - its import is what is measured

    def of_mlflow() -> None:
        import kedro_mlflow.framework.cli.cli
        import kedro_mlflow.framework.hooks.mlflow_hook  # noqa: F401 - as above

    def of_the_project() -> None:
        from kedro.framework.project import pipelines

        from lakehouse_ml.project import configure

        configure()
        list(pipelines["__default__"].nodes)

    def read() -> DataCatalog:
        from lakehouse_ml.explore.notebook import catalog

        return catalog(lake=lake, env=env)

    def compute() -> None:
        from lakehouse_ml.engine.sessions import ENGINE

        ENGINE.session().range(1).count()

    step("import Kedro", of_kedro)
    step("import MLflow and its plugin", of_mlflow)
    step("import the project and its pipelines", of_the_project)
    from kedro_mlflow.config.kedro_mlflow_config import KedroMlflowConfig

    own = KedroMlflowConfig.setup
    KedroMlflowConfig.setup = lambda *args: step("open MLflow's store", lambda: own(*args))
    catalog = step("read conf, build the catalog", read)
    step("start the engine, first query", compute)
    step("read a first table", lambda: catalog.load("churn.clean_customers").count())
    return took


@contextmanager
def _confs(engines: Sequence[str], folder: Path) -> Iterator[dict[str, Path]]:
    """The conf of each engine: the shipped one, or one that names a server, which runs inside the block."""
    sys.path.insert(0, str(PROJECT / "tests"))
    from parity.cluster import conf_of_a_client, connect_server, standalone

    confs = dict.fromkeys(engines, PROJECT / "conf")
    with ExitStack() as servers:
        if "cluster" in engines:
            master = servers.enter_context(standalone(folder, sys.executable))
            address = servers.enter_context(connect_server(master, folder, sys.executable))
            confs["cluster"] = Path(shutil.copytree(PROJECT / "conf", folder / "conf-cluster"))
            spark = confs["cluster"] / "spark" / "spark.yml"
            spark.write_text(spark.read_text(encoding="utf-8").replace("local[*]", address, 1), encoding="utf-8")
        if "connect" in engines:
            address = servers.enter_context(connect_server("local[*]", folder / "connect", str(CONNECT)))
            confs["connect"] = conf_of_a_client(folder / "conf-connect", address)
        yield confs


def _run_end_to_end(use_case: str, engine: str, conf: Path, folder: Path, lake: Path) -> Usage:
    params = ",".join([f"landing={folder / 'landing'}", f"lake={lake}"])
    call = ("run", "--namespaces", use_case, "--env", ENV[engine], "--conf-source", str(conf), "--params", params)
    usage = measure(kedro(*call, python=str(CONNECT) if engine == "connect" else sys.executable), folder)
    print(f"{engine}: {usage.seconds:.1f} s", file=sys.stderr)
    return usage


def _measure_starts(engine: str, folder: Path, lake: Path) -> dict[str, tuple[float, float]]:
    usage = measure([sys.executable, __file__, "--phases", ENV[engine], "--lake", str(lake)], folder)
    phase_seconds: dict[str, tuple[float, float]] = json.loads(usage.output.splitlines()[-1])
    rest = [
        whole - sum(each[n] for each in phase_seconds.values())
        for n, whole in enumerate((usage.seconds, usage.cpu_seconds))
    ]
    return {**phase_seconds, "the interpreter, its start and its end": (rest[0], rest[1])}


def _stage_row(stage: str, used: dict[str, list[Usage]]) -> dict[str, str]:
    return _row(stage, {engine: [seconds_in_nodes(stage, usage) for usage in each] for engine, each in used.items()})


def _nodes_row(usages: dict[str, list[Usage]]) -> dict[str, str]:
    return _row(
        "all nodes",
        {engine: [sum(seconds_in_nodes(s, u) for s in STAGES) for u in each] for engine, each in usages.items()},
    )


def _whole_rows(used: dict[str, list[Usage]]) -> list[dict[str, str]]:
    rows = [_row("the run, start-up included", {e: [u.seconds for u in each] for e, each in used.items()})]
    peaks = {engine: gib(max(usage.peak_bytes for usage in each)) for engine, each in used.items()}
    return [*rows, {"stage": "peak GiB", **{name: peaks.get(name, "") for name in list(rows[0])[1:]}}]


def _phase_rows(name: str, begun: dict[str, list[dict[str, tuple[float, float]]]]) -> list[dict[str, str]]:
    kinds = enumerate((name, f"{name}, CPU"))
    return [_row(title, {e: [seconds[name][n] for seconds in each] for e, each in begun.items()}) for n, title in kinds]


def _row(name: str, seconds: dict[str, Sequence[float]]) -> dict[str, str]:
    first, *_ = middle = {engine: statistics.median(each) for engine, each in seconds.items()}
    row = {"stage": name}
    for engine, each in seconds.items():
        row[engine] = f"{middle[engine]:.2f} ({min(each):.2f} to {max(each):.2f})"
        if engine != first:
            row[f"{engine} x"] = f"{middle[engine] / middle[first]:.1f}" if middle[first] else ""
    return row


if __name__ == "__main__":
    main()
