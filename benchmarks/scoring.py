"""Whether scoring by the engine keeps up with one call in memory, and holds no more of many rows than of few.

    .venv/bin/python benchmarks/scoring.py [--rows 1000000 10000000]

Rows of 20 numbers lie in a Delta table. The champion, boosting of 100 trees, scores them as batch scoring does,
without reasons: read by the engine, scored in its Python workers, and committed to a table of scores. Beside it, the
same rows, in memory already, go through one `predict_proba`. Each way and size is a process of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import deltalake
import numpy as np
import pandas as pd
import pyarrow as pa
from measuring.processes import Usage, gib, measure
from measuring.tables import markdown

from lakehouse_ml.modelling.card import ModelCard, RegistryStatus
from lakehouse_ml.modelling.estimators import sklearn as estimators
from lakehouse_ml.modelling.estimators.base import EstimatorSpec, select_predictors
from lakehouse_ml.modelling.model import Model

COLUMNS = tuple(f"x{n}" for n in range(20))
KEY = ("customer_id", "snapshot_date")
DAY = datetime(2025, 1, 31, tzinfo=UTC)
LEARNED = 50_000
CHUNK = 500_000
WANTED = 0.8
SPEC = {"learning_rate": 0.1, "max_iter": 100, "max_depth": 6, "min_samples_leaf": 20}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000], help="rising")
    parser.add_argument("--way", choices=["engine", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(f"{by_engine(arguments.folder) if arguments.way == 'engine' else in_memory(arguments.folder):.3f}")
        return
    rows = []
    highest = {}
    for size in arguments.rows:
        with tempfile.TemporaryDirectory(prefix="lakehouse-ml-bench-") as temporary:
            folder = Path(temporary)
            write(folder / "features", size)
            usages = {way: _process(way, folder) for way in ("memory", "engine")}
        seconds = {way: float(usage.output.split()[-1]) for way, usage in usages.items()}
        ratio = seconds["memory"] / seconds["engine"]
        highest[size] = usages["engine"].peak_bytes
        rows += [
            {
                "scored": {"memory": "one call in memory", "engine": "by the engine, from table to table"}[way],
                "rows": f"{size:,}",
                "seconds": f"{seconds[way]:.1f}",
                "rows a second": f"{size / seconds[way]:,.0f}",
                "x one call": f"{ratio if way == 'engine' else 1:.2f}",
                "peak GiB": gib(usage.peak_bytes),
            }
            for way, usage in usages.items()
        ]
        print(f"{size:,} rows: {ratio:.2f} of one call's throughput", file=sys.stderr)
    print(markdown(rows))
    smallest, largest = highest[arguments.rows[0]], highest[arguments.rows[-1]]
    print(
        f"\nWanted of the engine: at least {WANTED} of the throughput of one call. Its memory with "
        f"{arguments.rows[-1]:,} rows is {largest / smallest:.2f} times that with {arguments.rows[0]:,}."
    )


def _process(way: str, folder: Path) -> Usage:
    return measure([sys.executable, __file__, "--way", way, "--folder", str(folder)], folder)


def table(n: int, seed: int) -> pd.DataFrame:
    """Rows of 20 numbers, a few of which predict the label."""
    draw = np.random.default_rng(seed)
    return pd.DataFrame(draw.normal(size=(n, len(COLUMNS))), columns=list(COLUMNS))


def write(path: Path, rows: int) -> None:
    """A Delta table with so many rows, chunk by chunk."""
    for number, start in enumerate(range(0, rows, CHUNK)):
        part = table(min(CHUNK, rows - start), seed=number + 1)
        part.insert(0, KEY[0], np.arange(start, start + len(part)))
        part.insert(1, KEY[1], DAY.date())
        deltalake.write_deltalake(str(path), pa.Table.from_pandas(part, preserve_index=False), mode="append")


def champion() -> Model:
    """Gradient boosting that has learned from simulated rows."""
    rows = table(LEARNED, seed=0)
    label = (rows["x0"] + rows["x1"] * rows["x2"] + np.random.default_rng(0).normal(size=LEARNED) > 1).astype(int)
    spec = EstimatorSpec(estimator="gradient_boosting", params=SPEC)
    model = estimators.fit(
        spec, select_predictors(rows, (), COLUMNS), label.to_numpy(), categorical=(), numeric=COLUMNS, seed=0
    )
    card = ModelCard(
        "sklearn",
        spec.estimator,
        spec.params,
        (),
        COLUMNS,
        0.5,
        dict.fromkeys(COLUMNS, 0.0),
        {},
        {"kind": "hash", "salt": 0, "holdout_share": 0.2},
        {},
        {},
    )
    return Model("champion", "1", model, card)


def in_memory(folder: Path) -> float:
    """Seconds of one call over all rows, which are in memory already."""
    model = champion()
    rows = select_predictors(deltalake.DeltaTable(folder / "features").to_pandas(), (), COLUMNS)
    started = time.perf_counter()
    estimators.score(model.model, rows)
    return time.perf_counter() - started


def by_engine(folder: Path) -> float:
    """Seconds from a table of features to a table of scores; the engine runs already."""
    from lakehouse_ml.datasets.delta_table import DeltaTable
    from lakehouse_ml.engine.sessions import ENGINE
    from lakehouse_ml.engine.spec import EngineSpec
    from lakehouse_ml.modelling.batch import ScoringSpec
    from lakehouse_ml.pipelines.batch_scoring.nodes import score_rows

    ENGINE.choose(EngineSpec(engine="sail"))
    ENGINE.session().range(10).count()
    model = champion()
    started = time.perf_counter()
    features = DeltaTable(filepath=str(folder / "features")).load()
    spec = ScoringSpec(reasons=0, actions=1)
    scores = DeltaTable(filepath=str(folder / "scores"))
    labels = features.where("1 = 0").selectExpr(*KEY, "1 as label")
    for batch in score_rows(features, labels, RegistryStatus(champion="1"), model, spec, DAY, None, KEY):
        scores.save(batch)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
