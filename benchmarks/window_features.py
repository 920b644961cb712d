"""How long the features of machines take: 100 machines, a year of hourly telemetry, 876,100 rows.

    .venv/bin/python benchmarks/window_features.py [--machines 100] [--runs 3]

Tables in and features out are Parquet; starting an engine isn't counted. The same node functions run on Apache Spark,
`local[2]`, where `make jars` has brought it, in a process of its own. The same features from a polars script written by
hand (`measuring/polars_windows.py`) stand beside them where polars is installed, which the project doesn't ask for.
Values are compared with those of a second way in NumPy.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring.machines import CONF
from measuring.polars_windows import SENSORS, STEP_HOURS, WINDOWS
from measuring.polars_windows import main as by_polars
from measuring.tables import markdown

from lakehouse_ml.engine import jars
from lakehouse_ml.errors import EngineError
from lakehouse_ml.use_cases.predictive_maintenance.features import build_features
from lakehouse_ml.use_cases.predictive_maintenance.spec import MaintenanceSpec

HOURS = 8_761
FIRST = pd.Timestamp("2015-01-01 06:00", tz="UTC")
TYPICAL = {"volt": (171.0, 15.6), "rotate": (446.0, 53.3), "pressure": (100.6, 10.7), "vibration": (40.3, 5.3)}
SPEC = MaintenanceSpec(**CONF | {"step_hours": STEP_HOURS, "telemetry": True, "window_hours": WINDOWS})
WITHIN = 1e-9


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--on-spark", nargs=2, type=Path, metavar=("TABLES", "INTO"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.on_spark:
        print(
            json.dumps(
                time_runs(partial(by_engine, on_spark(), arguments.on_spark[0]), arguments.on_spark[1], arguments.runs)
            )
        )
        return
    with tempfile.TemporaryDirectory(prefix="lakehouse-ml-bench-") as temporary:
        folder = Path(temporary)
        sensors = write_tables(folder, arguments.machines)
        from lakehouse_ml.engine.sessions import ENGINE
        from lakehouse_ml.engine.spec import EngineSpec

        ENGINE.choose(EngineSpec(engine="sail"))
        session = ENGINE.session()
        session.range(10).count()
        ways: dict[str, Callable[[Path], None]] = {"Sail": lambda into: by_engine(session, folder, into)}
        if importlib.util.find_spec("polars"):
            ways["polars"] = lambda into: by_polars(folder, into)
        else:
            print("polars isn't installed here: its script isn't measured.", file=sys.stderr)
        seconds = {name: time_runs(way, folder / name, arguments.runs) for name, way in ways.items()}
        try:
            for fault in jars.find_missing():
                raise EngineError(fault)
            seconds["Apache Spark"] = in_its_own_process(folder, arguments.runs)
        except EngineError as error:
            print(f"Apache Spark isn't measured: {error}", file=sys.stderr)
        worst = {name: largest_difference(pd.read_parquet(folder / name), sensors) for name in seconds}
        rows = [
            {"features by": name, **_row(times, seconds), "largest difference": f"{worst[name]:.1e}"}
            for name, times in seconds.items()
        ]
        print(markdown(rows))
        print(
            f"\n{arguments.machines * HOURS:,} rows of telemetry to windows of {' and '.join(map(str, WINDOWS))} h "
            f"every {STEP_HOURS} h; the difference is to NumPy's windows, relative: "
            f"{'within' if max(worst.values()) <= WITHIN else 'NOT within'} {WITHIN:.0e}."
        )


def write_tables(folder: Path, machines: int) -> np.ndarray:
    """Simulated tables as Parquet; gives the sensors' values, shape (n_machines, n_hours, n_sensors)."""
    draw = np.random.default_rng(0)
    centre, spread = np.array(list(TYPICAL.values())).T
    values = draw.normal(centre, spread, (machines, HOURS, len(SENSORS)))
    machine = np.repeat(np.arange(1, machines + 1, dtype=np.int32), HOURS)
    hours = pd.date_range(FIRST, periods=HOURS, freq="h", unit="us")
    telemetry = pd.DataFrame({"observed_at": np.tile(hours, machines), "machine_id": machine})
    telemetry["observed_at"] = pd.DatetimeIndex(telemetry["observed_at"]).as_unit("us")
    _write(folder, "telemetry", telemetry.assign(**dict(zip(SENSORS, values.reshape(-1, len(SENSORS)).T, strict=True))))
    for name, time_, kind, kinds, each in (
        ("errors", "logged_at", "error_id", SPEC.errors, 39),
        ("maintenance", "replaced_at", "component", SPEC.components, 33),
    ):
        n = machines * each
        events = pd.DataFrame(
            {
                time_: hours[draw.integers(0, HOURS, n)],
                "machine_id": draw.integers(1, machines + 1, n).astype(np.int32),
                kind: draw.choice(kinds, n),
            }
        )
        _write(folder, name, events.drop_duplicates())
    age = draw.integers(0, 21, machines).astype(np.int32)
    ids = np.arange(1, machines + 1, dtype=np.int32)
    _write(folder, "machines", pd.DataFrame({"machine_id": ids, "model": "model1", "age_years": age}))
    return values


