"""`kedro withdraw`: a file or a batch is taken back, and the next run gives what a lake holds that never saw it."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from checkouts import QUICK_SEARCH
from click.testing import CliRunner, Result
from deltalake import DeltaTable

from lakehouse_ml.cli.commands import cli
from lakehouse_ml.datasets.delta_table import DeltaTable as Stored
from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.runs import withdraw as withdrawing
from lakehouse_ml.runs.runner import UpToDateRunner
from lakehouse_ml.use_cases import USE_CASES
from lakehouse_ml.use_cases.churn.synthetic import months, write_months

PROJECT = Path(__file__).resolve().parents[2]
DAYS = ("2024-01-31", "2024-02-29", "2024-03-31")
OUTCOMES = f"outcomes/outcomes_{DAYS[1]}_simulated.csv"
RIGHT, WRONG = f"customers_{DAYS[2]}_simulated.csv", "customers_2052-01-31.csv"
N = 1_200
# Times of a run, and what differs between two fits of the same model.
VOLATILE = {"ingested_at", "scored_at", "judged_at", "made_of", "fit_seconds", "sha256"}
BY_BATCH = ("score_customers", "score_actions", "metrics_drift", "verdict_drift", "outcome_customers", "metrics_live")
LIST, DRIFT, REPORT = (
    "07_model_output/churn/actions.csv",
    "08_reporting/churn/drift.json",
    "08_reporting/churn/report.html",
)


@dataclass(frozen=True)
class Place:
    """A landing folder, a lake and a conf."""

    landing: Path
    lake: Path
    conf: Path

    def run(self, *stages: str, use_case: str = "churn", **params: Any) -> list[str]:
        """The nodes that ran, those that were up to date left out."""
        from kedro.framework.project import settings

        runner = UpToDateRunner()
        runtime_params = {"lake": str(self.lake), "landing": str(self.landing), **params}
        with settings.SESSION_CLASS.create(
            PROJECT, runtime_params=runtime_params, conf_source=str(self.conf)
        ) as session:
            session.run(pipeline_names=list(stages), namespaces=[use_case], runner=runner)
        return [name.rpartition(".")[2] for name in runner.seconds]

    def withdraw(self, kind: str, what: str, *options: str, answer: str = "y\n") -> Result:
        return CliRunner().invoke(cli, ["withdraw", kind, what, "--lake", str(self.lake), *options], input=answer)

    def removed(self, kind: str, what: str) -> str:
        result = self.withdraw(kind, what, "--yes")
        assert (result.exit_code, "Traceback" in result.output) == (0, False), (result.output, result.exception)
        return result.output

    def table(self, name: str, use_case: str = "churn") -> DeltaTable:
        (folder,) = self.lake.glob(f"*/{use_case}/{name}")
        return DeltaTable(folder)

    def frame(self, name: str) -> pd.DataFrame:
        return self.table(name).to_pandas()

    def commits(self, name: str) -> list[dict[str, Any]]:
        """What each commit says of itself, newest first."""
        return [json.loads(commit["userMetadata"]) for commit in self.table(name).history()]

    def versions(self) -> dict[str, int]:
        return {log.parent.name: DeltaTable(log.parent).version() for log in self.lake.glob("*/*/*/_delta_log")}

    def content(self) -> dict[str, list[str]]:
        """The rows of every table as sorted text, without times."""
        return {log.parent.name: rows_of(DeltaTable(log.parent)) for log in self.lake.glob("*/*/*/_delta_log")}

    def text(self, file: str) -> str:
        return (self.lake / file).read_text(encoding="utf-8")


def rows_of(table: DeltaTable) -> list[str]:
    rows = table.to_pandas()
    rows = rows[sorted(set(rows.columns) - VOLATILE)].round(9)  # what isn't a column of numbers stays as it is
    objects = rows.select_dtypes("object").map(lambda value: round(value, 9) if is_float(value) else value)
    rows[objects.columns] = objects
    return sorted(json.dumps(row, default=str, sort_keys=True) for row in rows.to_dict("records"))


def is_float(value: object) -> bool:
    return isinstance(value, float)


def differences(one: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


@pytest.fixture(scope="module")
def project() -> Iterator[None]:
    import mlflow
    from kedro.framework.startup import bootstrap_project

    tracked_before = mlflow.get_tracking_uri()
    bootstrap_project(PROJECT)
    yield
    mlflow.set_tracking_uri(tracked_before)


# --- a lake without a model: tables by hand, and the first two stages


def by_hand(lake: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    layers = {"manifest": "01_raw", "raw": "01_raw", "clean": "03_primary", "score": "07_model_output"}
    for name, rows in tables.items():
        use_case, _, table = name.partition(".")
        Stored(filepath=str(lake / layers[table.split("_")[0]] / use_case / table), frame="pandas").save(rows)


def manifest(*files: str, landing: str = "/nowhere/landing") -> pd.DataFrame:
    return pd.DataFrame({"source_file": files, "file_sha256": files, "landing": landing})


def raw(*files: str, day: str = DAYS[0]) -> pd.DataFrame:
    rows = {"customer_id": list(files), "snapshot_on": date.fromisoformat(day), "source_file": list(files)}
    return pd.DataFrame(rows)


def scored(*customers: str, day: str = DAYS[0]) -> pd.DataFrame:
    return pd.DataFrame({"customer_id": customers, "snapshot_on": date.fromisoformat(day), "batch": day})


@pytest.fixture
def catalog(project: None, spark: Any, tmp_path: Path) -> Callable[..., Any]:
    """Build the catalog of a lake with these tables, without a tracking store."""
    from kedro.framework.project import settings
    from kedro.io import DataCatalog

    def of_tables(**tables: pd.DataFrame) -> Any:
        by_hand(tmp_path / "lake", {name.replace("__", "."): rows for name, rows in tables.items()})
        loader = settings.CONFIG_LOADER_CLASS(
            str(PROJECT / "conf"),
            env="local",
            runtime_params={"lake": str(tmp_path / "lake")},
            **settings.CONFIG_LOADER_ARGS,
        )
        return DataCatalog.from_config(loader["catalog"])

    return of_tables


def stored(catalog: Any, name: str) -> list[str]:
    rows = catalog.get(name).load()
    rows = rows.toPandas() if hasattr(rows, "sparkSession") else rows
    return sorted(rows["source_file"])


def test_a_file_name_with_blanks_quotes_and_umlauts_is_one_name(catalog: Callable[..., Any]) -> None:
    name, other_name = "März 'neu' \"x\" %20 \\.csv", "März neu.csv"
    spelled = unicodedata.normalize("NFD", name)  # as macOS writes it
    datasets = catalog(
        churn__manifest_customers=manifest(spelled, other_name), churn__raw_customers=raw(spelled, other_name)
    )

    plan = withdrawing.plan_file(datasets, USE_CASES, name)
    withdrawing.carry_out(datasets, plan)

    assert [one.n_rows for one in plan.removals] == [1, 1]
    assert stored(datasets, "churn.raw_customers") == stored(datasets, "churn.manifest_customers") == [other_name]


def test_rows_that_an_interrupted_run_left_without_an_entry_in_the_manifest_are_found(
    catalog: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "landing").mkdir()
    entries = manifest("known.csv", landing=str(tmp_path / "landing"))
    datasets = catalog(churn__manifest_customers=entries, churn__raw_customers=raw("known.csv", "left.csv"))

    with pytest.raises(LakehouseError, match=r"It has the files known\.csv, left\.csv\."):
        withdrawing.plan_file(datasets, USE_CASES, "other.csv")
    (tmp_path / "landing" / "left.csv").touch()
    with pytest.raises(LakehouseError, match=r"left\.csv is still in the landing folder"):
        withdrawing.plan_file(datasets, USE_CASES, "left.csv")
    (tmp_path / "landing" / "left.csv").unlink()
    withdrawing.carry_out(datasets, withdrawing.plan_file(datasets, USE_CASES, "left.csv"))

    assert stored(datasets, "churn.raw_customers") == ["known.csv"]


def test_a_file_or_a_batch_of_two_use_cases_is_refused_until_one_is_chosen(catalog: Callable[..., Any]) -> None:
    machines = pd.DataFrame({"machine_id": [1], "predicted_at": [datetime(2024, 1, 31, tzinfo=UTC)], "batch": DAYS[0]})
    datasets = catalog(
        churn__manifest_customers=manifest("a.csv"),
        predictive_maintenance__manifest_errors=manifest("a.csv"),
        churn__score_customers=scored("1"),
        predictive_maintenance__score_machines=machines,
    )
    for plan, what in ((withdrawing.plan_file, "a.csv"), (withdrawing.plan_batch, DAYS[0])):
        with pytest.raises(LakehouseError, match=r"by churn, predictive_maintenance: choose one .* --use-case\."):
            plan(datasets, USE_CASES, what)
        assert plan(datasets, USE_CASES[:1], what).use_case == "churn"


def test_telemetry_of_a_day_takes_the_scores_of_that_day_and_failures_take_none(catalog: Callable[..., Any]) -> None:
    # A day's file may be named after another day: what counts is when the rows were measured.
    at = [datetime(2024, 1, 30, 6, tzinfo=UTC), datetime(2024, 1, 31, 6, tzinfo=UTC)]
    files = ["telemetry/telemetry_2024-01-30.csv", "telemetry/telemetry_2052-01-31.csv"]
    rows = pd.DataFrame({"machine_id": [1, 1], "snapshot_on": date(2052, 1, 31), "source_file": files})
    datasets = catalog(
        predictive_maintenance__manifest_telemetry=manifest(*files),
        predictive_maintenance__raw_telemetry=rows.assign(observed_at=at),
        predictive_maintenance__raw_failures=rows.assign(failed_at=at, source_file="failures.csv"),
        predictive_maintenance__score_machines=pd.DataFrame(
            {"machine_id": [1, 1], "predicted_at": at, "batch": ["2024-01-30", "2024-01-31"]}
        ),
    )
    plan = withdrawing.plan_file(datasets, USE_CASES, files[1])
    assert {one.value for one in plan.removals if one.column == "batch"} == {"2024-01-31"}
    plan = withdrawing.plan_file(datasets, USE_CASES, files[0])
    assert {one.value for one in plan.removals if one.column == "batch"} == {"2024-01-30"}
    assert any("Scores of later days stay (2024-01-31)" in note for note in plan.notes)
    plan = withdrawing.plan_file(datasets, USE_CASES, "failures.csv")
    assert [one.dataset for one in plan.removals] == ["predictive_maintenance.raw_failures"]


def test_the_plan_is_a_table_of_rows_and_files(catalog: Callable[..., Any]) -> None:
    datasets = catalog(
        churn__manifest_customers=manifest("a.csv"),
        churn__raw_customers=raw("a.csv"),
        churn__score_customers=scored("a.csv", *map(str, range(1_499))),
    )
    assert withdrawing.plan_file(datasets, USE_CASES, "a.csv").lines == [
        "Withdraw the file a.csv of churn. To be removed:",
        "  churn.score_customers     1,500 rows of batch 2024-01-31",
        "  churn.raw_customers           1 row",
        "  churn.manifest_customers      1 row",
        "The landing folder /nowhere/landing is not reachable: if a.csv is still there, a run reads it again.",
        "The next run builds features, labels and everything after them again, from the remaining rows.",
    ]


def test_without_a_lake_none_is_created(project: None, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").touch()
    for name in ("folder", "nowhere", "folder/notes.txt"):
        result = Place(tmp_path, tmp_path / name, PROJECT / "conf").withdraw("file", RIGHT, "--yes")
        assert (result.exit_code, result.output) == (
            1,
            f"Error: No lake found in {tmp_path / name}. Run all stages first, or name the folder of a lake.\n",
        )
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "notes.txt"]


def test_a_lake_on_which_a_run_is_at_work_is_refused(project: None, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = Place(tmp_path, tmp_path, PROJECT / "conf").withdraw("file", RIGHT, "--yes")
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert result.output.startswith(f"Error: Another run is using the lake {tmp_path} (just started).")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--use-case", "Unknown use case x. Known: churn, predictive_maintenance."),
        ("--env", "There is no environment x"),
    ],
)
def test_an_unknown_use_case_or_environment_is_refused(
    project: None, tmp_path: Path, option: str, message: str
) -> None:
    result = Place(tmp_path, tmp_path / "lake", PROJECT / "conf").withdraw("file", RIGHT, option, "x")
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert result.output.startswith(f"Error: {message}")


def test_an_unknown_name_is_refused_with_the_known_ones_and_so_is_a_file_in_its_folder(
    catalog: Callable[..., Any], tmp_path: Path
) -> None:
    landing, files = tmp_path / "landing", [f"customers_{number:02d}.csv" for number in range(14)]
    landing.mkdir()
    (landing / files[0]).touch()
    datasets = catalog(
        churn__manifest_customers=manifest(*files, landing=str(landing)),
        churn__score_customers=pd.concat([scored("1"), scored("1", day=DAYS[1])]),
    )
    newest_names = ", ".join(files[-12:])
    for plan, what, message in (
        (
            withdrawing.plan_file,
            "other.csv",
            f"No file other.csv was read into this lake. It has the files {newest_names} and 2 more.",
        ),
        (
            withdrawing.plan_batch,
            "31.01.2024",
            f"No batch 31.01.2024 was scored in this lake. It has the batches {DAYS[0]}, {DAYS[1]}.",
        ),
        (
            withdrawing.plan_file,
            files[0],
            f"{files[0]} is still in the landing folder {landing}, and the next run "
            f"would read it again. Remove it from there or correct its name, then "
            f"repeat the command.",
        ),
    ):
        with pytest.raises(LakehouseError) as refused:
            plan(datasets, USE_CASES, what)
        assert str(refused.value) == message


@pytest.fixture(scope="module")
def ingested(project: None, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A lake after its first two stages, with refused and quarantined rows in each of its three files."""
    folder = tmp_path_factory.mktemp("ingested")
    lakehouse = Place(folder / "landing", folder / "lake", PROJECT / "conf")
    write_months(lakehouse.landing, count=3, n=60, seed=1)
    for day in DAYS:
        file = lakehouse.landing / f"customers_{day}_simulated.csv"
        lines = file.read_text(encoding="utf-8").splitlines()
        ragged, monthly = f"{lines[1]},more", lines[2].replace("Month-to-month", "Weekly").replace(" year", " weeks")
        file.write_text("\n".join([lines[0], ragged, monthly, *lines[3:]]) + "\n", encoding="utf-8")
    lakehouse.run("data_ingestion", "data_quality")
    return lakehouse


