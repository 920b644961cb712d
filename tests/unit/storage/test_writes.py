"""What passes between nodes besides plain frames."""

from __future__ import annotations

from typing import Any

import pytest

from lakehouse_ml.storage.writes import IdempotentAppend, ReplaceBatch, unwrap_rows
from lakehouse_ml.use_cases.churn.contracts import feature_customers
from lakehouse_ml.use_cases.predictive_maintenance.contracts import feature_machines


class OfDatabricks:
    """A frame as the client of Databricks has it: whatever is asked for by name is a column."""

    columns = dtypes = ()

    def __getattr__(self, name: str) -> object:
        return f"column {name}"


@pytest.mark.parametrize("contract", [feature_customers, feature_machines])
def test_a_contract_reads_the_frame_and_not_a_column_of_it_named_rows(contract: Any) -> None:
    with pytest.raises(Exception, match=r"breaks its contract: column (customer|machine)_id is missing"):
        contract.validate(OfDatabricks())


def test_the_rows_of_a_batch_are_its_frame() -> None:
    frame = OfDatabricks()
    assert unwrap_rows(ReplaceBatch(frame, "batch", ())) is frame
    assert unwrap_rows(IdempotentAppend(frame, "writer", 1)) is frame
    assert unwrap_rows(frame) is frame
