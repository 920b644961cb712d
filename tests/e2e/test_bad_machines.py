"""What becomes of bad files of a plant, and of conf that doesn't fit them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bad_input import PROJECT, Case, Place

from warm import warm

pytestmark = pytest.mark.slow

TITLE = "Files and conf of machines"
USE_CASE = "predictive_maintenance"
START = datetime(2024, 1, 1, tzinfo=UTC)
HEADERS = {
    "telemetry": "datetime,machineID,volt,rotate,pressure,vibration", "errors": "datetime,machineID,errorID",
    "maintenance": "datetime,machineID,comp", "failures": "datetime,machineID,failure",
    "machines": "machineID,model,age",
}  # fmt: skip
Row = dict[str, Any]
TO_FEATURES = ("data_ingestion", "data_quality", "feature_engineering")


def hour(n: int) -> str:
    return f"{START + timedelta(hours=n):%Y-%m-%d %H:%M:%S}"


def readings(machine: int, n: int = 48, volt: str = "") -> list[str]:
    """Hourly telemetry of a machine whose sensors move, with this voltage."""
    return [f"{hour(i)},{machine},{volt or 170 + i % 7},{450 + i % 5},{100 + i % 3},{40 + i % 9}" for i in range(n)]


def put(landing: Path, **tables: Sequence[str]) -> None:
    """Files of a landing folder: lines below the header of the table that a file's name begins with."""
    landing.mkdir(parents=True, exist_ok=True)
    for name, lines in tables.items():
        text = "\n".join([HEADERS[name.split("_")[0]], *lines]) + "\n"
        (landing / f"{name}.csv").write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Ends(Case):
    """Lines with which a run ends well.

    Attributes:
        lines: By file; `{m}` stands for the case's own machine.
        kept: Clean rows of that machine, by table.
        check: What else holds of the place and the machine.
    """

    lines: dict[str, Sequence[str]]
    kept: dict[str, int]
    check: Callable[[Place, int], None] = field(default=lambda _, __: None)

    @property
    def machine(self) -> int:
        """One of its own."""
        return 11 + ENDS.index(self)


def at(column: str, table: str, *moments: datetime) -> Callable[[Place, int], None]:
    """A check that the machine's rows have these moments."""

    def check(place: Place, machine: int) -> None:
        assert sorted(row[column] for row in of(place, f"clean_{table}", machine)) == sorted(moments)

    return check


def quarantined(table: str, rule: str, n: int = 1) -> Callable[[Place, int], None]:
    """A check that so many of the machine's rows are quarantined by a rule."""

    def check(place: Place, machine: int) -> None:
        out = of(place, f"quarantine_{table}", machine)
        assert [row["quarantine_reasons"] for row in out] == [[rule]] * n

    return check


def warned(rule: str) -> Callable[[Place, int], None]:
    """A check that a rule has counted rows and let them pass."""

    def check(place: Place, _: int) -> None:
        (rule_row,) = [row for row in place.rows("metrics_rules_telemetry") if row["rule"] == rule]
        assert rule_row["n_failed"] > 0
        assert rule_row["outcome"] == "warned"

    return check


def described(**columns: Any) -> Callable[[Place, int], None]:
    """A check that the machine has a feature row at the end of each 3 hours, the last with these values."""

    def check(place: Place, machine: int) -> None:
        rows = sorted(of(place, "feature_machines", machine), key=lambda row: row["predicted_at"])
        assert len(rows) > 8
        assert {name: rows[10][name] for name in columns} == columns

    return check


def of(place: Place, table: str, machine: int) -> list[Row]:
    return [row for row in place.rows(table) if row["machine_id"] == machine]


