"""What of a landing folder is read: new and corrected files, each content once, one folder a lake."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse_ml.errors import LandingError
from lakehouse_ml.storage.landing import Landing, LandingFile, Selection, check_content, select_files

FOLDER = "/data/drop"


def landing(
    files: dict[str, str],
    recorded: dict[str, str] | None = None,
    recorded_address: str | None = FOLDER,
    *,
    rows: bool = True,
) -> Landing:
    """A folder with `files` (name: hash), where the manifest has `recorded`; `rows`: whether the files have rows."""
    landed = tuple(LandingFile(name, f"{FOLDER}/{name}", sha256, has_rows=rows) for name, sha256 in files.items())
    return Landing(
        FOLDER, "csv", ",", landed, recorded or {}, recorded_address if recorded else None, manifest_address=FOLDER
    )


def check(folder: Landing) -> list[str]:
    """What is said of content that stands there more than once; a name's first ten letters may be a day."""

    def day(name: str) -> date:
        return date.fromisoformat(name[:10]) if name[:4].isdigit() else date(2024, 12, 31)

    return check_content(folder, select_files(folder), day, date(2025, 6, 1))


def test_in_an_empty_lake_every_file_is_new() -> None:
    selection = select_files(landing({"a.csv": "1", "b.csv": "2"}))
    assert selection.names == ("a.csv", "b.csv")
    assert selection.missing_names == ()


def test_a_file_that_was_read_is_not_read_again() -> None:
    assert select_files(landing({"a.csv": "1", "b.csv": "2"}, {"a.csv": "1"})).names == ("b.csv",)


def test_a_corrected_file_is_read_again() -> None:
    assert select_files(landing({"a.csv": "1 corrected"}, {"a.csv": "1"})).names == ("a.csv",)


def test_a_file_that_went_away_is_told_and_nothing_is_read() -> None:
    recorded = {"b.csv": "2", "a.csv": "1", "c.csv": "3"}
    assert select_files(landing({"c.csv": "3"}, recorded)) == Selection((), ("a.csv", "b.csv"))


def test_the_same_content_under_a_new_name_is_refused_by_both_names() -> None:
    with pytest.raises(LandingError, match=r"copy\.csv in /data/drop has the same content as a\.csv.*Remove one"):
        check(landing({"a.csv": "1", "copy.csv": "1"}, {"a.csv": "1"}))


def test_two_new_files_of_one_content_are_refused() -> None:
    with pytest.raises(LandingError, match=r"b\.csv in /data/drop has the same content as a\.csv"):
        check(landing({"a.csv": "1", "b.csv": "1"}))


def test_a_renamed_file_is_refused_as_its_rows_are_in_the_lake_already() -> None:
    with pytest.raises(LandingError, match=r"renamed\.csv in /data/drop has the same content as a\.csv"):
        check(landing({"renamed.csv": "1"}, {"a.csv": "1"}))


@pytest.mark.parametrize("recorded", [{}, {"2025-01-31.csv": "1"}])
def test_the_same_rows_of_another_day_are_other_rows_and_a_word_says_that_they_are_the_same(
    recorded: dict[str, str],
) -> None:
    folder = landing({"2025-01-31.csv": "1", "2025-02-28.csv": "1"}, recorded)
    (warning,) = check(folder)
    assert warning.startswith("2025-02-28.csv in /data/drop has the same content as 2025-01-31.csv, of another day")
    assert warning.endswith("kedro withdraw file 2025-01-31.csv")
    assert (
        check(landing({"2025-01-31.csv": "1", "2025-02-28.csv": "1"}, {file.name: "1" for file in folder.files})) == []
    )


def test_the_same_rows_of_another_day_are_read_though_the_first_file_was_put_away() -> None:
    assert len(check(landing({"2025-02-28.csv": "1"}, {"2025-01-31.csv": "1"}))) == 1


def test_a_file_whose_future_day_was_corrected_is_refused_until_its_rows_are_withdrawn() -> None:
    with pytest.raises(LandingError, match=r"kedro withdraw file 2052-01-31\.csv"):
        check(landing({"2025-02-28.csv": "1"}, {"2052-01-31.csv": "1"}))


def test_files_without_rows_never_count_twice() -> None:
    assert check(landing({"a.csv": "1", "b.csv": "1", "2025-01-31.csv": "1"}, rows=False)) == []
    assert check(landing({"b.csv": "1"}, {"a.csv": "1"}, rows=False)) == []


def test_a_lake_with_rows_of_another_folder_is_refused_and_a_lake_of_its_own_is_proposed() -> None:
    other = landing({"a.csv": "1"}, {"generated.csv": "0"}, recorded_address="/data/landing/churn")
    with pytest.raises(LandingError, match=r"rows from /data/landing/churn.*LANDING=/data/drop LAKE="):
        select_files(other)


def test_a_lake_with_books_but_without_rows_takes_any_folder() -> None:
    assert select_files(landing({"a.csv": "1"}, {}, recorded_address=None)).names == ("a.csv",)


names = st.text("abcdef", min_size=1, max_size=3)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(names_here=st.lists(names, unique=True, max_size=6), recorded=st.dictionaries(names, st.booleans(), max_size=6))
def test_every_name_is_read_known_or_vanished_and_after_reading_nothing_is_left(
    names_here: list[str], recorded: dict[str, bool]
) -> None:
    files = {name: f"content of {name}" for name in names_here}
    hashes = {name: f"content of {name}" if same else f"old content of {name}" for name, same in recorded.items()}
    selection = select_files(landing(files, hashes))
    assert set(selection.names) == {name for name in names_here if hashes.get(name) != files[name]}
    assert set(selection.missing_names) == set(hashes) - set(files)
    again = select_files(landing(files, hashes | {file.name: file.sha256 for file in selection.files}))
    assert again == Selection((), selection.missing_names)


def test_files_that_swapped_their_contents_or_took_over_an_old_one_are_corrected_files() -> None:
    recorded = {"jan.csv": "1", "feb.csv": "2"}
    assert select_files(landing({"jan.csv": "2", "feb.csv": "1"}, recorded)).names == ("jan.csv", "feb.csv")
    assert select_files(landing({"jan.csv": "3", "feb.csv": "1"}, recorded)).names == ("jan.csv", "feb.csv")


def test_of_two_files_with_one_content_the_known_one_is_the_original_whatever_its_name() -> None:
    with pytest.raises(LandingError, match=r"0\.csv in /data/drop has the same content as a\.csv"):
        check(landing({"0.csv": "1", "a.csv": "1"}, {"a.csv": "1"}))