@pytest.mark.slow
def test_no_is_an_answer_and_a_file_that_comes_back_is_read_again(ingested: Place, tmp_path: Path) -> None:
    """The folder is then as it was, and yet the file has to be parsed: nothing of it is skipped."""
    lakehouse = Place(ingested.landing, Path(shutil.copytree(ingested.lake, tmp_path / "lake")), ingested.conf)
    content_before, versions = lakehouse.content(), lakehouse.versions()
    (lakehouse.landing / RIGHT).rename(tmp_path / RIGHT)
    try:
        refused = lakehouse.withdraw("file", RIGHT, answer="n\n")
        assert (refused.exit_code, refused.output.splitlines()[-1]) == (1, "Nothing was removed.")
        assert lakehouse.versions() == versions
        lakehouse.removed("file", RIGHT)
        parts = ("raw", "quarantine_lines", "checked", "quarantine", "clean", "manifest")
        for part in parts:
            assert RIGHT not in set(lakehouse.frame(f"{part}_customers")["source_file"]), part
            assert len(lakehouse.frame(f"{part}_customers")) == len(content_before[f"{part}_customers"]) * 2 // 3, part
    finally:
        (tmp_path / RIGHT).rename(lakehouse.landing / RIGHT)
    ran = lakehouse.run("data_ingestion", "data_quality")
    assert {"parse_customers", "quarantine_customers", "release_customers"} <= set(ran)
    assert "check_outcomes" not in ran
    content_after = lakehouse.content()
    # Parsed rows are those of the files that were read last.
    assert differences(content_after, content_before) == ["parsed_customers"]
    assert lakehouse.run("data_ingestion", "data_quality") == []


