"""The tables of a lake, as two lakes of the same rows have them in common."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from deltalake import DeltaTable

# What differs between two lakes of the same rows, beside times: a model's file names its run.
AUDIT = {"sha256", "fit_seconds", "made_of"}


def stored_tables(lake: Path, use_case: str = "churn") -> dict[str, pd.DataFrame]:
    """Every table of a use case, sorted, without the columns that say when, where and by whom it was written."""
    tables = {}
    for log in sorted(lake.glob(f"*/{use_case}/*/_delta_log")):
        rows = DeltaTable(log.parent).to_pandas()
        rows = rows[[name for name in rows if not name.endswith("_at") and name not in AUDIT]]
        tables[log.parent.name] = rows.sort_values([*rows], key=lambda column: column.astype(str), ignore_index=True)
    return tables
