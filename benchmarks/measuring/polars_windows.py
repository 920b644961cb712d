"""The window features as one would write them by hand in polars, for hourly telemetry and prediction times on the hour.

    python polars_windows.py <folder with the tables> <file to write>

Rows of hours that are no prediction time are computed and dropped; errors and replacements as in the features.
"""

from __future__ import annotations

import sys
from pathlib import Path

SENSORS = ("volt", "rotate", "pressure", "vibration")
WINDOWS = (3, 24)
STEP_HOURS = 3


def main(tables: Path, into: Path) -> None:
    """Tables in, features out, as Parquet."""
    import polars as pl

    telemetry = pl.scan_parquet(tables / "telemetry.parquet").sort("machine_id", "observed_at")
    stats = {"mean": "rolling_mean_by", "sd": "rolling_std_by", "min": "rolling_min_by", "max": "rolling_max_by"}
    windows = [
        getattr(pl.col(name), roll)("observed_at", window_size=f"{hours}h", closed="right")
        .over("machine_id")
        .alias(f"{name}_{stat}_{hours}h")
        for hours in WINDOWS
        for name in SENSORS
        for stat, roll in stats.items()
    ]
    grid = (
        telemetry.with_columns(windows)
        .filter(pl.col("observed_at").dt.hour() % STEP_HOURS == 0)
        .drop(SENSORS)
        .rename({"observed_at": "predicted_at"})
    )
    replaced = pl.scan_parquet(tables / "maintenance.parquet").sort("replaced_at")
    for number in range(1, 5):
        last = replaced.filter(pl.col("component") == f"comp{number}").select("machine_id", "replaced_at")
        days = (pl.col("predicted_at") - pl.col("replaced_at")).dt.total_microseconds() / 86_400_000_000
        grid = (
            grid.sort("predicted_at")
            .join_asof(last, left_on="predicted_at", right_on="replaced_at", by="machine_id")
            .with_columns(days.alias(f"days_since_comp{number}"))
            .drop("replaced_at")
        )
    errors = pl.scan_parquet(tables / "errors.parquet")
    times = [pl.col("logged_at").dt.offset_by(f"{hours}h").dt.truncate("1h") for hours in range(24)]
    counts = (
        errors.with_columns(predicted_at=pl.concat_list(times))
        .explode("predicted_at")
        .group_by("machine_id", "predicted_at")
        .agg([(pl.col("error_id") == f"error{n}").sum().alias(f"error{n}_count_24h") for n in range(1, 6)])
    )
    zero = [pl.col(f"error{n}_count_24h").fill_null(0) for n in range(1, 6)]
    machines = pl.scan_parquet(tables / "machines.parquet")
    features = grid.join(counts, on=["machine_id", "predicted_at"], how="left").with_columns(zero)
    features.join(machines, on="machine_id").collect().write_parquet(into)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
