"""A user's mistake is found again, however deep a framework or an engine has wrapped it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from kedro.io import AbstractDataset, DatasetError

from lakehouse_ml import errors
from lakehouse_ml.errors import LakehouseError, LandingError, TableError, find, refusal


class Refusing(AbstractDataset[Any, Any]):
    """A dataset that raises what it is given."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def load(self) -> Any:
        raise self._error

    def save(self, data: Any) -> None:
        raise self._error

    def _describe(self) -> dict[str, Any]:
        return {}


def raised(act: Callable[..., object], *given: Any) -> Exception:
    try:
        act(*given)
    except Exception as error:
        return error
    pytest.fail("nothing was raised")


def test_a_mistake_is_found_as_it_is() -> None:
    mistake = TableError("The table is damaged.")

    assert find(mistake) is mistake


@pytest.mark.parametrize("act", ["load", "save"])
def test_a_mistake_is_found_behind_the_error_of_a_dataset(act: str) -> None:
    mistake = TableError("The table is damaged.")
    dataset = Refusing(mistake)

    error = raised(dataset.load) if act == "load" else raised(dataset.save, "rows")

    assert isinstance(error, DatasetError)
    assert find(error) is mistake


def test_a_mistake_is_found_when_another_error_came_up_while_it_was_handled() -> None:
    mistake = TableError("The table is damaged.")

    def clumsy() -> None:
        try:
            raise mistake
        except TableError:
            {}["missing"]

    assert find(raised(clumsy)) is mistake


def test_what_is_nobodys_mistake_is_not_found() -> None:
    assert find(ZeroDivisionError("division by zero")) is None
    assert find(raised(Refusing(OSError("disk full")).load)) is None


def test_a_refusal_inside_an_engines_task_arrives_as_the_sentence_that_it_was(spark: Any) -> None:
    def refuse(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            raise refusal("customers.csv isn't UTF-8 (byte 0xe9 in line 7): save it as UTF-8,\nthen run again.")
        yield from ()

    error = raised(spark.range(3).mapInArrow(refuse, "id long").collect)

    assert not isinstance(error, LakehouseError)
    found = find(error)
    assert isinstance(found, LandingError)
    assert str(found) == "customers.csv isn't UTF-8 (byte 0xe9 in line 7): save it as UTF-8,\nthen run again."


def test_an_engines_own_error_is_nobodys_mistake(spark: Any) -> None:
    assert find(raised(spark.sql("SELECT raise_error('broken')").collect)) is None


def test_every_mistake_of_a_user_is_of_one_family() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]

    assert len(kinds) > 5
    assert all(issubclass(kind, LakehouseError) and kind.__doc__ for kind in kinds)
