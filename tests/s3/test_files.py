"""Files in a bucket: listed, read and written as in a folder, and an error where they are missing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import deltalake
import fsspec
import pandas as pd
import pytest
from kedro.io import DatasetError
from stores import Store

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.datasets.handed_list import HandedList
from lakehouse_ml.datasets.html_page import HtmlPage
from lakehouse_ml.datasets.json_file import JsonFile
from lakehouse_ml.datasets.landing_files import LandingFiles
from lakehouse_ml.errors import LandingError, find
from lakehouse_ml.pipelines.data_ingestion.nodes import parse_files
from lakehouse_ml.runs.failures import explain
from lakehouse_ml.storage.landing import IngestionSpec
from lakehouse_ml.storage.retry import with_retries
from lakehouse_ml.storage.writes import ReplaceBatch
from lakehouse_ml.use_cases.churn import contracts
from lakehouse_ml.use_cases.churn.synthetic import write_csv

obstore = pytest.importorskip("obstore")


@pytest.fixture
def address(request: pytest.FixtureRequest, store: Store) -> str:
    return f"s3://{store.bucket}/{request.node.name}"


@pytest.fixture
def landed(address: str, tmp_path: Path) -> str:
    """A landing folder with one file of customers."""
    write_csv(tmp_path / "customers.csv", n=50, seed=1)
    obstore.put(obstore.store.from_url(address), "raw/customers.csv", tmp_path / "customers.csv")
    return f"{address}/raw"


def landing(folder: str, **how: Any) -> LandingFiles:
    return LandingFiles(filepath=folder, files="*.csv", manifest=f"{folder}-books", **how)


def parsed(spark: Any, files: LandingFiles) -> int:
    from datetime import UTC, datetime

    days = {"snapshot_pattern": r"_(\d{4}-\d\d-\d\d)", "snapshot_default": "2024-12-31"}
    spec = IngestionSpec.model_validate(days | {"missing_words": (), "tolerated_refused_share": 0.2})
    return parse_files(files.load(), datetime(2025, 1, 1, tzinfo=UTC), spec, contracts.landing_customers).count()


def test_a_landing_folder_is_listed_and_its_files_are_parsed(spark: Any, landed: str) -> None:
    files = landing(landed)
    assert [file.path for file in files.load().files] == [f"{landed}/customers.csv"]
    assert parsed(spark, files) == 50


def test_a_file_that_is_gone_when_it_is_read_is_an_error(spark: Any, landed: str) -> None:
    files = landing(landed)
    files.load()  # what was listed is what is read
    obstore.delete(obstore.store.from_url(landed), "customers.csv")
    with pytest.raises(Exception, match=r"customers\.csv") as caught:
        parsed(spark, files)
    assert isinstance(find(caught.value), LandingError)


def test_a_folder_that_is_missing_is_an_error_unless_it_may_be(spark: Any, address: str) -> None:
    with pytest.raises(DatasetError, match=f"No file named .+ in {address}/nothing"):
        landing(f"{address}/nothing").load()
    assert landing(f"{address}/nothing", optional=True).load().files == ()


def test_a_table_is_written_and_read_in_place(spark: Any, address: str) -> None:
    table = DeltaTable(filepath=f"{address}/numbers")
    for n in (1, 2):
        table.save(spark.createDataFrame([(n,)], "n long"))
        assert [row.n for row in table.load().collect()] == [n]


def test_a_table_without_one_of_its_files_is_an_error(spark: Any, address: str) -> None:
    table = DeltaTable(filepath=f"{address}/numbers", mode="append")
    for n in (1, 2):
        table.save(spark.createDataFrame([(n,)], "n long"))
    file = deltalake.DeltaTable(f"{address}/numbers").file_uris()[0]
    obstore.delete(obstore.store.from_url(address), file.removeprefix(f"{address}/"))
    with pytest.raises(Exception, match=r"[Nn]ot found|FILE_NOT_EXIST") as caught:
        table.load().collect()
    assert "damaged or gone" in str(explain(caught.value, address))


def test_a_table_without_its_first_commit_is_an_error(spark: Any, address: str) -> None:
    table = DeltaTable(filepath=f"{address}/numbers")
    for name in ("n", "m", "n"):
        table.save(pd.DataFrame({name: [1]}))  # each commit names its columns
    obstore.delete(obstore.store.from_url(f"{address}/numbers"), f"_delta_log/{0:020}.json")
    with pytest.raises(DatasetError, match="damaged and can't be read"):
        table.load()


def test_a_missing_table_is_an_error_and_a_missing_bucket_one_of_its_own(spark: Any, address: str) -> None:
    with pytest.raises(DatasetError, match="There is no table"):
        DeltaTable(filepath=f"{address}/nothing").load()
    with pytest.raises(Exception, match=r"NoSuchBucket|does not exist") as caught:
        DeltaTable(filepath="s3://nowhere/nothing").load()
    assert explain(caught.value, "s3://nowhere") == (
        "There is no bucket at s3://nowhere/nothing: name another address, or create it."
    )


def test_files_for_people_are_whole_and_what_was_there_stays_until_they_are(address: str) -> None:
    page = HtmlPage(filepath=f"{address}/page.html")
    page.save("<p>one</p>\n")
    with pytest.raises(DatasetError):
        page.save(3)  # type: ignore[arg-type]
    assert page.load() == "<p>one</p>\n"
    assert page.exists()
    assert not HtmlPage(filepath=f"{address}/other.html").exists()
    rows = pd.DataFrame({"rank": [1, 2], "who": ["a", "=b"]})
    actions, verdict = HandedList(filepath=f"{address}/actions.csv"), JsonFile(filepath=f"{address}/drift.json")
    actions.save(rows)
    verdict.save({"status": "stable"})
    assert actions.load()["who"].tolist() == ["a", "'=b"]
    assert verdict.load() == {"status": "stable"}
    assert actions.exists()
    assert verdict.exists()


def test_two_concurrent_appends_are_both_stored(address: str) -> None:
    def append(who: int) -> None:
        for n in range(6):
            DeltaTable(filepath=f"{address}/numbers", mode="append").save(pd.DataFrame({"who": [who], "n": [n]}))

    append(0)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(append, (1, 2)))
    stored = DeltaTable(filepath=f"{address}/numbers", frame="pandas").load()
    assert sorted(zip(stored["who"], stored["n"], strict=True)) == [(who, n) for who in range(3) for n in range(6)]


def test_one_of_two_writers_that_replace_a_batch_at_once_is_asked_to_run_again(address: str) -> None:
    def replace(who: int) -> str:
        rows = pd.DataFrame({"day": ["a"], "who": [who]})
        try:
            DeltaTable(filepath=f"{address}/days").save(ReplaceBatch(rows, "day", ("a",)))
        except DatasetError as error:
            return str(find(error))
        return "written"

    replace(0)
    for _ in range(10):
        with ThreadPoolExecutor(2) as pool:
            outcomes = sorted(pool.map(replace, (1, 2)))
        if outcomes != ["written", "written"]:
            break
    message, success = outcomes
    assert success == "written"
    assert f"{address}/days" in message
    assert "Run again" in message
    assert len(DeltaTable(filepath=f"{address}/days", frame="pandas").load()) == 1


@pytest.mark.parametrize("address", ["abfss://box@account.dfs.core.windows.net/lake", "gs://box/lake", "s3://box/lake"])
def test_other_stores_have_addresses_like_any_other(address: str) -> None:
    files, path = fsspec.core.url_to_fs(address)
    box, inside = files._split_path(path)
    assert inside == "lake"
    assert "box" in str(files._construct_store(box))


def test_objects_are_encrypted_by_the_stores_own_keys_if_conf_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("/aes256")
    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "AES256")
    DeltaTable(filepath="s3://aes256/numbers").save(pd.DataFrame({"n": [1, 2]}))
    HtmlPage(filepath="s3://aes256/page.html").save("<p>Here</p>")
    assert DeltaTable(filepath="s3://aes256/numbers", frame="pandas").load()["n"].tolist() == [1, 2]
    assert [path for path in store.request_counts() if path.startswith("unencrypted /aes256")] == []


def test_a_refusal_by_policy_is_reported_with_the_way_out(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SERVER_SIDE_ENCRYPTION")
    with pytest.raises(Exception, match=r"AccessDenied") as caught:
        DeltaTable(filepath=f"{address}/numbers").save(pd.DataFrame({"n": [1]}))
    message = str(explain(caught.value, address))
    assert message.startswith("The store refuses ")
    assert "AWS_ACCESS_KEY_ID" in message


def test_work_is_done_again_where_the_store_broke_off_and_not_where_it_refused() -> None:
    def fail_with(*errors: str) -> Callable[[], int]:
        pending = list(errors)

        def work() -> int:
            calls.append(len(pending))
            if pending:
                raise OSError(pending.pop())
            return len(calls)

        return work

    calls: list[int] = []
    assert with_retries(fail_with("Generic S3 error: response body error")) == 2
    for refusal in ("Generic S3 error: 403 Forbidden", "Generic S3 error: NoSuchBucket", "a mistake of ours"):
        calls.clear()
        with pytest.raises(OSError, match=refusal):
            with_retries(fail_with(refusal))
        assert calls == [1]


def test_only_tables_are_read_by_an_engines_own_reader() -> None:
    # Sail reads a file that isn't there as no rows, if it is asked for a CSV or Parquet file at s3://.
    sources = Path(__file__).resolve().parents[2] / "src"
    for path in sources.rglob("*.py"):
        for reader in (".read.csv", ".read.parquet", ".read.json", ".read.text", ".read.load", ".readStream"):
            assert reader not in path.read_text(encoding="utf-8"), path
        read_lines = [line for line in path.read_text(encoding="utf-8").splitlines() if ".read.format(" in line]
        assert all('.read.format("delta")' in line for line in read_lines), path
