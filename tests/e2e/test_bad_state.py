"""What happens when the lake, the machine, the registry or conf is bad: one sentence, and the next run goes on."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import bad_input
import click
import pytest
import skops.io
from deltalake import DeltaTable

from lakehouse_ml.datasets.delta_table import DeltaTable as TableFile
from lakehouse_ml.registry.artefact import REMEDY, digest
from lakehouse_ml.storage.lock import check_path
from lakehouse_ml.use_cases.churn.synthetic import write_csv
from warm import warm

PROJECT = Path(__file__).resolve().parents[2]
MLFLOW_RETRY = 600


@dataclass(frozen=True)
class Case:
    """What comes in, what happens, and the sentence: `{conf}`, `{lake}` and `{…}` of a case stand for what varies."""

    name: str
    cause: str
    happens: str
    says: str | None


@dataclass(frozen=True)
class ConfCase(Case):
    """A mistake in one file of conf: `old` is replaced by `new`, or `new` is the whole file."""

    file: str
    new: str
    old: str | None = None


@dataclass(frozen=True)
class LakeCase(Case):
    """Harm that is done to a lake; the stage is run, the harm undone, and the stage run again."""

    harm: Callable[[Path], Any]
    stage: str = "data_quality"


REFUSED = "The run stops before anything is opened; nothing is written."
STOPS = "The run stops; no finished result is lost, and the next run completes once the cause is removed."
RESTORE = "Restore this folder from a copy, or start a new lake from the same files: LAKE=<folder>."
PREDICATE = "churn.data_quality.tables.customers.rules.2.predicate can't be"


def conf(name: str, file: str, new: str, message: str, old: str | None = None) -> ConfCase:
    return ConfCase(f"conf: {name}", f"{file} with `{new.strip()}`", REFUSED, f"{{conf}}/{message}", file, new, old)


CONF = [
    conf(
        "globals, wrong key", "base/globals.yml", "lkae: 3\nlake: ", "base/globals.yml, line 3: lkae is not", "lake: "
    ),
    conf(
        "globals, wrong type",
        "base/globals.yml",
        "lake: [1]",
        "base/globals.yml, line 3: lake can't be [1]",
        "lake: data ",
    ),
    conf(
        "globals, no name of a table",
        "base/globals.yml",
        "results_table: Scores",
        "base/globals.yml, line 5: results_table can't be 'Scores'",
        'results_table: "score_{table}"',
    ),
    conf(
        "globals, not YAML",
        "base/globals.yml",
        "lake: [data",
        "base/globals.yml, line 4: this is not valid YAML",
        "lake: data ",
    ),
    conf(
        "spark, wrong key", "base/spark.yml", "x: 1\nengine: sail", "base/spark.yml, line 1: x is not", "engine: sail"
    ),
    conf(
        "spark, wrong value",
        "base/spark.yml",
        "engine: spork",
        "base/spark.yml, line 1: engine can't be 'spork'",
        "engine: sail",
    ),
    conf(
        "spark, a list",
        "base/spark.yml",
        "- engine: sail",
        "base/spark.yml, line 1: this has to be keys with values",
        "engine: sail",
    ),
    conf(
        "mlflow, wrong key",
        "base/mlflow.yml",
        "flaten: true",
        "base/mlflow.yml, line 14: tracking.params.dict_params.flaten is not",
        "flatten: true",
    ),
    conf(
        "mlflow, wrong type",
        "base/mlflow.yml",
        "flatten: some",
        "base/mlflow.yml, line 14: tracking.params.dict_params.flatten can't be 'some'",
        "flatten: true",
    ),
    conf(
        "mlflow, not YAML",
        "base/mlflow.yml",
        "flatten: [true",
        "base/mlflow.yml, line 15: this is not valid YAML",
        "flatten: true",
    ),
    conf(
        "catalog, wrong key",
        "base/catalog.yml",
        'filepth: ${table:"01_raw/{use_case}/raw',
        "base/catalog.yml, line 28: {{use_case}}.raw_{{table}}.filepth is not",
        'filepath: ${table:"01_raw/{use_case}/raw',
    ),
    conf(
        "catalog, wrong value",
        "base/catalog.yml",
        'manifest_{table}"}\n  frame: polars',
        "base/catalog.yml, line 39: {{use_case}}.manifest_{{table}}.frame can't be 'polars'",
        'manifest_{table}"}\n  frame: pandas',
    ),
    conf("catalog, unknown class", "base/catalog.yml", "DeltaTabel,", "base/catalog.yml, line ", "DeltaTable,"),
    conf(
        "catalog, a name that nothing has",
        "base/catalog.yml",
        "${_fiels}/${_reports}/drift",
        "base/catalog.yml, line 182: ",
        "${_files}/${_reports}/drift",
    ),
    conf(
        "catalog, not YAML",
        "base/catalog.yml",
        "keys: [[model",
        "base/catalog.yml, line 134: this is not valid YAML",
        "keys: [model",
    ),
    conf(
        "churn's catalog, wrong key",
        "base/churn/catalog.yml",
        "fromat: csv  ",
        "base/churn/catalog.yml, line 8: churn.landing_customers.fromat is not",
        "format: csv  ",
    ),
    conf(
        "churn's catalog, wrong value",
        "base/churn/catalog.yml",
        "format: xlsx  ",
        "base/churn/catalog.yml, line 8: churn.landing_customers.format can't be 'xlsx'",
        "format: csv  ",
    ),
    conf(
        "churn's catalog, not YAML",
        "base/churn/catalog.yml",
        "format: [csv  ",
        "base/churn/catalog.yml, line 9: this is not valid YAML",
        "format: csv  ",
    ),
    conf(
        "parameters, wrong key",
        "base/churn/parameters.yml",
        "top_valeus: 5",
        "base/churn/parameters.yml, line 16: churn.data_quality.top_valeus is not",
        "top_values: 5",
    ),
    conf(
        "parameters, wrong type",
        "base/churn/parameters.yml",
        "top_values: five",
        "base/churn/parameters.yml, line 16: churn.data_quality.top_values can't be 'five'",
        "top_values: 5",
    ),
    conf(
        "parameters, wrong group",
        "base/churn/parameters.yml",
        "economcis:",
        "base/churn/parameters.yml, line 50: churn.economcis is not",
        "economics:",
    ),
    conf(
        "parameters, not YAML",
        "base/churn/parameters.yml",
        "folds: [3",
        "base/churn/parameters.yml, line 41: this is not valid YAML",
        "folds: 3",
    ),
    conf(
        "parameters, a library that this engine hasn't",
        "base/churn/parameters.yml",
        "library: mllib",
        "base/churn/parameters.yml, line 38: churn.training.library is mllib, which computes with the engine spark",
        "library: sklearn",
    ),
    *(
        conf(
            f"rule: {predicate}",
            "base/churn/parameters.yml",
            f'predicate: "{predicate}"',
            f"base/churn/parameters.yml, line 24: {message}",
            'predicate: "monthly_charges > 0"',
        )
        for predicate, message in (
            ("rand() > 0.5", f"{PREDICATE} 'rand() > 0.5': value error, rand does not depend on the row alone"),
            (
                "monthly_charges > (select 1)",
                f"{PREDICATE} 'monthly_charges > (select 1)': value error, a subquery can't be part of a predicate",
            ),
            ("true -- yet", f"{PREDICATE} 'true -- yet': value error, a comment can't be part of a predicate"),
            (
                "monthly_charge > 0",
                "rule monthly_charge_is_positive of customers names the column monthly_charge, which the table doesn't "
                "have. Did you mean monthly_charges?",
            ),
        )
    ),
    ConfCase(
        "an address with a secret",
        "local/globals.yml with a user name, password or token inside an address",
        REFUSED,
        "lake (globals.yml) is an address with a user name, password or token inside. Remove it",
        "local/globals.yml",
        "lake: " + "://".join(("s3", "anna:geheim@bucket/lake")) + "\n",
    ),
    conf("own globals", "local/globals.yml", "lkae: mine\n", "local/globals.yml, line 1: lkae is not"),
    conf("own spark", "local/spark.yml", "engine: 3\n", "local/spark.yml, line 1: engine can't be 3"),
    conf("own mlflow", "local/mlflow.yml", "tracking: 3\n", "local/mlflow.yml, line 1: tracking can't be 3"),
    conf(
        "own parameters",
        "local/parameters.yml",
        "churn: {data_quality: {exmaples: 3}}\n",
        "local/parameters.yml, line 1: churn.data_quality.exmaples is not",
    ),
    conf("own catalog", "local/catalog.yml", "churn.landing_customers: {typ: x}\n", "local/catalog.yml, line 1: "),
]


def log(name: str) -> Callable[[Path], Path]:
    return lambda lake: next(lake.glob(f"*/churn/{name}/_delta_log/*0.json"))


def cut(name: str) -> Callable[[Path], Any]:
    return lambda lake: (file := log(name)(lake)).write_text(file.read_text()[: file.stat().st_size // 2])


def overwrite(name: str) -> Callable[[Path], Any]:
    return lambda lake: log(name)(lake).write_bytes(b"\x00garbage")


def lose(name: str) -> Callable[[Path], Any]:
    return lambda lake: (file := log(name)(lake)).rename(file.with_name("00000000000000000001.json"))


def lose_rows(name: str) -> Callable[[Path], Any]:
    return lambda lake: [file.unlink() for file in next(lake.glob(f"*/churn/{name}")).glob("*.parquet")]


def damaged(name: str, why: str) -> str:
    return f"The table at {{lake}}/01_raw/churn/{name} is damaged and can't be read ({why}"


def set_revision(lake: Path) -> None:
    with closing(sqlite3.connect(lake / "mlflow.db")) as store, store:
        store.execute("update alembic_version set version_num = 'ffffffffffff'")


def into_a_folder(lake: Path) -> None:
    (lake / "mlflow.db").unlink()
    (lake / "mlflow.db").mkdir()


def link(path: str) -> Callable[[Path], Any]:
    """Move a file or folder of a lake beside it, and leave a link."""

    def replace(lake: Path) -> None:
        (lake / path).mkdir(exist_ok=True) if path == "mlflow-artifacts" else None
        (lake / path).rename(lake.parent / "elsewhere")
        (lake / path).symlink_to(lake.parent / "elsewhere")

    return replace


LAKE = [
    LakeCase(
        "table: commit cut off",
        "a truncated commit of raw_customers",
        STOPS,
        damaged("raw_customers", "Json error"),
        cut("raw_customers"),
    ),
    LakeCase(
        "table: commit of garbage",
        "bytes that are not a commit",
        STOPS,
        damaged("raw_customers", "Json error"),
        overwrite("raw_customers"),
    ),
    LakeCase(
        "table: first commit missing",
        "a log without its first commits",
        STOPS,
        damaged("raw_customers", "its log lacks its first commit"),
        lose("raw_customers"),
    ),
    LakeCase(
        "manifest: commit cut off",
        "a truncated commit of the manifest",
        STOPS,
        damaged("manifest_customers", "Json error"),
        cut("manifest_customers"),
        "data_ingestion",
    ),
    LakeCase(
        "manifest: commit missing",
        "a log without its first commits",
        STOPS,
        damaged("manifest_customers", "its log lacks its first commit"),
        lose("manifest_customers"),
        "data_ingestion",
    ),
    LakeCase(
        "manifest: rows missing",
        "a log whose data files are missing",
        STOPS,
        damaged("manifest_customers", "Failed to fetch metadata for file"),
        lose_rows("manifest_customers"),
        "data_ingestion",
    ),
    LakeCase(
        "store: newer",
        "an mlflow.db of another version",
        STOPS,
        "Another version of MLflow wrote the tracking store {lake}/mlflow.db (its schema is ffffffffffff",
        set_revision,
    ),
    LakeCase(
        "store: not a database",
        "an mlflow.db with random bytes",
        STOPS,
        "The file of the tracking store {lake}/mlflow.db is damaged.",
        lambda lake: (lake / "mlflow.db").write_bytes(b"garbage " * 200),
    ),
    *(
        LakeCase(
            f"link: {name}",
            f"{cause} that is a link",
            "The run stops; nothing is written, neither in the lake nor where the link leads.",
            f"'{{lake}}/{path}' is a link: a lake is one folder, and a run would write outside of it. Replace the "
            f"link by its target.",
            link(path),
        )
        for name, cause, path in (
            ("a table", "a table's folder", "01_raw/churn/raw_customers"),
            ("a log", "a table's log", "01_raw/churn/raw_customers/_delta_log"),
            ("a layer", "a layer's folder", "03_primary"),
            ("artefacts", "the folder of artefacts", "mlflow-artifacts"),
            ("store", "mlflow.db", "mlflow.db"),
            ("lock", "the lake's lock file", ".lock"),
        )
    ),
    LakeCase("store: a folder", "a folder named mlflow.db", STOPS, "{lake}/mlflow.db is a folder", into_a_folder),
]


def find_file(lake: Path, pattern: str) -> Path:
    (path,) = lake.rglob(pattern)
    return path


def flip_a_bit(lake: Path) -> None:
    model = find_file(lake, "model.skops")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)


def forge_the_digest(lake: Path) -> None:
    """What somebody does who may write to the lake: the record agrees with the files."""
    files = find_file(lake, "MLmodel").parent
    digests = TableFile(filepath=str(lake / "06_models" / "churn" / "digests"), frame="pandas")
    digests.save(digests.load().assign(sha256=digest(files)))


def bring_a_stranger(lake: Path) -> None:
    find_file(lake, "model.skops").write_bytes(skops.io.dumps({"model": Fraction(1, 3)}))
    forge_the_digest(lake)


def trust_a_stranger(lake: Path) -> None:
    described = find_file(lake, "MLmodel")
    listed = "skops_trusted_types:\n"
    described.write_text(described.read_text().replace(listed, f"{listed}    - os.system\n"))
    forge_the_digest(lake)


def describe_by_a_tag(lake: Path) -> None:
    find_file(lake, "MLmodel").write_text("flavors: !!python/object/apply:os.system [id]")
    forge_the_digest(lake)


def contradict_the_digest(lake: Path) -> None:
    digests = TableFile(filepath=str(lake / "06_models" / "churn" / "digests"), frame="pandas", mode="append")
    digests.save(digests.load().assign(sha256="0" * 64))


def lead_elsewhere(lake: Path) -> None:
    with closing(sqlite3.connect(lake / "mlflow.db")) as store, store:
        store.execute("update model_versions set storage_location = 'http://127.0.0.1:9/model'")


UNTRUSTED = "The model is not loaded and nothing is scored; once it is restored, the next run completes."
MODEL = [
    LakeCase(
        "model: a bit flipped",
        "a registered model with one bit changed",
        UNTRUSTED,
        f"Version 1 of churn is not what was registered: its files have another digest. It is not loaded. {REMEDY}",
        flip_a_bit,
    ),
    LakeCase(
        "model: a stranger in it",
        "a registered model with an unreviewed type inside, and a forged digest",
        UNTRUSTED,
        "Version 1 of churn is not loaded: its file does not match its description: Untrusted types found in "
        "the file: ['fractions.Fraction']",
        bring_a_stranger,
    ),
    LakeCase(
        "model: a stranger trusted",
        "a registered model whose description trusts such a type, and a forged digest",
        UNTRUSTED,
        f"Version 1 of churn is not loaded: it trusts types that aren't on the allow-list: os.system. {REMEDY}",
        trust_a_stranger,
    ),
    LakeCase(
        "model: a tag in its description",
        "a registered model whose MLmodel has a Python tag, and a forged digest",
        UNTRUSTED,
        "Version 1 of churn is not loaded: its description (MLmodel) can't be read: could not determine a constructor "
        "for the tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        describe_by_a_tag,
    ),
    LakeCase(
        "model: a link in it",
        "a registered model with a link among its files",
        UNTRUSTED,
        "'{lake}/mlflow-artifacts/",
        lambda lake: find_file(lake, "MLmodel").with_name("etc").symlink_to("/etc"),
    ),
    LakeCase(
        "model: two digests",
        "a registered model with two recorded digests that contradict each other",
        UNTRUSTED,
        f"Version 1 of churn has 2 different digests in {{lake}}/06_models/churn/digests: it is not loaded. {REMEDY}",
        contradict_the_digest,
    ),
    LakeCase(
        "model: elsewhere",
        "a tracking store with an address of a model's files outside the lake",
        UNTRUSTED,
        "Version 1 of churn is not loaded: by {lake}/mlflow.db its files are at 'http://127.0.0.1:9/model', outside of "
        f"the lake. {REMEDY}",
        lead_elsewhere,
    ),
]

LOGGING = [
    Case(
        f"conf: logging, {name}",
        f"base/logging.yml with `{mistake}`",
        REFUSED,
        f"Error: {{conf}}/base/logging.yml{message}",
    )
    for name, mistake, message in (
        ("yaml", "x: [1", ", line 35: this is not valid YAML (expected ',' or ']', but got '<stream end>')."),
        ("level", "loggers: {kedro: {level: LOUD}}", ": Unable to configure logger 'kedro'; Unknown level: 'LOUD'."),
        ("type", "handlers: 3", ": 'int' object is not iterable."),
    )
]
LOCKED = Case(
    "store: locked",
    "another process that has locked mlflow.db",
    STOPS,
    "Another process holds the tracking store {lake}/mlflow.db. Wait until it is done",
)
OUTSIDE = Case(
    "outside of the project",
    "`python -m lakehouse_ml` in another folder",
    REFUSED,
    "Error: There is no conf of lakehouse-ml in {folder}/conf: start from the project's folder, or name the conf, "
    "--conf-source <folder>.",
)
ALIEN = Case(
    "lake: letters in its path",
    "a lake whose path has one of [ ] \\ ^ | ? ~ { } or a control character in it, or an escape like %20",
    REFUSED,
    "The path of a lake can't contain '…', and '{lake}' does: choose another folder, LAKE=<folder>.",
)
READ_ONLY = Case(
    "read-only lake",
    "a lake on a read-only mount",
    STOPS,
    "{lake}/.lock is read-only: nothing can be written there. Make it writable, or name another lake: LAKE=<folder>.",
)
FULL = Case(
    "full disk",
    "a lake on a disk of 400 KB",
    "The run stops; once there is space, the next run completes.",
    "Error: The disk is full: ",
)
TWO = Case(
    "two runs at once",
    "two processes on one lake",
    "One does all the work; the other is refused and changes nothing.",
    "Another run is using the lake {lake} (process ",
)
STOPPED = Case(
    "Ctrl-C",
    "SIGINT in any of the seven stages",
    "Exit code 130; the MLflow run is KILLED; the next run completes with the results of an undisturbed one.",
    "Stopped. Run again to resume.",
)
KILLED = Case(
    "kill -9",
    "SIGKILL at any moment",
    "The next run completes with the results of an undisturbed one and ends the MLflow run as KILLED.",
    None,
)

TITLE = "Conf, lake, tracking store and machine"


def _as_bad_input(case: Case) -> bad_input.Case:
    """The case as the page of bad input has it; a sentence whose end differs is cut there."""
    places = {name: f"<{name}>" for name in ("conf", "lake", "folder")}
    says = (case.says or "").format(**places)
    cut = says and not says.endswith(".")
    return bad_input.Case(" ".join(case.cause.split()), case.happens, sentence=f"{says}…" if cut else says)


CASES = [
    _as_bad_input(case)
    for case in (*CONF, *LOGGING, *LAKE, *MODEL, LOCKED, OUTSIDE, ALIEN, READ_ONLY, FULL, TWO, STOPPED, KILLED)
]


# --- in this process


def sentence(start: Callable[..., Any], *arguments: Any, **more: Any) -> str:
    import mlflow

    with pytest.raises(click.ClickException) as caught:
        start(*arguments, **more)
    assert caught.value.exit_code == 1
    assert mlflow.active_run() is None
    return caught.value.format_message()


def copy(lake: Path, to: Path) -> Path:
    return Path(shutil.copytree(lake, to / "lake"))


def statuses(lake: Path) -> list[str]:
    with closing(sqlite3.connect(lake / "mlflow.db")) as store:
        return [status for (status,) in store.execute("select status from runs")]


@pytest.mark.parametrize("case", CONF, ids=lambda case: case.name)
def test_a_mistake_in_conf_is_reported_with_file_line_and_key_before_anything_is_opened(
    start: Callable[..., Any], tmp_path: Path, case: ConfCase
) -> None:
    copied = Path(shutil.copytree(PROJECT / "conf", tmp_path / "conf"))
    file = copied / case.file
    file.parent.mkdir(exist_ok=True)
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    assert (case.old or "") in text
    file.write_text(text.replace(case.old, case.new, 1) if case.old else case.new, encoding="utf-8")

    message = sentence(start, tmp_path / "lake", "data_ingestion", "data_quality", conf=copied)

    assert str(case.says).format(conf=copied) in message, message
    assert "\n" not in message
    assert not list((tmp_path / "lake").glob("0*"))


@pytest.mark.parametrize("case", LOGGING, ids=lambda case: case.name)
def test_a_mistake_in_the_logging_conf_is_reported_before_anything_else(tmp_path: Path, case: Case) -> None:
    copied = Path(shutil.copytree(PROJECT / "conf", tmp_path / "conf"))
    with (copied / "base" / "logging.yml").open("a", encoding="utf-8") as file:
        file.write(case.cause.split("`")[1] + "\n")
    # The file is searched beside the package, whatever the conf of the run.
    code = (
        "from pathlib import Path; from lakehouse_ml import project\n"
        f"project.CONF = Path({str(copied)!r})\n"
        "project.configure_logging()\n"
    )

    environment = {name: value for name, value in os.environ.items() if name != "KEDRO_LOGGING_CONFIG"}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)

    assert (process.returncode, process.stderr.strip()) == (1, str(case.says).format(conf=copied))


@pytest.mark.slow
@pytest.mark.parametrize("case", LAKE, ids=lambda case: case.name)
def test_a_damaged_lake_is_reported_and_a_restored_one_goes_on(
    start: Callable[..., Any], ingested: Path, tmp_path: Path, case: LakeCase
) -> None:
    lake = copy(ingested, tmp_path / "bad")
    case.harm(lake)

    message = sentence(start, lake, case.stage)

    assert message.startswith(str(case.says).format(lake=lake)), message
    restored = copy(ingested, tmp_path / "restored")
    start(restored, case.stage)
    assert "RUNNING" not in statuses(restored)


@pytest.mark.slow
def test_a_locked_store_is_reported_and_a_freed_one_goes_on(
    start: Callable[..., Any], ingested: Path, tmp_path: Path
) -> None:
    lake = copy(ingested, tmp_path)
    with closing(sqlite3.connect(lake / "mlflow.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        message = sentence(start, lake, "data_quality")
    assert message.startswith(str(LOCKED.says).format(lake=lake))
    start(lake, "data_quality")


@pytest.mark.parametrize("letters", ["[", "]", "\\", "^", "|", "%20", "?", "~", "{", "}", "${x}", "\n", "\x7f"])
def test_a_lake_whose_path_means_another_one_to_a_library_is_refused(
    start: Callable[..., Any], tmp_path: Path, letters: str
) -> None:
    lake = tmp_path / f"a{letters}b"
    sign = "{" if letters == "${x}" else letters

    message = sentence(start, lake, "data_quality")

    assert message == str(ALIEN.says).format(lake=repr(str(lake))[1:-1]).replace("…", repr(sign)[1:-1])
    assert not lake.exists()


@pytest.mark.parametrize("lake", ["", "main.lake", "data/mine", "/Volumes/main/lake", "s3://bucket/~lake"])
def test_the_folder_that_a_run_starts_in_is_no_part_of_a_lake_that_lies_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lake: str
) -> None:
    """A table's schema, a Volume, and a folder that is meant from the project."""
    (tmp_path / "a~b").mkdir()
    monkeypatch.chdir(tmp_path / "a~b")
    check_path(lake)