ENDS = [
    Ends("times with an offset, 2024-01-01T06:00:00+02:00 or …Z", "They are converted to the same instant in UTC.",
         {"errors": ["2024-01-01T06:00:00+02:00,{m},error1", "2024-01-01T06:00:00Z,{m},error1"]}, {"errors": 2},
         at("logged_at", "errors", START + timedelta(hours=4), START + timedelta(hours=6))),
    Ends("a local time in the hour that daylight saving skips, 2024-03-31 02:30:00 without an offset",
         "A time without an offset is UTC, which skips no hour: it is kept unchanged.",
         {"errors": ["2024-03-31 02:30:00,{m},error1"]}, {"errors": 1},
         at("logged_at", "errors", datetime(2024, 3, 31, 2, 30, tzinfo=UTC))),
    Ends("an invalid time", "The row is refused; its fields are kept as JSON, the time as text.",
         {"errors": ["2024-13-01 02:30:00,{m},error1"]}, {"errors": 0}),
    Ends("unsorted telemetry, in two files that overlap",
         "The order has no effect; of two rows of one hour the last is kept, the other is quarantined as "
         "`duplicate_key`.",
         {"telemetry": readings(0)[::-1], "telemetry_more": readings(0, 10)}, {"telemetry": 48},
         quarantined("telemetry", "duplicate_key", 10)),
    Ends("a machine without events", "It has a row at each prediction time; its windows are null.",
         {}, {}, described(volt_mean_24h=None, error1_count_24h=0, days_since_comp1=None)),
    Ends("a sensor that is stuck for more than a day", "Its rows are kept; the rule volt_moves warns about them.",
         {"telemetry": readings(0, volt="171.5")}, {"telemetry": 48}, warned("volt_moves")),
    Ends("a sensor without values", "Its rows are kept, and its windows are blank; it counts as implausible in the "
         "warning of volt_is_plausible.", {"telemetry": readings(0, volt=" ")}, {"telemetry": 48},
         described(volt_mean_24h=None, volt_sd_24h=None)),
    Ends("a kind of error that is not in conf", "Quarantined by error_is_known.",
         {"errors": [f"{hour(5)},{{m}},error9"]}, {"errors": 0}, quarantined("errors", "error_is_known")),
    Ends("a replaced component that is not in conf", "Quarantined by component_is_known.",
         {"maintenance": [f"{hour(5)},{{m}},comp9"]}, {"maintenance": 0},
         quarantined("maintenance", "component_is_known")),
    Ends("events in the future", "Quarantined by time_is_past: they change no prediction time and no label.",
         {"failures": ["2999-01-01 06:00:00,{m},comp1"], "errors": ["2999-01-01 06:00:00,{m},error1"]},
         {"failures": 0, "errors": 0}, quarantined("failures", "time_is_past")),
    Ends("times that are placeholders, 1900-01-01 or 1970-01-01", "Quarantined by time_is_no_placeholder: predictions "
         "don't begin with them.",
         {"telemetry": ["1900-01-01 00:00:00,{m},170,450,100,40", *readings(0)],
          "failures": ["1970-01-01 00:00:00,{m},comp1"]},
         {"telemetry": 48, "failures": 0}, quarantined("telemetry", "time_is_no_placeholder")),
]  # fmt: skip
UNKNOWN = Case("a failure of an unknown machine", "Quarantined by machine_is_known.")
WIDE = Case("a window that is longer than the history", "It describes the existing rows.")
UNFIT = Case(
    "a failure of a component that is not in conf",
    "The rows are recorded and quarantined; what was clean before stays as it was.",
    sentence="failures: rule component_is_known (component in ('comp1', 'comp2', 'comp3', 'comp4')) is broken by 1 of "
    "2 rows (…",
)
NO_TELEMETRY = Case(
    "no telemetry, and conf says `telemetry: true`",
    "The other tables are cleaned; no features are built.",
    sentence="There is no telemetry to make features of: the table is missing or empty. Land telemetry, or set "
    "`telemetry: false` among the features of predictive_maintenance in conf.",
)
NO_FAILURE = Case(
    "machines that never failed",
    "Its features are built; no model is trained.",
    sentence="The train part (known by …) has 0 rows with label 1; at least 5 are needed. Land more labelled rows, "
    "move calibrate_from and test_from, or lower min_per_class in conf.",
)
TIMES = {
    "a split whose calibration starts before the data": (
        {"calibrate_from": "2020-01-01"},
        "The calibration part can't begin on 2020-01-01: labelled rows go from … Set calibrate_from in conf to a day "
        "between, or land more rows.",
    ),
    "a split whose hold-out starts after the data": (
        {"test_from": "2030-01-01"},
        "The holdout part can't begin on 2030-01-01: labelled rows go from … Set test_from in conf to a day between, "
        "or land more rows.",
    ),
    "a split whose days are out of order": (
        {"calibrate_from": "2024-01-10", "test_from": "2024-01-05"},
        "The calibration part can't begin on 2024-01-10: it must begin before the holdout part, on 2024-01-05; …",
    ),
}
SPLITS = [Case(name, "No model is trained.", sentence=message) for name, (_, message) in TIMES.items()]
PARAMS = {
    "a horizon of 0 hours": (
        "features.horizon_hours=0", "…features.horizon_hours can't be 0: value error, 0 hours hold no event; take at …"
    ),
    "a batch and a range of days at once": (
        "batch_scoring.batch=2024-01-02,from_day=2024-01-01", "…batch names one day, from_day and to_day a range: …"
    ),
    "a range of days that ends before it starts": (
        "batch_scoring.from_day=2024-01-05,to_day=2024-01-01", "…lies after to_day (2024-01-01): no day lies between…"
    ),
    "a range of days that starts on an invalid date": (
        "batch_scoring.from_day=2024-02-30", "…batch_scoring.from_day can't be '2024-02-30': …"
    ),
}  # fmt: skip
NAMES = {
    "an invalid name for the table of results": (
        "results_table=October-Trial",
        "--params: results_table can't be 'October-Trial': a table's name has lower-case "
        "letters, digits and underscores only, at most 100, and a letter first.",
    ),
    "a name for the table of results that another table has": (
        "results_table=score_actions",
        "--params: results_table can't be 'score_actions': scores or actions of score_{table}, "
        "the table that conf names, lie under that name; choose another one.",
    ),
}
CONF = [
    Case(name, "The run stops before anything is opened; nothing is written.", sentence=message)
    for name, (_, message) in {**PARAMS, **NAMES}.items()
]
CASES: list[Case] = [*ENDS, UNKNOWN, WIDE, UNFIT, NO_TELEMETRY, NO_FAILURE, *SPLITS, *CONF]