def by_engine(session: Any, tables: Path, into: Path) -> None:
    """The project's own features."""
    names = ("telemetry", "errors", "maintenance", "machines")
    read = {name: session.read.parquet(str(tables / f"{name}.parquet")) for name in names}
    build_features(**read, spec=SPEC).write.mode("overwrite").parquet(str(into))


def on_spark() -> Any:
    """A running session of Apache Spark on two cores."""
    from lakehouse_ml.engine.sessions import ENGINE
    from lakehouse_ml.engine.spec import EngineSpec

    settings = {"spark.driver.memory": "8g", "spark.sql.shuffle.partitions": 4}
    ENGINE.choose(EngineSpec(engine="spark", master="local[2]", settings=settings))
    ENGINE.session().range(10).count()
    return ENGINE.session()


def in_its_own_process(folder: Path, runs: int) -> list[tuple[float, float]]:
    """What `timed` returns for Apache Spark, without CPU seconds: those of the JVM are not measured."""
    call = [sys.executable, __file__, "--runs", str(runs), "--on-spark", str(folder), str(folder / "Apache Spark")]
    done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
    return [(seconds, float("nan")) for seconds, _ in json.loads(done.stdout.splitlines()[-1])]


def time_runs(way: Callable[[Path], None], into: Path, runs: int) -> list[tuple[float, float]]:
    """Seconds of each run, and CPU seconds of this process, in which both engines live."""
    seconds = []
    for _ in range(runs):
        started, used = time.perf_counter(), time.process_time()
        way(into)
        seconds.append((time.perf_counter() - started, time.process_time() - used))
        print(f"{into.name}: {seconds[-1][0]:.2f} s", file=sys.stderr)
    return seconds


def _row(times: list[tuple[float, float]], seconds: dict[str, list[tuple[float, float]]]) -> dict[str, str]:
    """A row of the table: the seconds of one implementation, and their ratio to those of the others."""
    wall, used = (statistics.median(column) for column in zip(*times, strict=True))
    ratios = {
        f"x {other}": f"{wall / statistics.median(run[0] for run in seconds[other]):.1f}" if other in seconds else ""
        for other in ("Sail", "polars")
    }
    cpu = "" if math.isnan(used) else f"{used:.2f}"
    return {"seconds, median": f"{wall:.2f}", "fastest": f"{min(times)[0]:.2f}", "CPU seconds": cpu, **ratios}


def largest_difference(features: pd.DataFrame, sensors: np.ndarray) -> float:
    """Between the windows and those that NumPy slides over each machine's hours, where a window is full.

    Raises:
        ValueError: A machine or a prediction time is missing.
    """
    rows = features.sort_values(["machine_id", "predicted_at"])
    hours = pd.date_range(FIRST, periods=HOURS, freq="h")
    on_grid = np.flatnonzero((hours.hour % STEP_HOURS == 0) & (np.arange(HOURS) >= max(WINDOWS) - 1))
    rows_on_grid = rows[pd.to_datetime(rows["predicted_at"], utc=True) >= hours[on_grid[0]]]
    if len(rows_on_grid) != len(on_grid) * len(sensors):
        raise ValueError(f"{len(rows_on_grid)} rows where {len(on_grid) * len(sensors)} were expected")
    worst = 0.0
    for width in WINDOWS:
        windows = np.lib.stride_tricks.sliding_window_view(sensors, width, axis=1)[:, on_grid - width + 1]
        for name, expected in (
            ("mean", windows.mean(-1)),
            ("sd", windows.std(-1, ddof=1)),
            ("min", windows.min(-1)),
            ("max", windows.max(-1)),
        ):
            computed = rows_on_grid[[f"{sensor}_{name}_{width}h" for sensor in SENSORS]].to_numpy()
            wanted = expected.reshape(-1, len(SENSORS))
            worst = max(worst, float(np.max(np.abs(computed - wanted) / np.maximum(np.abs(wanted), 1.0))))
    return worst


def _write(folder: Path, name: str, table: pd.DataFrame) -> None:
    table.to_parquet(folder / f"{name}.parquet", index=False)


if __name__ == "__main__":
    main()