def test_any_other_letter_may_stand_in_the_path_of_a_lake_and_nothing_lies_beside_it(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    lake = tmp_path / "a #&;'\"%$x*:@=+,ü客<>!()`b"
    start(lake, "data_ingestion", "data_quality")
    assert [path.name for path in tmp_path.iterdir()] == [lake.name]
    assert {"mlflow.db", "01_raw", "03_primary"} <= {path.name for path in lake.iterdir()}
    assert DeltaTable(str(lake / "03_primary" / "churn" / "clean_customers")).count() == 200


def test_a_killed_runs_open_mlflow_run_is_ended_and_one_of_somebody_else_stays_open(
    start: Callable[..., Any], ingested: Path, tmp_path: Path
) -> None:
    import mlflow

    lake = copy(ingested, tmp_path)
    client = mlflow.MlflowClient(f"sqlite:///{lake}/mlflow.db")
    (experiment,) = [one.experiment_id for one in client.search_experiments() if one.name == "lakehouse-ml"]
    killed_run = client.create_run(experiment, tags={"use_case": "churn"}).info.run_id
    foreign_run = client.create_run(experiment).info.run_id

    start(lake, "data_quality")

    assert client.get_run(killed_run).info.status == "KILLED"
    assert client.get_run(foreign_run).info.status == "RUNNING"


# --- as processes


@contextmanager
def started(lake: Path, landing: Path, conf: Path, *prefix: str) -> Iterator[subprocess.Popen[str]]:
    kedro = str(Path(sys.executable).with_name("kedro"))
    paths = f"landing={landing},lake={lake}"
    call = [kedro, "run", "--conf-source", str(conf), "--namespaces", "churn", "--params", paths]
    with subprocess.Popen(
        [*prefix, *call] if prefix else warm(call),
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as running:
        yield running


def finished(lake: Path, landing: Path, conf: Path, *prefix: str) -> tuple[int, str]:
    with started(lake, landing, conf, *prefix) as running:
        _, errors = running.communicate(timeout=MLFLOW_RETRY)
    return running.returncode, errors


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Few customers, and a conf with one trial."""
    folder = tmp_path_factory.mktemp("small")
    write_csv(folder / "landing" / "customers.csv", n=1_200, seed=1)
    copied = Path(shutil.copytree(PROJECT / "conf", folder / "conf"))
    parameters = copied / "base" / "churn" / "parameters.yml"
    lines = parameters.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if "random_forest" not in line and "gradient_boosting" not in line]
    parameters.write_text("\n".join(kept), encoding="utf-8")
    return folder / "landing", copied


def results(lake: Path) -> dict[str, Any]:
    """What a life leaves that may not depend on how often it was interrupted."""
    tables = {
        name: DeltaTable(next(lake.glob(f"*/churn/{name}"))).to_pandas()
        for name in ("score_customers", "verdict_model")
    }
    scores = tables["score_customers"].sort_values("customer_id")
    with closing(sqlite3.connect(lake / "mlflow.db")) as store:
        aliases = store.execute("select alias, version from registered_model_aliases order by alias").fetchall()
    return {
        "scores": list(zip(scores["customer_id"], scores["probability"].round(9), strict=True)),
        "verdicts": tables["verdict_model"]["decision"].tolist(),
        "aliases": aliases,
    }


@pytest.fixture(scope="module")
def lived(small: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake after an end-to-end run."""
    lake = tmp_path_factory.mktemp("undisturbed") / "lake"
    code, errors = finished(lake, *small)
    assert code == 0, errors
    return lake


@pytest.fixture(scope="module")
def undisturbed(lived: Path) -> dict[str, Any]:
    return results(lived)


@pytest.mark.slow
@pytest.mark.parametrize("case", MODEL, ids=lambda case: case.name)
def test_a_tampered_model_scores_nothing_and_a_restored_one_goes_on(
    start: Callable[..., Any],
    small: tuple[Path, Path],
    lived: Path,
    undisturbed: dict[str, Any],
    tmp_path: Path,
    case: LakeCase,
) -> None:
    landing, conf = small
    scores = Path("07_model_output", "churn", "score_customers")
    # Without scores a run has to load the model.
    lakes = [copy(lived, tmp_path / name) for name in ("bad", "restored")]
    for lake in lakes:
        shutil.rmtree(lake / scores)
    bad, restored = lakes
    case.harm(bad)

    message = sentence(start, bad, "batch_scoring", files=landing, conf=conf)

    assert message.startswith(str(case.says).format(lake=bad)), message
    assert not (bad / scores).exists()
    start(restored, "batch_scoring", files=landing, conf=conf)
    assert results(restored) == undisturbed


FIRST_NODES = (
    "data_ingestion.parse_customers", "data_quality.check_customers", "feature_engineering.build_features",
    "training.assemble_rows", "evaluation.evaluate", "batch_scoring.score_rows", "monitoring.join_outcomes",
)  # fmt: skip


@pytest.mark.slow
def test_a_run_interrupted_in_each_of_its_seven_stages_ends_as_an_undisturbed_one(
    small: tuple[Path, Path], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """By Ctrl-C; test_kills.py kills at any moment."""
    lake = tmp_path / "lake"
    for node in FIRST_NODES:
        with started(lake, *small) as running:
            assert running.stderr is not None
            reached = any(f"churn.{node}" in line for line in running.stderr)
            running.send_signal(signal.SIGINT)
            errors = running.stderr.read()
        assert reached, node
        assert running.returncode == 130, errors
        assert "Traceback" not in errors, errors
        assert str(STOPPED.says) in errors
    code, errors = finished(lake, *small)
    assert code == 0, errors
    assert results(lake) == undisturbed
    assert set(statuses(lake)) <= {"FINISHED", "KILLED"}
    assert statuses(lake).count("KILLED") == len(FIRST_NODES)


@pytest.mark.slow
def test_one_of_two_runs_at_once_does_all_and_the_other_is_refused(
    small: tuple[Path, Path], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    with started(lake, *small) as first, started(lake, *small) as second:
        errors = [run.communicate(timeout=MLFLOW_RETRY)[1] for run in (first, second)]
    assert sorted([first.returncode, second.returncode]) == [0, 1], errors
    refused = errors[0] if first.returncode else errors[1]
    assert str(TWO.says).format(lake=lake) in refused
    assert "Traceback" not in refused
    assert results(lake) == undisturbed
    assert set(statuses(lake)) == {"FINISHED"}


def in_a_namespace(script: str) -> list[str]:
    """A command whose mounts nobody else sees; where the system allows none, the test is skipped."""
    call = ["unshare", "-rm", "sh", "-c"]
    if subprocess.run([*call, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no mounts, so that no disk can be made read-only or full")
    return [*call, f'{script}; exec "$@"', "sh"]


@pytest.mark.slow
def test_a_read_only_lake_is_reported_and_a_writable_one_goes_on(small: tuple[Path, Path], tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    assert finished(lake, *small)[0] == 0
    files_before = sorted((str(path), path.stat().st_size) for path in lake.rglob("*"))
    read_only = in_a_namespace(f"mount --bind {lake} {lake}; mount -o remount,bind,ro {lake}")
    code, errors = finished(lake, *small, *read_only)
    assert (code, "Traceback" in errors) == (1, False), errors
    assert str(READ_ONLY.says).format(lake=lake) in errors
    assert sorted((str(path), path.stat().st_size) for path in lake.rglob("*")) == files_before
    assert finished(lake, *small)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("size", ["400k", "1600k"])
def test_a_full_disk_is_reported_and_with_space_the_next_run_goes_on(
    small: tuple[Path, Path], undisturbed: dict[str, Any], tmp_path: Path, size: str
) -> None:
    """The full run and, after the disk has grown, the next one, in one namespace; the result is copied out."""
    lake, output = tmp_path / "lake", tmp_path / "out"
    lake.mkdir()
    script = (
        f'mount -t tmpfs -o size={size} none {lake}; "$@"; echo "exit $?" >&2; mount -o remount,size=1g {lake}; "$@"; '
        f"code=$?; cp -a {lake} {output}; exit $code"
    )
    code, errors = finished(lake, *small, *in_a_namespace(script)[:-2], script, "sh")
    assert code == 0, errors
    assert "exit 1" in errors
    assert str(FULL.says) in errors, errors
    assert "Traceback" not in errors, errors
    assert results(output) == undisturbed
    assert "RUNNING" not in statuses(output)


def test_outside_of_the_project_one_sentence_says_where_to_start(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "lakehouse_ml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == 1
    assert str(OUTSIDE.says).format(folder=tmp_path) in process.stderr
    assert "Traceback" not in process.stderr