GOOD: dict[str, Sequence[str]] = {
    "telemetry_good": readings(1), "errors_good": [f"{hour(3)},1,error1"],
    "maintenance_good": [f"{hour(3)},1,comp1"], "failures_good": [f"{hour(30)},1,comp1"], "machines": ["1,model1,3"],
}  # fmt: skip


def plant(folder: Path, **tables: Sequence[str]) -> Place:
    put(folder / "landing", **{**GOOD, **tables})
    return Place(folder / "landing", folder / "lake", use_case=USE_CASE)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Place:
    """A lake after one run with all that a run ends well with."""
    files: dict[str, list[str]] = {"failures_unknown": [f"{hour(6)},99,comp1"]}
    for case in ENDS:
        for name, lines in case.lines.items():
            rows = [line.replace("{m}", str(case.machine)) for line in lines]
            rows = [line.replace(",0,", f",{case.machine},", 1) for line in rows] if "telemetry" in name else rows
            files.setdefault(name, []).extend(rows)
    machines = ["1,model1,3", *(f"{case.machine},model1,3" for case in ENDS)]
    place = plant(tmp_path_factory.mktemp("plant"), machines=machines, **files)
    assert place.run(*TO_FEATURES) == ""
    return place


@pytest.mark.parametrize("case", ENDS, ids=lambda case: case.name)
def test_a_run_ends_well_with_every_row_accounted_for(case: Ends, ended: Place) -> None:
    assert {table: len(of(ended, f"clean_{table}", case.machine)) for table in case.kept} == case.kept
    for table in HEADERS:
        ended.counts(table)
    case.check(ended, case.machine)


