"""A user's mistake is found again, however deep a framework or an engine has wrapped it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from kedro.io import AbstractDataset, DatasetError

from lakehouse_ml import errors
from lakehouse_ml.errors import LakehouseError, LandingError, TableError, find, printable, refusal, shell_word


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


def catch(act: Callable[..., object], *arguments: Any) -> Exception:
    try:
        act(*arguments)
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

    error = catch(dataset.load) if act == "load" else catch(dataset.save, "rows")

    assert isinstance(error, DatasetError)
    assert find(error) is mistake


def test_a_mistake_is_found_when_another_error_came_up_while_it_was_handled() -> None:
    mistake = TableError("The table is damaged.")

    def clumsy() -> None:
        try:
            raise mistake
        except TableError:
            {}["missing"]

    assert find(catch(clumsy)) is mistake


def test_what_is_nobodys_mistake_is_not_found() -> None:
    assert find(ZeroDivisionError("division by zero")) is None
    assert find(catch(Refusing(OSError("disk full")).load)) is None


def test_a_refusal_inside_an_engines_task_arrives_as_the_sentence_that_it_was(spark: Any) -> None:
    def refuse(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            raise refusal("customers.csv isn't UTF-8 (byte 0xe9 in line 7): save it as UTF-8,\nthen run again.")
        yield from ()

    error = catch(spark.range(3).mapInArrow(refuse, "id long").collect)

    assert not isinstance(error, LakehouseError)
    cause = find(error)
    assert isinstance(cause, LandingError)
    assert cause.args[0] == "customers.csv isn't UTF-8 (byte 0xe9 in line 7): save it as UTF-8,\nthen run again."


def test_an_engines_own_error_is_nobodys_mistake(spark: Any) -> None:
    assert find(catch(spark.sql("SELECT raise_error('broken')").collect)) is None


def test_every_mistake_of_a_user_is_of_one_family() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]

    assert len(kinds) > 5
    assert all(issubclass(kind, LakehouseError) and kind.__doc__ for kind in kinds)


NAMES = {
    "plain ü 客 .csv": "plain ü 客 .csv",
    "a\nError: all is well": "a\\nError: all is well",
    "a\x1b[31mb\t\r": "a\\x1b[31mb\\t\\r",
    "a\x9b31m\u2028\u202e": "a\\u009b31m\\u2028\\u202e",
    os.fsdecode(b"kunden_\xfc.csv"): "kunden_\\xfc.csv",
    "wide\u00a0\u3000spaces": "wide\u00a0\u3000spaces",
}


@pytest.mark.parametrize(("name", "shown"), NAMES.items())
def test_a_name_stays_on_its_line_and_no_terminal_takes_it_for_a_command(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert str(LandingError(f"{name} is empty.")) == f"{shown} is empty."


@pytest.mark.parametrize("name", [*NAMES, "it's\n", "back\\slash\n", "$HOME `x`"])
def test_a_name_in_a_command_is_the_name_when_the_command_is_copied_into_a_shell(name: str) -> None:
    word = shell_word(name)
    assert "\n" not in word
    output = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], capture_output=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
    ).stdout
    assert os.fsdecode(output) == name
