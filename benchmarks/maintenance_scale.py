"""A year of many machines, end to end: each stage as a process of its own, against a time and a memory.

    .venv/bin/python benchmarks/maintenance_scale.py [--machines 100 1000] [--step 3 --windows 3 24] [--landing FOLDER]

For each number of machines a year of hourly telemetry is simulated (365 days and an hour: 876,100 rows for 100
machines, less the gaps and with the doubles that the generator puts in), a file a day, with errors, maintenance and
failures. Six stages take it to the scores of December, day by day, each by its own `kedro run --pipelines <stage>`, on
the grid of conf or another one. The data are simulated in any case: the real telemetry of so many machines isn't at
hand.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from measuring.processes import Usage, gib, kedro, measure, seconds_in_nodes
from measuring.tables import markdown

from lakehouse_ml.use_cases.predictive_maintenance.synthetic import simulate, telemetry, write

# Each stage, and the table whose rows it counts by.
STAGES = {
    "data_ingestion": "01_raw/predictive_maintenance/raw_telemetry",
    "data_quality": "03_primary/predictive_maintenance/clean_telemetry",
    "feature_engineering": "04_feature/predictive_maintenance/feature_machines",
    "training": "05_model_input/predictive_maintenance/model_input_machines",
    "evaluation": "06_models/predictive_maintenance/outcome_holdout",
    "batch_scoring": "07_model_output/predictive_maintenance/score_machines",
}
DAYS = 365
SCORED = {"from_day": "2015-12-01", "to_day": "2015-12-31"}
MOST_SECONDS, MOST_BYTES, MOST_TIMES = 300, 8 * 2**30, 11


@dataclass(frozen=True)
class Measured:
    """A stage at one size: what its process took, and how many rows its table then has."""

    usage: Usage
    in_nodes: float
    rows: int


def main() -> None:
    """Print the table and what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, nargs="+", default=[100, 1_000], help="how many, rising")
    parser.add_argument("--step", type=int, help="hours between predictions; conf's by default")
    parser.add_argument("--windows", type=int, nargs="+", help="hours of the windows; conf's by default")
    parser.add_argument("--landing", type=Path, help="where the simulated files are kept for another time")
    arguments = parser.parse_args()
    sizes = arguments.machines
    grid = {"step_hours": arguments.step} if arguments.step else {}
    grid |= {"window_hours": arguments.windows} if arguments.windows else {}
    usages = {size: dict(_stages(size, grid, arguments.landing)) for size in sizes}
    rows = [
        _row(stage, size, usages[size][stage], usages[sizes[number - 1]][stage] if number else None)
        for stage in STAGES
        for number, size in enumerate(sizes)
    ]
    print(markdown(rows))
    print(
        f"\nSimulated machines, a year of hourly telemetry; {grid or 'the grid of conf'}. Seconds of each "
        f"process, the part of them in nodes, and the highest memory of the whole process tree; the ratios are those "
        f"of the seconds to those at the smaller size.\n"
    )
    for size in sizes:
        print(_sum(size, usages[size]))


def _stages(machines: int, grid: dict[str, Any], kept: Path | None) -> Iterator[tuple[str, Measured]]:
    with tempfile.TemporaryDirectory(prefix="lakehouse-ml-bench-") as temporary:
        folder = Path(temporary)
        landing, lake = (kept or folder) / f"machines_{machines}", folder / "lake"
        _simulate(landing, machines)
        for stage, table in STAGES.items():
            # In a file: `--params` takes no list, such as that of the windows.
            conf = {"features": grid} | ({"batch_scoring": SCORED} if stage == "batch_scoring" else {})
            params = {"landing": str(landing), "lake": str(lake), "predictive_maintenance": conf}
            (folder / "run.yml").write_text(json.dumps({"run": {"params": params}}))
            run = ("run", "--config", str(folder / "run.yml"), "--namespaces", "predictive_maintenance")
            usage = measure(kedro(*run, "--pipelines", stage), folder)
            measured = Measured(usage, seconds_in_nodes(stage, usage), _count(lake / table))
            print(
                f"{machines:,} machines: {stage} {usage.seconds:.1f} s, {gib(usage.peak_bytes)} GiB, "
                f"{measured.rows:,} rows",
                file=sys.stderr,
            )
            yield stage, measured


def _simulate(landing: Path, machines: int) -> None:
    """A file a day, and of the day after the year its first hour; nothing where a former run left it whole."""
    after = simulate(machines, DAYS + 1)
    last = landing / "telemetry" / f"telemetry_{after.start + timedelta(days=DAYS)}_simulated.csv"
    if last.exists():
        return
    print(f"{machines:,} machines: simulating a year", file=sys.stderr)
    write(landing, simulate(machines, DAYS))
    hours = pd.DataFrame(telemetry(after, DAYS))
    first = hours[hours["datetime"] == hours["datetime"].min()]
    first.to_csv(last, index=False, date_format="%Y-%m-%d %H:%M:%S")


def _count(table: Path) -> int:
    import deltalake

    return int(deltalake.DeltaTable(str(table)).count())


def _row(stage: str, machines: int, measured: Measured, before: Measured | None) -> dict[str, str]:
    usage = measured.usage
    return {
        "stage": stage,
        "machines": f"{machines:,}",
        "rows": f"{measured.rows:,}",
        "seconds": f"{usage.seconds:.1f}",
        "ratio": f"{usage.seconds / before.usage.seconds:.1f}" if before else "",
        "of them in nodes": f"{measured.in_nodes:.1f}",
        "ratio of these": f"{measured.in_nodes / before.in_nodes:.1f}" if before else "",
        "CPU seconds": f"{usage.cpu_seconds:.1f}",
        "peak GiB": gib(usage.peak_bytes),
    }


def _sum(machines: int, stages: dict[str, Measured]) -> str:
    usages = [measured.usage for measured in stages.values()]
    seconds, highest = sum(usage.seconds for usage in usages), max(usage.peak_bytes for usage in usages)
    return (
        f"{machines:,} machines: {seconds:.0f} s in all, {sum(m.in_nodes for m in stages.values()):.0f} of them in "
        f"nodes ({'within' if seconds <= MOST_SECONDS else 'NOT within'} {MOST_SECONDS}); at most {gib(highest)} GiB "
        f"({'within' if highest <= MOST_BYTES else 'NOT within'} {gib(MOST_BYTES)})."
    )


if __name__ == "__main__":
    main()