# --- end to end


@pytest.fixture(scope="module")
def lived(project: None, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A lake with a champion and two batches, before the third month; the files of all months lie in `all`."""
    folder = tmp_path_factory.mktemp("withdraw")
    conf = Path(shutil.copytree(PROJECT / "conf", folder / "conf"))
    (conf / "local").mkdir(exist_ok=True)
    (conf / "local" / "parameters.yml").write_text(QUICK_SEARCH, encoding="utf-8")
    write_months(folder / "all", count=3, n=N, seed=1)
    lakehouse = Place(folder / "landing", folder / "lake", conf)
    for day in DAYS[:2]:
        land(lakehouse, f"customers_{day}_simulated.csv")
        lakehouse.run()
    return lakehouse


def land(lakehouse: Place, name: str, called: str | None = None) -> None:
    file = lakehouse.landing / (called or name)
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(lakehouse.landing.parent / "all" / name, file)


@pytest.fixture
def copy(lived: Place, tmp_path: Path) -> Iterator[Callable[[Place], Place]]:
    """Copies of lakes; the landing folder, whose name a lake keeps, is theirs in turn."""

    def copied(lakehouse: Place) -> Place:
        return replace(lakehouse, lake=Path(shutil.copytree(lakehouse.lake, tmp_path / lakehouse.lake.name)))

    with only_landed_meanwhile(lived.landing):
        yield copied


@contextmanager
def only_landed_meanwhile(landing: Path) -> Iterator[None]:
    """Remove, in the end, the files that were landed since."""
    files_before = set(landing.rglob("*.csv"))
    yield
    for path in set(landing.rglob("*.csv")) - files_before:
        path.unlink()


def grown(lived: Place, name: str, files: Mapping[str, str]) -> Place:
    """A copy of the lake without the third month that has read further files, each under another name."""
    lakehouse = replace(lived, lake=Path(shutil.copytree(lived.lake, lived.lake.with_name(name))))
    with only_landed_meanwhile(lived.landing):
        for file, called in files.items():
            land(lakehouse, file, called)
        lakehouse.run()
    return lakehouse


@pytest.fixture(scope="module")
def never(lived: Place) -> Place:
    """The third month under its right name, in a lake that never saw another one. No test changes it."""
    return grown(lived, "never", {RIGHT: RIGHT})


@dataclass(frozen=True)
class Reported:
    """A lake with its last run's warnings and summary."""

    lakehouse: Place
    warnings: list[str]
    summary: str


@pytest.fixture(scope="module")
def reported(lived: Place) -> Reported:
    """The third month under a wrong name, read."""
    warnings, summary = Warnings(logging.WARNING), io.StringIO()
    logging.getLogger("lakehouse_ml").addHandler(warnings)
    try:
        with redirect_stdout(summary):
            lakehouse = grown(lived, "late", {RIGHT: WRONG})
    finally:
        logging.getLogger("lakehouse_ml").removeHandler(warnings)
    return Reported(lakehouse, warnings.messages, summary.getvalue())


class Warnings(logging.Handler):
    """Keeps what was logged."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def late(reported: Reported, copy: Callable[[Place], Place]) -> Place:
    """That lake, for one test."""
    lakehouse = copy(reported.lakehouse)
    land(lakehouse, RIGHT, WRONG)
    return lakehouse


def as_if_never_seen(lakehouse: Place, never: Place) -> None:
    """The lakes hold the same, and a further run finds nothing to do."""
    assert differences(lakehouse.content(), never.content()) == []
    assert lakehouse.text(LIST) == never.text(LIST)
    assert lakehouse.text(DRIFT) == never.text(DRIFT)
    assert lakehouse.run() == []


@pytest.mark.slow
def test_a_file_of_a_wrong_day_is_reported_thrice_and_withdrawn_without_a_trace(
    late: Place, never: Place, reported: Reported
) -> None:
    lakehouse, warned = late, reported.warnings
    assert any(f"{WRONG} is dated 2052-01-31" in line and f"kedro withdraw file {WRONG}" in line for line in warned)
    assert "batch 2052-01-31 lies in the future" in reported.summary
    assert "2052-01-31</span> lies in the future" in lakehouse.text(REPORT)

    (lakehouse.landing / WRONG).rename(lakehouse.landing / RIGHT)
    with pytest.raises(click.ClickException) as refused:
        lakehouse.run()
    assert f"kedro withdraw file {WRONG}" in refused.value.message

    assert "churn.score_customers     1,200 rows of batch 2052-01-31" in lakehouse.removed("file", WRONG)
    assert not any((lakehouse.lake / file).exists() for file in (LIST, DRIFT, REPORT))
    lakehouse.run()

    as_if_never_seen(lakehouse, never)
    assert not any("2052-01-31" in row for rows in lakehouse.content().values() for row in rows)
    assert "2052-01-31" not in lakehouse.text(REPORT)
    assert set(pd.read_csv(lakehouse.lake / LIST)["batch"]) == {DAYS[2]}


@pytest.mark.slow
def test_commits_say_what_removed_their_rows_and_lineage_reads_it(late: Place) -> None:
    (late.landing / WRONG).unlink()
    late.removed("file", WRONG)
    for table in ("raw_customers", "manifest_customers", "checked_customers", "clean_customers"):
        newest = late.commits(table)[0]
        assert (newest["node"], newest["scope"]) == (f"withdraw the file {WRONG}", [WRONG])
        assert newest["git"]
    for table in ("score_customers", "score_actions", "metrics_drift", "verdict_drift"):
        newest = late.commits(table)[0]
        assert (newest["node"], newest["scope"]) == (f"withdraw the file {WRONG}", ["2052-01-31"])
    for typed in (["churn.raw_customers"], ["churn.score_customers"], ["churn.score_customers", "2052-01-31"]):
        result = CliRunner().invoke(cli, ["lineage", *typed, "--lake", str(late.lake)])
        assert (result.exit_code, result.exception) == (0, None)
        assert f"by withdraw the file {WRONG}" in result.output


@pytest.mark.slow
def test_after_each_interruption_the_same_command_completes(
    never: Place, late: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (late.landing / WRONG).unlink()
    save = Stored.save
    saves = 0

    def counted(table: Stored, data: Any, most: int) -> None:
        nonlocal saves
        if saves >= most:
            raise KeyboardInterrupt
        saves += 1
        save(table, data)

    uninterrupted = Place(late.landing, Path(shutil.copytree(late.lake, tmp_path / "uninterrupted")), late.conf)
    uninterrupted.removed("file", WRONG)
    content, commits, right_content = uninterrupted.content(), newest_commits(uninterrupted), never.content()
    interrupted = 0
    for most in range(20):
        lakehouse = Place(late.landing, Path(shutil.copytree(late.lake, tmp_path / f"after {most}")), late.conf)
        saves = 0
        with monkeypatch.context() as patched:
            patched.setattr(Stored, "save", lambda table, data, most=most: counted(table, data, most))
            result = lakehouse.withdraw("file", WRONG, "--yes")
        if result.exit_code == 0:
            break
        interrupted += 1
        run_between = most % 4 == 0
        if run_between:
            lakehouse.run()  # before the command is repeated: the rest of the lake is still consistent
            assert len(lakehouse.frame("raw_customers")) == len(lakehouse.frame("checked_customers"))
        lakehouse.removed("file", WRONG)
        if run_between:
            land(lakehouse, RIGHT)
            lakehouse.run()
            assert differences(lakehouse.content(), right_content) == [], most
            assert lakehouse.text(LIST) == never.text(LIST)
            (late.landing / RIGHT).unlink()
        else:
            # Results depend on the rows and on the provenance in the newest commits: both are the same.
            assert lakehouse.content() == content, most
            assert newest_commits(lakehouse) == commits, most
        shutil.rmtree(lakehouse.lake)
    assert interrupted == 9
    land(uninterrupted, RIGHT)
    uninterrupted.run()
    as_if_never_seen(uninterrupted, never)


def newest_commits(lakehouse: Place) -> dict[str, dict[str, Any]]:
    return {name: lakehouse.commits(name)[0] for name in lakehouse.versions()}


@pytest.fixture(scope="module")
def judged(lived: Place) -> Place:
    """Three batches, the second of which has outcomes."""
    return grown(lived, "judged", {RIGHT: RIGHT, OUTCOMES: OUTCOMES})


@pytest.fixture
def with_outcomes(judged: Place, copy: Callable[[Place], Place]) -> Place:
    """That lake, for one test."""
    lakehouse = copy(judged)
    land(lakehouse, RIGHT)
    land(lakehouse, OUTCOMES)
    return lakehouse


@pytest.mark.slow
def test_without_an_outcomes_file_labels_and_real_performance_follow_and_no_batch_is_lost(
    with_outcomes: Place, never: Place
) -> None:
    lakehouse = with_outcomes
    assert lakehouse.frame("metrics_live")["batch"].tolist() == [DAYS[1]]
    (lakehouse.landing / OUTCOMES).unlink()

    message = lakehouse.removed("file", OUTCOMES)
    assert f"was trained or judged on {N:,} rows of this file" in message
    assert "batch" not in message
    lakehouse.run()

    assert lakehouse.frame("metrics_live").empty
    assert lakehouse.frame("verdict_live").empty
    # Two more versions were trained; the champion is still the first one.
    of_models = ["digests", "metrics_holdout", "outcome_holdout", "verdict_model"]
    assert set(differences(lakehouse.content(), never.content())) <= set(of_models)
    assert set(lakehouse.frame("score_customers")["batch"]) == set(DAYS)
    assert lakehouse.text(LIST) == never.text(LIST)
    assert lakehouse.run() == []


def by_batch(lakehouse: Place, batches: set[str]) -> dict[str, list[str]]:
    tables = {name: lakehouse.frame(name).astype(str) for name in BY_BATCH}
    chosen = {name: rows[rows["batch"].isin(batches)] for name, rows in tables.items()}
    return {name: sorted(map(str, rows.to_dict("records"))) for name, rows in chosen.items()}


@pytest.mark.slow
def test_an_older_batch_goes_with_everything_derived_from_it_and_others_stay_to_the_byte(with_outcomes: Place) -> None:
    lakehouse, other_days = with_outcomes, {DAYS[0], DAYS[2]}
    other_rows, list_, day_rows = by_batch(lakehouse, other_days), lakehouse.text(LIST), by_batch(lakehouse, {DAYS[1]})
    assert all(day_rows.values())

    message = lakehouse.removed("batch", DAYS[1])

    assert f"To score {DAYS[1]} again, run with --params churn.batch_scoring.batch={DAYS[1]}" in message
    assert by_batch(lakehouse, {DAYS[1]}) == {name: [] for name in BY_BATCH}
    assert by_batch(lakehouse, other_days) == other_rows
    assert lakehouse.text(LIST) == list_
    assert "score_rows" not in lakehouse.run()
    assert by_batch(lakehouse, {*other_days, DAYS[1]}) == other_rows
    assert lakehouse.text(LIST) == list_
    assert lakehouse.frame("verdict_live").empty
    assert lakehouse.run() == []

    lakehouse.run(churn={"batch_scoring": {"batch": DAYS[1]}})
    assert {name: len(rows) for name, rows in by_batch(lakehouse, {DAYS[1]}).items()} == {
        name: len(rows) for name, rows in day_rows.items()
    }


@pytest.mark.slow
def test_the_newest_batch_goes_with_its_files_and_the_next_run_makes_it_again(with_outcomes: Place) -> None:
    lakehouse = with_outcomes
    content_before, files = lakehouse.content(), {file: lakehouse.text(file) for file in (LIST, DRIFT)}

    message = lakehouse.removed("batch", DAYS[2])

    assert "It is the newest day: the next run scores it again." in message
    assert by_batch(lakehouse, {DAYS[2]}) == {name: [] for name in BY_BATCH}
    assert not any((lakehouse.lake / file).exists() for file in (LIST, DRIFT, REPORT))
    assert "build_features" not in lakehouse.run()
    assert differences(lakehouse.content(), content_before) == []
    assert {file: lakehouse.text(file) for file in files} == files
    assert (lakehouse.lake / REPORT).exists()
    assert lakehouse.run() == []


@pytest.mark.slow
def test_a_batch_that_was_kept_when_its_outcomes_came_is_scored_again_too(with_outcomes: Place) -> None:
    lakehouse = with_outcomes
    *_, newest = months(3, N, 1)
    outcomes = pd.DataFrame({"customerID": newest.customers["customerID"], "Churn": newest.leaves})
    outcomes.to_csv(lakehouse.landing / "outcomes" / f"outcomes_{DAYS[2]}.csv", index=False)
    lakehouse.run()
    assert lakehouse.commits("score_customers")[0].get("nothing")

    lakehouse.removed("batch", DAYS[2])

    assert "score_rows" in lakehouse.run()
    assert (lakehouse.frame("score_customers")["batch"] == DAYS[2]).sum() == N
    assert lakehouse.run() == []


@pytest.mark.slow
def test_machines_lose_a_day_of_telemetry_and_the_next_run_scores_what_is_left(lived: Place, tmp_path: Path) -> None:
    from lakehouse_ml.use_cases.predictive_maintenance.synthetic import simulate, write

    name, telemetry = "predictive_maintenance", "telemetry/telemetry_2015-03-17_simulated.csv"
    lakehouse = Place(tmp_path / "landing", tmp_path / "lake", lived.conf)
    write(lakehouse.landing, simulate(24, 76, seed=1))
    (lakehouse.landing / telemetry).rename(tmp_path / "later.csv")
    lakehouse.run(use_case=name)
    content_before = lakehouse.content()
    (tmp_path / "later.csv").rename(lakehouse.landing / telemetry)
    # No other model is needed: a day more of telemetry is scored by the first.
    stages = ("data_ingestion", "data_quality", "feature_engineering", "batch_scoring", "monitoring")
    lakehouse.run(*stages, use_case=name)
    (lakehouse.landing / telemetry).unlink()

    message = lakehouse.removed("file", telemetry)
    assert "predictive_maintenance.score_machines       96 rows of batch 2015-03-17" in message
    lakehouse.run(use_case=name)

    of_models = {"digests", "metrics_holdout", "outcome_holdout", "verdict_model", "parsed_telemetry"}
    assert set(differences(lakehouse.content(), content_before)) <= of_models
    assert lakehouse.run(use_case=name) == []
