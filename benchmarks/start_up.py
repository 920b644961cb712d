"""What start-up costs: commands that do nothing or little, against the same interpreter's empty Kedro command line.

    .venv/bin/python benchmarks/start_up.py [--repeat 3]

`make run` is measured as what it runs once its environment stands, `python -m lakehouse_ml.cli.make_run`.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring.processes import Usage, kedro, measure
from measuring.tables import markdown

from lakehouse_ml.use_cases.churn.synthetic import write_csv

LARGEST = 6
_IMPORT = re.compile(r"^import time:\s*(\d+) \|\s*\d+ \|\s*(\S+)$", re.MULTILINE)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="times that each command runs")
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory(prefix="lakehouse-ml-bench-") as temporary:
        folder = Path(temporary)
        write_csv(folder / "landing" / "customers_simulated.csv")
        lakes = [folder / f"lake-{number}" for number in range(repeat)]
        commands = {
            "`kedro --version`": [kedro("--version")] * repeat,
            "`kedro registry list`": [kedro("registry", "list")] * repeat,
            "`make run`, fresh lake": [_life(folder, lake) for lake in lakes],
            "`make run` again": [_life(folder, lake) for lake in lakes],
        }
        # One run beforehand, not counted: files read from the disk for the first time would be measured otherwise.
        measure(kedro("registry", "list"), folder)
        usages_by_command = {
            name: [_measure(name, command, folder) for command in each] for name, each in commands.items()
        }
        imports = {name: _imports(each[-1], folder) for name, each in commands.items() if "fresh" not in name}
    least = usages_by_command["`kedro --version`"]
    print(markdown([_row(name, usages, least, imports.get(name, "")) for name, usages in usages_by_command.items()]))
    print(
        f"\nWall seconds, median (least to greatest) of {repeat} runs each on 5,000 simulated customers, and their "
        f"ratio to an empty Kedro command line on the same machine in the same minutes; imports are the "
        f"seconds that each package's own modules take, from one more run under `-X importtime`, which slows "
        f"them."
    )


def _life(folder: Path, lake: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "lakehouse_ml.cli.make_run",
        "--landing",
        str(folder / "landing"),
        "--lake",
        str(lake),
    ]


def _measure(name: str, command: Sequence[str], folder: Path) -> Usage:
    usage = measure(command, folder)
    print(f"{name}: {usage.seconds:.1f} s", file=sys.stderr)
    return usage


def _imports(command: Sequence[str], folder: Path) -> str:
    """The packages whose modules take longest to import, with their seconds."""
    python, *rest = command
    errors = measure([python, "-X", "importtime", *rest], folder).errors
    packages: dict[str, float] = {}
    for microseconds, module in _IMPORT.findall(errors):
        package = module.partition(".")[0]
        packages[package] = packages.get(package, 0.0) + int(microseconds) / 1e6
    largest = sorted(packages, key=packages.__getitem__, reverse=True)[:LARGEST]
    listed = ", ".join(f"{name} {packages[name]:.2f}" for name in largest)
    return f"{sum(packages.values()):.1f}: {listed}"


def _row(name: str, usages: Sequence[Usage], least: Sequence[Usage], imports: str) -> dict[str, str]:
    seconds, others = ([usage.seconds for usage in each] for each in (usages, least))
    cpu = statistics.median(usage.cpu_seconds for usage in usages)
    return {
        "command": name,
        "seconds": f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})",
        "ratio": f"{statistics.median(seconds) / statistics.median(others):.1f}",
        "CPU seconds": f"{cpu:.1f}",
        "peak GiB": f"{max(usage.peak_bytes for usage in usages) / 2**30:.2f}",
        "imports, seconds": imports,
    }


if __name__ == "__main__":
    main()
