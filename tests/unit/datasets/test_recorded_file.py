"""A file counts as made only with its stamp, appears whole, and an earlier batch never takes the newest one's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lakehouse_ml.datasets import recorded_file
from lakehouse_ml.datasets.handed_list import HandedList
from lakehouse_ml.datasets.html_page import HtmlPage
from lakehouse_ml.datasets.json_file import JsonFile
from lakehouse_ml.datasets.recorded_file import RecordedFile
from lakehouse_ml.storage import provenance
from lakehouse_ml.storage.provenance import Provenance
from lakehouse_ml.storage.writes import Edition


def save(file: RecordedFile, content: Any, fingerprint: str) -> None:
    with provenance.attach_provenance(Provenance("node", {}, fingerprint)):
        file.save(content)


@pytest.fixture
def drift(tmp_path: Path) -> JsonFile:
    return JsonFile(filepath=str(tmp_path / "drift.json"))


def test_a_file_holds_the_fingerprint_that_it_was_saved_with_and_no_other(drift: JsonFile) -> None:
    assert not drift.has_fingerprint("a")
    save(drift, {"status": "stable"}, "a")
    assert (drift.has_fingerprint("a"), drift.has_fingerprint("b")) == (True, False)
    save(drift, {"status": "drift"}, "b")
    assert (drift.has_fingerprint("a"), drift.has_fingerprint("b")) == (False, True)
    assert drift.load() == {"status": "drift"}


@pytest.mark.parametrize("removed_name", ["drift.json", ".drift.json.fingerprint"])
def test_a_file_without_its_stamp_and_a_stamp_without_its_file_do_not_count(
    drift: JsonFile, tmp_path: Path, removed_name: str
) -> None:
    save(drift, {}, "a")
    (tmp_path / removed_name).unlink()
    assert not drift.has_fingerprint("a")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"batch": 1}'])
def test_a_damaged_stamp_does_not_count(drift: JsonFile, tmp_path: Path, text: str) -> None:
    save(drift, {}, "a")
    (tmp_path / ".drift.json.fingerprint").write_text(text, encoding="utf-8")
    assert not drift.has_fingerprint("a")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(Exception, match="directory") as failure:
        save(HtmlPage(filepath=str(tmp_path / "report.html")), "<p>New</p>", "b")
    assert str(tmp_path / "report.html") in str(failure.value)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_file_about_an_earlier_batch_has_a_name_of_its_own(drift: JsonFile, tmp_path: Path) -> None:
    save(drift, Edition({"batch": "2024-12-31"}, "2024-12-31"), "a")
    save(drift, Edition({"batch": "2024-11-30"}, "2024-11-30", is_newest=False), "b")

    assert drift.load() == {"batch": "2024-12-31"}
    assert (drift.has_fingerprint("a"), drift.has_fingerprint("b")) == (True, True)
    assert drift.address_of("2024-12-31") == str(tmp_path / "drift.json")
    assert drift.address_of("2024-11-30") == str(tmp_path / "drift_2024-11-30.json")
    assert drift.address_of(None) == str(tmp_path / "drift.json")


def test_files_about_a_batch_are_removed_with_their_stamps(drift: JsonFile, tmp_path: Path) -> None:
    save(drift, Edition({}, "2024-12-31"), "a")
    save(drift, Edition({}, "2024-11-30", is_newest=False), "b")

    for address in drift.addresses_of({"2024-11-30"}):
        recorded_file.remove(address)

    assert sorted(path.name for path in tmp_path.iterdir()) == [".drift.json.fingerprint", "drift.json"]


def test_files_with_similar_names_are_not_taken_for_editions(drift: JsonFile, tmp_path: Path) -> None:
    other = JsonFile(filepath=str(tmp_path / "drift_old.json"))
    save(other, {}, "a")
    assert not drift.has_fingerprint("a")


def test_each_kind_of_file_previews_its_content(tmp_path: Path) -> None:
    import pandas as pd

    actions = HandedList(filepath=str(tmp_path / "actions.csv"))
    actions.save(pd.DataFrame({"id": ["=1"], "n": [1]}))
    drift = JsonFile(filepath=str(tmp_path / "drift.json"))
    drift.save({"status": "stable"})

    assert actions.preview() == {"index": [0], "columns": ["id", "n"], "data": [["'=1", 1]]}
    assert '"status": "stable"' in drift.preview()