def test_a_failure_of_an_unknown_machine_is_quarantined(ended: Place) -> None:
    quarantined("failures", "machine_is_known")(ended, 99)
    assert of(ended, "clean_failures", 99) == []


def test_future_events_and_placeholders_give_no_prediction_times(ended: Place) -> None:
    assert {row["predicted_at"].year for row in ended.rows("feature_machines")} == {2024}


def test_a_window_wider_than_the_history_describes_the_rows_there_are(tmp_path: Path, spark: Any) -> None:
    place = plant(tmp_path)
    assert place.run(*TO_FEATURES, features={"window_hours": [3, 240]}) == ""
    rows = sorted(place.rows("feature_machines"), key=lambda row: row["predicted_at"])
    # The last prediction time, 45 hours after the first reading, has 46 of them behind it.
    assert rows[-1]["volt_mean_240h"] == pytest.approx(sum(170 + i % 7 for i in range(46)) / 46)
    assert rows[0]["volt_mean_240h"] == 170
    assert rows[0]["volt_sd_240h"] is None


def test_an_unknown_component_among_the_failures_stops_the_run(tmp_path: Path, spark: Any) -> None:
    place = plant(tmp_path, failures_more=[f"{hour(40)},1,comp9"])
    message = place.run()
    assert UNFIT.matches(message, place.names), message
    assert place.rows("clean_failures") == []
    put(place.landing, failures_more=[f"{hour(40)},1,comp4"])
    assert place.run() == ""
    assert len(place.rows("clean_failures")) == 2


def test_missing_telemetry_is_reported_with_the_parameter_that_switches_it_off(tmp_path: Path, spark: Any) -> None:
    place = plant(tmp_path)
    (place.landing / "telemetry_good.csv").unlink()
    message = place.run(*TO_FEATURES)
    assert NO_TELEMETRY.matches(message, place.names), message
    assert place.run(*TO_FEATURES, features={"telemetry": False}) == ""
    assert len(place.rows("feature_machines")) > 0


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Place:
    """A plant of three weeks in which nothing failed, up to its labels."""
    place = plant(
        tmp_path_factory.mktemp("sound"),
        telemetry_good=readings(1, 24 * 21),
        failures_good=[],
        maintenance_good=[f"{hour(3)},1,comp1"],
    )
    assert place.run(*TO_FEATURES) == ""
    return place


def test_a_plant_without_any_failure_has_nothing_to_learn_from(sound: Place) -> None:
    message = sound.run("training")
    assert NO_FAILURE.matches(message, sound.names), message


@pytest.mark.parametrize("case", SPLITS, ids=lambda case: case.name)
def test_impossible_days_of_a_split_are_refused(case: Case, sound: Place) -> None:
    message = sound.run("training", training={"split": TIMES[case.name][0]})
    assert case.matches(message, sound.names), message


@pytest.mark.parametrize("case", CONF, ids=lambda case: case.name)
def test_impossible_conf_is_refused_before_anything_is_opened(case: Case, tmp_path: Path) -> None:
    runtime_params = f"landing={tmp_path},lake={tmp_path / 'lake'}"
    if case.name in NAMES:
        runtime_params += f",{NAMES[case.name][0]}"
    else:
        above, *more = PARAMS[case.name][0].split(",")
        params = [above, *(f"{above.rpartition('.')[0]}.{each}" for each in more)]
        runtime_params = ",".join([runtime_params, *(f"{USE_CASE}.{each}" for each in params)])
    call = [sys.executable, "-m", "lakehouse_ml", "--namespaces", USE_CASE, "--params", runtime_params]
    process = subprocess.run(warm(call), cwd=PROJECT, capture_output=True, text=True, timeout=100, check=False)
    assert process.returncode == 1
    assert case.matches(process.stderr.strip().removeprefix("Error: "), {}), process.stderr
    assert not list(tmp_path.glob("lake/0*"))
