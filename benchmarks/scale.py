"""Whether time stays linear and memory flat when customers become many: each stage as a process of its own.

    .venv/bin/python benchmarks/scale.py [--rows 100000 1000000]

For each number of rows: a fresh lake whose champion was trained on 5,000 simulated customers; then a file of so many
simulated customers lands under a later day in its name, and four stages take it to scores, each by its own
`kedro run --pipelines <stage>`. The file is simulated in any case: the real one has 7,043 rows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measuring.processes import Usage, gib, kedro, measure, seconds_in_nodes
from measuring.tables import markdown

from lakehouse_ml.use_cases.churn.synthetic import write_csv

STAGES = ("data_ingestion", "data_quality", "feature_engineering", "batch_scoring")
TRAINED_ON = 5_000
MOST_BYTES = 4 * 2**30


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="customers, rising")
    sizes = parser.parse_args().rows
    usages = {size: dict(_stages(size)) for size in sizes}
    rows = [
        _row(stage, size, usages[size][stage], usages[sizes[number - 1]][stage] if number else None)
        for stage in STAGES
        for number, size in enumerate(sizes)
    ]
    print(markdown(rows))
    highest = max(usage.peak_bytes for stages in usages.values() for usage in stages.values())
    limit = f"{'below' if highest < MOST_BYTES else 'NOT below'} the 4 GiB that they may hold"
    print(
        f"\nSeconds and highest memory of the whole process tree, for {' and '.join(f'{size:,}' for size in sizes)} "
        f"simulated customers beside the {TRAINED_ON:,} that the champion was trained on; the ratio is that of the "
        f"seconds in nodes to those at the smaller size. The highest is {gib(highest)} GiB, {limit}."
    )


def _stages(rows: int) -> Iterator[tuple[str, Usage]]:
    with tempfile.TemporaryDirectory(prefix="lakehouse-ml-bench-") as temporary:
        folder = Path(temporary)
        params = f"landing={folder / 'landing'},lake={folder / 'lake'}"
        print(f"{rows:,} customers: training a champion on {TRAINED_ON:,}", file=sys.stderr)
        write_csv(folder / "landing" / "customers_2024-12-31.csv", TRAINED_ON, seed=0)
        measure(kedro("run", "--params", params), folder)
        write_csv(folder / "landing" / "customers_2025-01-31.csv", rows, seed=1)
        for stage in STAGES:
            usage = measure(kedro("run", "--pipelines", stage, "--params", params), folder)
            print(f"{rows:,} customers: {stage} {usage.seconds:.1f} s, {gib(usage.peak_bytes)} GiB", file=sys.stderr)
            yield stage, usage


def _row(stage: str, rows: int, usage: Usage, before: Usage | None) -> dict[str, str]:
    ratio = f"{seconds_in_nodes(stage, usage) / seconds_in_nodes(stage, before):.1f}" if before else ""
    return {
        "stage": stage,
        "customers": f"{rows:,}",
        "seconds": f"{usage.seconds:.1f}",
        "of them in nodes": f"{seconds_in_nodes(stage, usage):.1f}",
        "ratio": ratio,
        "CPU seconds": f"{usage.cpu_seconds:.1f}",
        "peak GiB": gib(usage.peak_bytes),
    }


if __name__ == "__main__":
    main()
