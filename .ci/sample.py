"""Write a small sample of landing files, a folder for each use case: `.venv/bin/python .ci/sample.py <folder>`.

It is as small as training, gates and scoring of both use cases allow.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lakehouse_ml.use_cases.churn.synthetic import write_csv
from lakehouse_ml.use_cases.predictive_maintenance.synthetic import simulate, write


def main(folder: Path) -> None:
    """2,000 customers; 24 machines for 75 days."""
    write_csv(folder / "churn" / "customers_simulated.csv", n=2_000)
    write(folder / "predictive_maintenance", simulate(24, 75, seed=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
