"""What is asked on every engine: landing files with everything odd in them, and conf small enough for a few rows."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse_ml.use_cases import USE_CASES
from lakehouse_ml.use_cases.base import UseCase
from lakehouse_ml.use_cases.churn.synthetic import write_csv
from lakehouse_ml.use_cases.contracts import Table

# Every node answers each of these variants, from the same inputs except for these differences.
VARIANTS = {
    "many": "rows of all kinds, most of them of one entity, in more partitions than cores; `local[2]` generates code",
    "odd": "the same rows in one partition, with nulls, NaN, -0.0, large and tiny numbers",
    "one": "one row of each table; a landing file is Parquet, with decimals, instants and integers",
    "none": "no rows in any table; a landing file has only a header",
}
PARTITIONS = 7
# In a zone of its own, with microseconds.
CLOCK = datetime(2025, 3, 30, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=45)))
_PLANT_STARTS = datetime(2024, 12, 28, tzinfo=UTC)
_DAYS, _MACHINES = 16, 5

# As somebody may have typed them, or a program may have written them.
_NUMBERS = (
    "7", "007", "-0", "-0.0", "+3", " 5 ", "\u00a07\t", "1.0", "1.5", "1.", ".5", ".", "-", "--1", "1e2", "1E-3", "1e",
    "1e308", "1e309", "-1e309", "4.9e-324", "1e-400", "0.1", "12.345678901234567890123",
    "99999999999999999.99", "2147483647",
    "2147483648", "-2147483648", "9223372036854775808", "NaN", "nan", "inf", "-Infinity", "+inf", "1,5", "1_000",
    "1 000", "1d", "1D", "2f", "1L", "0x10", "0x1p3", "10%", "$5", "\u0665", "\uff15", "null", "NULL",
    "None", "true", "", " ",
)  # fmt: skip
_MOMENTS = (
    "2024-12-31 06:00:00", "2024-12-31T06:00:00", "2024-12-31T06:00:00Z", "2024-12-31 06:00:00 UTC",
    "2024-12-31 06:00:00+02:00", "2024-12-31T06:00:00-03:30", "2024-12-31 06:00:00 Europe/Paris",
    "2024-12-31T06:00:00.5", "2024-12-31T06:00:00.123456", "2024-12-31T06:00:00.123456789Z", "2024-12-31 06:00",
    "2024-12-31 06", "2024-12-31", "2024-12", "2024", "2024-1-2 3:4:5", "2024-12-31 24:00:00", "2024-12-31 23:59:60",
    "2024-02-30 00:00:00", "2024-13-01 00:00:00", "2025-03-30 02:30:00", "1969-12-31 23:59:59.999999",
    "1582-10-10 00:00:00", "0001-01-01 00:00:00", "9999-12-31 23:59:59", "10000-01-01 00:00:00", "12:30", "T12:30:00",
    "now", "today", "epoch", "2024/12/31 06:00:00", "31.12.2024 06:00", "12/31/2024", "20241231", "20241231T060000",
    "1735624800", "2024-12-31 06:00:00 PM", "2024-12-31  06:00:00", "2024-12-31 06:00:00 GMT+1",
    "2024-12-31 06:00:00+0200", "2024-12-31 06:00:00 +02:00", "2024-12-31T06:00:00+25:00",
    " 2024-12-31 07:00:00 ", "2024-12-31 06:00:00,5",
    "", "x",
)  # fmt: skip
_TEXTS = (
    "Yes", "yes", " Yes ", "\u00a0No\t", "", " ", "NULL", 'the "same"', "O'Neil; --", "two\nlines",
    "ünï\u0063\u0327ö 🙂", "\\N",
)  # fmt: skip
_ODD = {"int": ("3", *_NUMBERS), "double": ("3.25", *_NUMBERS), "timestamp": _MOMENTS, "string": _TEXTS}
_PLAIN = {"int": "3", "double": "3.25", "timestamp": "2024-12-31 06:00:00", "string": "Yes"}

# A linear model's last digits are those of the numerical libraries; a leaf's share of rows is the same everywhere.
_FOREST = {"estimator": "random_forest", "params": {"n_estimators": 5, "max_depth": 3, "min_samples_split": 2}}
CONF: dict[str, dict[str, Any]] = {
    "churn": {
        "data_ingestion": {"tolerated_refused_share": 1.0},
        "training": {
            "split": {"holdout_share": 0.4, "salt": 0, "min_per_class": 2, "max_share_gap": 1.0}, "folds": 2,
            "trials": [_FOREST],
        },
        "evaluation": {"resamples": 100, "min_segment_rows": 5, "floors": {"f1": 0.0, "roc_auc": 0.0}},
        "monitoring": {"drift": {"min_rows": 10}},
    },
    "predictive_maintenance": {
        "data_ingestion": {"tolerated_refused_share": 1.0},
        "features": {"step_hours": 12, "window_hours": [3, 24], "starts_at": "2024-12-29T03:00:00+05:30"},
        "training": {
            "split": {"kind": "time", "calibration_share": 0.25, "test_share": 0.3, "min_per_class": 2}, "folds": 2,
            "trials": [_FOREST],
        },
        "evaluation": {"resamples": 100, "min_segment_rows": 5, "floors": {"f1": 0.0, "roc_auc": 0.0}},
        "batch_scoring": {"from_day": "2025-01-10", "to_day": "2025-01-11"},
        "monitoring": {"drift": {"min_rows": 5}},
    },
}  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """A landing folder of one table."""

    path: Path
    format: str


def write(folder: Path) -> dict[tuple[str, str, str], Folder]:
    """Landing folders by use case, table and variant; written by whoever comes first."""
    folders = {}
    for use_case in USE_CASES:
        for name, contract in use_case.sources.items():
            for variant in VARIANTS:
                place = folder / variant / use_case.name / name
                if not place.exists():
                    place.mkdir(parents=True)
                    _land(use_case, name, contract, variant, place)
                folders[use_case.name, name, variant] = Folder(place, "parquet" if variant == "one" else "csv")
    return folders


def _land(use_case: UseCase, name: str, contract: Table, variant: str, place: Path) -> None:
    header = [column.source or column.name for column in contract.columns]
    if variant == "one":
        pq.write_table(_typed(contract), place / "typed_2024-12-31.parquet")
    elif variant == "odd":
        _csv(place / "odd.csv", header, _odd(contract))
        (place / "ragged_2024-11-30.csv").write_text(
            ",".join(header) + "\n" + "a,b\n" + ",".join(["x"] * (len(header) + 2)) + "\n\n", encoding="utf-8"
        )
    elif variant == "none":
        _csv(place / "nothing.csv", header, [])
    elif use_case.name == "churn":
        _customers(place, name)
    else:
        _csv(place / "plant.csv", header, _plant()[name])


def _csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _odd(contract: Table) -> list[list[str]]:
    """A row for each odd value of each column, whose other values are plain, and whose first text is its own."""
    texts = [number for number, column in enumerate(contract.columns) if column.type == "string"]
    rows = []
    for place, column in enumerate(contract.columns):
        for value in _ODD[column.type]:
            row = [_PLAIN[other.type] for other in contract.columns]
            if texts:
                row[texts[0]] = f"row {len(rows)}"
            row[place] = value
            rows.append(row)
    return rows


def _typed(contract: Table) -> pa.Table:
    """A row as other programs type it: numbers as decimals, moments as instants of another zone."""
    values = {
        "int": pa.array([Decimal("12.00")], pa.decimal128(12, 2)),
        "double": pa.array([Decimal("-98765.4321")], pa.decimal128(38, 10)),
        "timestamp": pa.array([datetime(2024, 12, 31, 6, tzinfo=UTC)], pa.timestamp("ns", tz="Asia/Kathmandu")),
        "string": pa.array(["comp1"]),
    }
    return pa.table({column.source or column.name: values[column.type] for column in contract.columns})


def _customers(place: Path, name: str) -> None:
    """Two snapshots of the same customers, and one of them in many more; outcomes of some."""
    write_csv(place / "drawn.csv", n=240, seed=3)
    with (place / "drawn.csv").open(encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    (place / "drawn.csv").unlink()
    if name == "outcomes":
        answers = ["Yes", "No", "No", "", "Maybe"] * 40
        outcomes = [[row[0], answer] for row, answer in zip(rows[:200], answers, strict=True)]
        _csv(place / "known_2025-01-31.csv", ["customerID", "Churn"], outcomes)
        return
    rows[7][5] = "long"
    still = [[*row[:-1], ""] for row in rows if row[-1] == "No"]
    _csv(place / "customers_2024-12-31.csv", header, [*rows, *rows[:5]])
    _csv(place / "customers_2025-01-31.csv", header, still)
    one = rows[0]
    for month in (3, 6, 9):
        _csv(place / f"customers_2024-{month:02}-01.csv", header, [[*one[:5], str(month), *one[6:]]])


def _plant() -> dict[str, list[list[object]]]:
    """A few machines; one of them has most rows, because it reports every quarter of an hour."""
    dice = random.Random(5)
    tables: dict[str, list[list[object]]] = {"telemetry": [], "errors": [], "maintenance": [], "failures": []}
    for machine in range(1, _MACHINES + 1):
        step = 15 if machine == 1 else 180
        for minutes in range(0, _DAYS * 24 * 60, step):
            row = [round(dice.lognormvariate(3, 0.5) * 64 + machine) / 64 for _ in range(4)]  # sums are exact
            tables["telemetry"].append([_time(minutes / 60), machine, *row])
        for number, hour in enumerate(range(20 + 5 * machine, _DAYS * 24, 60 if machine % 2 else 90)):
            component = f"comp{1 + (number + machine) % 4}"
            tables["failures"].append([_time(hour), machine, component])
            tables["maintenance"].append([_time(hour + 1), machine, component])
            tables["errors"] += [[_time(hour - ahead), machine, f"error{1 + number % 5}"] for ahead in (3, 9, 9.5)]
    tables["machines"] = [[machine, f"model{machine % 2}", machine * 3] for machine in range(1, _MACHINES + 1)]
    # An unknown machine, a duplicate, an unknown kind or age, a time in the future, and no time.
    tables["errors"] += [[_time(5), 99, "error1"], tables["errors"][0], ["2999-01-01 00:00:00", 1, "error2"]]
    tables["telemetry"] += [[_time(5), 99, 1, 2, 3, 4], [_time(6.1), 2, "", "", "", ""]]
    tables["maintenance"] += [[_time(5), 1, "comp9"]]
    tables["failures"] += [[_time(5), 99, "comp1"]]
    tables["machines"] += [[77, "model1", 777]]
    return {name: [*rows, ["yesterday"] * len(rows[0])] for name, rows in tables.items()}


def _time(hours: float) -> str:
    return f"{_PLANT_STARTS + timedelta(hours=hours):%Y-%m-%d %H:%M:%S}"
