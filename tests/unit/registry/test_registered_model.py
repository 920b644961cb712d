"""A model is registered with all that it needs to be trusted, and loaded only if it is what was registered."""

from __future__ import annotations

import json
import os
import pickle
import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DatasetError

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.datasets.registered_model import ChampionAlias, RegisteredModel
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.engine.spec import EngineSpec
from lakehouse_ml.errors import RegistryError, find
from lakehouse_ml.modelling.card import Candidate, ModelCard, Promotion
from lakehouse_ml.modelling.estimators import sklearn as estimators
from lakehouse_ml.modelling.estimators.base import EstimatorSpec, select_predictors
from lakehouse_ml.registry import artefact, tracking_store
from lakehouse_ml.registry.artefact import REMEDY, digest
from lakehouse_ml.storage.provenance import Provenance, attach_provenance

pytestmark = pytest.mark.usefixtures("chosen")

NAME = "churn"
THRESHOLD = 0.35
MADE = Provenance("search", {"churn.model_input": "v4", "params:churn.training": '{"folds": 5}'}, "f00d")


@pytest.fixture(scope="module")
def chosen() -> None:
    """The engine that loading asks for; it isn't started."""
    ENGINE.choose(EngineSpec(engine="sail"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a tracking store, a registry and its digests."""
    import mlflow

    # Making a store's tables takes seconds: files of tests share an empty one.
    empty = tmp_path_factory.getbasetemp() / "mlflow.db"
    if not empty.exists():
        mlflow.MlflowClient(f"sqlite:///{empty}").search_experiments()
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(empty, folder / "mlflow.db")
    tracked_before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.create_experiment("tests", artifact_location=str(folder / "artifacts"))
    mlflow.set_experiment("tests")
    yield folder
    mlflow.set_tracking_uri(tracked_before)


@pytest.fixture(scope="module")
def candidate() -> Candidate:
    """A small model whose rows have nulls."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"plan": ["a", "b", None] * 40, "charge": rng.normal(50, 10, 120)})
    label = ((rows["charge"] > 50) ^ (rows["plan"] == "b")).astype(int).to_numpy()
    spec = EstimatorSpec(estimator="logistic_regression", params={"C": 1.0})
    predictors = select_predictors(rows, ("plan",), ("charge",))
    fitted = estimators.fit(spec, predictors, label, categorical=("plan",), numeric=("charge",), seed=0)
    card = ModelCard(
        library="sklearn",
        estimator=spec.estimator,
        params=spec.params,
        categorical=("plan",),
        numeric=("charge",),
        threshold=THRESHOLD,
        baseline={"plan": "a", "charge": 50.0},
        reference={"plan": {"kind": "categorical"}},
        unseen={"kind": "hash", "salt": 3, "holdout_share": 0.2},
        importance={"plan": 0.2, "charge": 0.1},
        metrics={"f1": 0.7},
    )
    return Candidate(estimators.set_threshold(fitted, THRESHOLD), card, predictors.head())


@pytest.fixture(scope="module")
def registered(store: Path, candidate: Candidate) -> Path:
    """The store, after the candidate was saved to it as a node saves it."""
    import mlflow

    with mlflow.start_run(), attach_provenance(MADE):
        role("challenger", store).save(candidate)
    return store


def role(name: Any, store: Path, model: str = NAME) -> RegisteredModel:
    return RegisteredModel(name=model, role=name, digests=str(store / "digests"))


def client() -> Any:
    import mlflow

    return mlflow.MlflowClient()


def versions(name: str, n: int, *, challenger: int | None = None, champion: int | None = None) -> None:
    """Versions without a model behind them, where only their standing matters."""
    client().create_registered_model(name)
    for _ in range(n):
        client().create_model_version(name, source="file:///nowhere")
    for alias, number in {"challenger": challenger, "champion": champion}.items():
        if number is not None:
            client().set_registered_model_alias(name, alias, str(number))


def promotion(number: int, decision: str, incumbent: int | None = None) -> Promotion:
    return Promotion(str(number), str(incumbent) if incumbent else None, decision, "Said so.", "e41d")


def catch_refusal(act: Callable[..., object], *arguments: Any) -> str:
    """The sentence in which an attempt ends."""
    with pytest.raises(DatasetError) as caught:
        act(*arguments)
    error = find(caught.value)
    assert isinstance(error, RegistryError)
    return str(error)


# --- registering


def test_a_saved_candidate_is_a_version_and_the_challenger(registered: Path) -> None:
    challenger = client().get_model_version_by_alias(NAME, "challenger")

    assert str(challenger.version) == "1"
    assert role("challenger", registered).exists()
    assert role("challenger", registered).token() == "version 1"


def test_a_version_is_tagged_with_what_it_is_and_was_made_of(registered: Path) -> None:
    tags = client().get_model_version(NAME, "1").tags

    assert tags.pop("sha256") == digests(registered)[NAME, "1"]
    assert tags == {
        "use_case": NAME,
        "estimator": "logistic_regression",
        "threshold": "0.3500",
        "fingerprint": "f00d",
        "input.churn.model_input": "v4",
    }


def test_the_digest_is_recorded_outside_the_registry_with_its_provenance(registered: Path) -> None:
    commit = json.loads(deltalake.DeltaTable(str(registered / "digests")).history(1)[0]["userMetadata"])

    assert digests(registered) == {(NAME, "1"): digest(artefacts(registered))}
    assert commit["node"] == "search"


def test_a_version_says_what_goes_in_what_comes_out_and_what_it_needs(registered: Path, candidate: Candidate) -> None:
    described = description(registered)

    inputs = {column["name"]: column["type"] for column in json.loads(described["signature"]["inputs"])}
    assert inputs == {"plan": "string", "charge": "double"}
    assert "int64" in described["signature"]["outputs"]
    example = json.loads((artefacts(registered) / "input_example.json").read_text())
    assert example["columns"] == ["plan", "charge"]
    assert len(example["data"]) == len(candidate.example)
    needed = (artefacts(registered) / "requirements.txt").read_text().split()
    assert {f"{name}=={version(name)}" for name in ("scikit-learn", "skops", "pandas", "numpy")} <= set(needed)
    assert {requirement.partition("==")[0] for requirement in needed} <= {
        "mlflow",
        "scikit-learn",
        "skops",
        "pandas",
        "numpy",
    }


def test_a_model_is_stored_as_skops_with_the_reviewed_types(registered: Path) -> None:
    flavour = description(registered)["flavors"]["sklearn"]

    assert flavour["serialization_format"] == "skops"
    assert set(flavour["skops_trusted_types"]) == set(estimators.TRUSTED_TYPES)
    assert not list(artefacts(registered).glob("*.pkl"))


def test_what_an_attempt_has_registered_a_repair_does_not_register_again(
    registered: Path, candidate: Candidate
) -> None:
    import mlflow

    with mlflow.start_run(), attach_provenance(MADE):
        role("challenger", registered).save(candidate)

    assert [str(version.version) for version in client().search_model_versions(f"name = '{NAME}'")] == ["1"]


def test_a_version_that_a_broken_off_run_left_half_registered_makes_way(store: Path, candidate: Candidate) -> None:
    import mlflow

    client().create_registered_model("halves")
    for status, tags in (("FAILED", {}), ("RUNNING", {}), ("FAILED", {"fingerprint": "an older one's"})):
        run = client().create_run(mlflow.get_experiment_by_name("tests").experiment_id, tags={"use_case": "halves"})
        client().create_model_version("halves", source="file:///nowhere", run_id=run.info.run_id, tags=tags)
        client().set_terminated(run.info.run_id, status) if status != "RUNNING" else None

    with mlflow.start_run(), attach_provenance(MADE):
        role("challenger", store, "halves").save(candidate)

    left = sorted(str(version.version) for version in client().search_model_versions("name = 'halves'"))
    assert left == ["2", "3", "4"]


@pytest.mark.parametrize("name", ["champion", "incumbent"])
def test_only_a_challenger_is_saved(registered: Path, candidate: Candidate, name: str) -> None:
    assert catch_refusal(role(name, registered).save, candidate).startswith(f"The {name} of {NAME} can't be saved")


def test_the_challenger_holds_the_fingerprint_that_it_was_made_with(registered: Path) -> None:
    challenger = role("challenger", registered)

    assert challenger.has_fingerprint("f00d")
    assert not challenger.has_fingerprint("beef")
    assert not role("challenger", registered, "nobody").has_fingerprint("f00d")


# --- loading


def test_a_loaded_model_predicts_what_the_saved_one_did(registered: Path, candidate: Candidate) -> None:
    loaded = role("challenger", registered).load()

    assert loaded is not None
    assert (loaded.name, loaded.version, loaded.card) == (NAME, "1", candidate.card)
    rows = pd.concat([candidate.example, candidate.example.assign(plan="unseen", charge=np.nan)])
    expected = estimators.score(candidate.model, rows)
    assert (estimators.score(loaded.model, rows) == expected).all()
    assert (loaded.model.predict(rows) == (expected >= THRESHOLD)).all()


def test_the_champion_is_loaded_by_its_role(registered: Path) -> None:
    assert role("champion", registered).load() is None
    try:
        ChampionAlias(name=NAME).save(promotion(1, "approve"))
        champion = role("champion", registered).load()
    finally:
        client().delete_registered_model_alias(NAME, "champion")

    assert champion is not None
    assert champion.version == "1"


def test_nobody_is_champion_or_incumbent_at_first_and_a_missing_challenger_is_a_sentence(store: Path) -> None:
    assert role("champion", store, "nobody").load() is None
    assert role("incumbent", store, "nobody").load() is None
    assert not role("champion", store, "nobody").exists()
    assert catch_refusal(role("challenger", store, "nobody").load).startswith(
        "There is no candidate of nobody yet: kedro run"
    )


# --- what isn't what was registered


def artefacts(store: Path) -> Path:
    """The folder in which the registered model's files lie."""
    model = client().get_model_version(NAME, "1").source.rsplit("/", 1)[-1]
    (described,) = (path for path in (store / "artifacts").rglob("MLmodel") if model in path.parts)
    return described.parent


def description(store: Path) -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load((artefacts(store) / "MLmodel").read_text())
    return described


def digests(store: Path) -> dict[tuple[str, str], str]:
    rows = DeltaTable(filepath=str(store / "digests"), frame="pandas").load()
    return {(row.model, row.version): row.sha256 for row in rows.itertuples()}


def record_digest(store: Path, sha256: str) -> None:
    table = DeltaTable(filepath=str(store / "digests"), frame="pandas", mode="merge", keys=["model", "version"])
    table.save(pd.DataFrame([{"model": NAME, "version": "1", "sha256": sha256}]))


@contextmanager
def tamper(store: Path, **files: bytes) -> Iterator[None]:
    """Other bytes in files of the model, while it lasts; named without their ends."""
    paths = {next(artefacts(store).glob(f"{name}*")): content for name, content in files.items()}
    before = {path: path.read_bytes() for path in paths}
    for path, content in paths.items():
        path.write_bytes(content)
    try:
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


@contextmanager
def forge(store: Path, change: Callable[[dict[str, Any]], None], **files: bytes) -> Iterator[None]:
    """Another description of the model, and a digest that agrees with it: only the allow-list stands in the way."""
    described, recorded = description(store), digests(store)[NAME, "1"]
    change(described)
    with tamper(store, MLmodel=yaml.safe_dump(described).encode(), **files):
        record_digest(store, digest(artefacts(store)))
        try:
            yield
        finally:
            record_digest(store, recorded)


@pytest.mark.parametrize("name", ["model", "MLmodel", "requirements", "input_example"])
def test_a_flipped_byte_in_any_file_of_a_model_is_refused(registered: Path, name: str) -> None:
    content = next(artefacts(registered).glob(f"{name}*")).read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]

    with tamper(registered, **{name: flipped}):
        sentence = catch_refusal(role("challenger", registered).load)

    assert sentence.startswith(f"Version 1 of {NAME} is not what was registered")
    assert role("challenger", registered).load() is not None


def test_a_file_that_was_put_beside_a_model_is_refused(registered: Path) -> None:
    stranger = artefacts(registered) / "extra.py"
    stranger.write_text("")
    try:
        assert "another digest" in catch_refusal(role("challenger", registered).load)
    finally:
        stranger.unlink()


def test_a_version_without_a_recorded_digest_is_refused(registered: Path, tmp_path: Path) -> None:
    elsewhere = RegisteredModel(name=NAME, role="challenger", digests=str(tmp_path / "digests"))
    assert "has no recorded digest" in catch_refusal(elsewhere.load)

    DeltaTable(filepath=str(tmp_path / "digests")).save(
        pd.DataFrame(
            [{"model": "another", "version": "1", "sha256": "0"}, {"model": NAME, "version": "2", "sha256": "0"}]
        )
    )
    assert "has no recorded digest" in catch_refusal(elsewhere.load)


class Payload:
    """Leaves a file behind as soon as somebody unpickles it."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self._trace,)


def test_a_pickled_model_is_refused_before_it_is_unpickled(registered: Path, tmp_path: Path) -> None:
    trace = tmp_path / "was here"
    payload = pickle.dumps(Payload(trace))

    def say_pickle(described: dict[str, Any]) -> None:
        described["flavors"]["sklearn"] |= {"serialization_format": "cloudpickle"}

    with forge(registered, say_pickle, model=payload):
        sentence = catch_refusal(role("challenger", registered).load)

    assert "it isn't stored as skops" in sentence
    assert not trace.exists()
    pickle.loads(payload)
    assert trace.exists()


def trust_more(described: dict[str, Any]) -> None:
    described["flavors"]["sklearn"]["skops_trusted_types"] += ["os.system", "builtins.eval"]


def bring_code(described: dict[str, Any]) -> None:
    described["flavors"]["sklearn"]["code"] = "code"


def forget_the_card(described: dict[str, Any]) -> None:
    described["metadata"] = None


def be_something_else(described: dict[str, Any]) -> None:
    described["flavors"]["pytorch"] = described["flavors"].pop("sklearn")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (trust_more, "it trusts types that aren't on the allow-list: builtins.eval, os.system"),
        (bring_code, "it brings code of its own"),
        (forget_the_card, "it has no model card"),
        (be_something_else, "it isn't stored as skops"),
    ],
)
def test_a_suspicious_description_is_refused_before_the_model_is_read(
    registered: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    with forge(registered, change, model=b"not even an archive"):
        sentence = catch_refusal(role("challenger", registered).load)

    assert sentence == f"Version 1 of {NAME} is not loaded: {reason}. {REMEDY}"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("nothing", "not a zip file"), ("a stranger", "Untrusted types found in the file: ['fractions.")],
)
def test_a_file_that_holds_something_else_than_its_description_says_is_refused(
    registered: Path, kind: str, reason: str
) -> None:
    import skops.io

    content = b"not even an archive" if kind == "nothing" else skops.io.dumps({"model": Fraction(1, 3)})
    with forge(registered, lambda described: None, model=content):
        sentence = catch_refusal(role("challenger", registered).load)

    assert sentence.startswith(f"Version 1 of {NAME} is not loaded: its file does not match its description:")
    assert reason in sentence


def test_a_registry_that_was_lost_and_begun_again_counts_from_one_beside_digests_of_before(
    store: Path, candidate: Candidate, tmp_path: Path
) -> None:
    import mlflow

    again = RegisteredModel(name="again", role="challenger", digests=str(tmp_path / "digests"))
    lost = pd.DataFrame([{"model": "again", "version": "1", "sha256": "of the lost one"}])
    DeltaTable(filepath=str(tmp_path / "digests")).save(lost)

    with mlflow.start_run():
        again.save(candidate)

    assert again.load() is not None


# --- hostile files, tables and addresses: each a copy of the store, with one thing changed


@pytest.fixture
def copied(registered: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the store at a place of its own, which MLflow uses meanwhile."""
    import mlflow

    folder = Path(shutil.copytree(registered, tmp_path / "copied"))
    address = f"sqlite:///{folder / 'mlflow.db'}"
    tracking_store.relocate(address, tracking_store.Experiment("tests", str(folder / "artifacts")))
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(address)
    yield folder
    mlflow.set_tracking_uri(before)


def replace_by_a_link(path: Path) -> None:
    elsewhere = path.parents[3] / f"elsewhere {path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def link_a_file(store: Path) -> None:
    replace_by_a_link(artefacts(store) / "model.skops")


def link_the_folder(store: Path) -> None:
    replace_by_a_link(artefacts(store))


def add_a_link_to_a_folder(store: Path) -> None:
    (artefacts(store) / "etc").symlink_to("/etc")


def add_a_link_that_leads_nowhere(store: Path) -> None:
    (artefacts(store) / "nowhere").symlink_to("/nowhere")


def add_a_pipe(store: Path) -> None:
    os.mkfifo(artefacts(store) / "pipe")


def lose_the_folder(store: Path) -> None:
    shutil.rmtree(artefacts(store))


def mark_by_a_link(store: Path) -> None:
    (store / "victim").write_text("mine")
    (artefacts(store) / "registered_model_meta").unlink(missing_ok=True)
    (artefacts(store) / "registered_model_meta").symlink_to(store / "victim")


def mark(content: bytes) -> Callable[[Path], Any]:
    return lambda store: (artefacts(store) / "registered_model_meta").write_bytes(content)


def put_a_mark_below(store: Path) -> None:
    (artefacts(store) / "below").mkdir()
    (artefacts(store) / "below" / "registered_model_meta").write_text(f"model_name: {NAME}\nmodel_version: '1'\n")


def describe(content: bytes) -> Callable[[Path], None]:
    """A description whose digest agrees with it."""

    def write(store: Path) -> None:
        (artefacts(store) / "MLmodel").write_bytes(content)
        record_digest(store, digest(artefacts(store)))

    return write


def lose_the_description(store: Path) -> None:
    folder = artefacts(store)
    (folder / "MLmodel").unlink()
    record_digest(store, digest(folder))


def redescribe(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def rewrite(store: Path) -> None:
        described = description(store)
        change(described)
        describe(yaml.safe_dump(described).encode())(store)

    return rewrite


def with_card(**values: Any) -> Callable[[Path], None]:
    def change(described: dict[str, Any]) -> None:
        card = json.loads(described["metadata"]["lakehouse_ml.card"])
        described["metadata"]["lakehouse_ml.card"] = json.dumps({**card, **values})

    return redescribe(change)


def card_is(value: Any) -> Callable[[Path], None]:
    return redescribe(lambda described: described["metadata"].update({"lakehouse_ml.card": value}))


def with_digests(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def rewrite(store: Path) -> None:
        rows = change(DeltaTable(filepath=str(store / "digests"), frame="pandas").load())
        shutil.rmtree(store / "digests")
        DeltaTable(filepath=str(store / "digests")).save(rows)

    return rewrite


def move_files(address: str) -> Callable[[Path], None]:
    """Other addresses of the files, `{store}` the store's folder."""

    def change(store: Path) -> None:
        where = address.format(store=store)
        with closing(sqlite3.connect(store / "mlflow.db")) as rows, rows:
            rows.execute(
                "update model_versions set storage_location = ?, source = ? where name = ?", [where, where, NAME]
            )

    return change


def with_its_logged_model_at(address: str) -> Callable[[Path], None]:
    def change(store: Path) -> None:
        with closing(sqlite3.connect(store / "mlflow.db")) as rows, rows:
            rows.execute("update model_versions set storage_location = null where name = ?", [NAME])
            rows.execute("update logged_models set artifact_location = ?", [address])

    return change


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "link: a file": (link_a_file, "model.skops' is a link"),
    "link: the folder": (link_the_folder, "artifacts' is a link"),
    "link: a folder in it": (add_a_link_to_a_folder, "etc' is a link"),
    "link: nowhere": (add_a_link_that_leads_nowhere, "nowhere' is a link"),
    "link: the mark": (mark_by_a_link, "registered_model_meta' is a link"),
    "a pipe": (add_a_pipe, "pipe' is neither a file nor a folder"),
    "no folder": (lose_the_folder, "is missing"),
    "mark: foreign": (mark(b"import os"), "registered_model_meta is not what MLflow writes there"),
    "mark: another version": (mark(b"model_name: churn\nmodel_version: '2'"), "is not what MLflow writes there"),
    "mark: more in it": (mark(b"model_name: churn\nmodel_version: '1'\nx: 1"), "is not what MLflow writes there"),
    "mark: a list": (mark(b"[1]"), "is not what MLflow writes there"),
    "mark: NUL": (mark(b"\0"), "is not what MLflow writes there"),
    "mark: deep": (mark(b"[" * 2_000), "is not what MLflow writes there"),
    "mark: below": (put_a_mark_below, "its files have another digest"),
    "MLmodel: a tag": (describe(b"a: !!python/object/apply:os.system [id]"), "can't be read: could not determine"),
    "MLmodel: NUL": (describe(b"a: \0"), "can't be read: unacceptable character #x0000"),
    "MLmodel: a list": (describe(b"[1, 2]"), "can't be read: "),
    "MLmodel: a text": (describe(b"text"), "can't be read: "),
    "MLmodel: empty": (describe(b""), "can't be read: "),
    "MLmodel: no YAML": (describe(b"a: ["), "can't be read: while parsing"),
    "MLmodel: no UTF-8": (describe(b"a: \xff"), "can't be read: "),
    "MLmodel: deep": (describe(b"[" * 2_000), "can't be read: "),
    "MLmodel: missing": (lose_the_description, "can't be read: "),
    "MLmodel: flavors a list": (redescribe(lambda mlmodel: mlmodel.update(flavors=[1])), "can't be read: "),
    "MLmodel: a flavor a text": (
        redescribe(lambda mlmodel: mlmodel.update(flavors={"sklearn": "x"})), "can't be read: ",
    ),
    "MLmodel: metadata a list": (redescribe(lambda mlmodel: mlmodel.update(metadata=[1])), "has no model card"),
    "MLmodel: types a number": (
        redescribe(lambda mlmodel: mlmodel["flavors"]["sklearn"].update(skops_trusted_types=5)), "can't be read: ",
    ),
    "MLmodel: packages a list": (
        redescribe(lambda mlmodel: mlmodel["metadata"].update({"lakehouse_ml.made_with": {"packages": [1]}})),
        "can't be read: ",
    ),
    "card: unknown library": (with_card(library="os"), "the card's library can't be 'os'"),
    "card: library a path": (with_card(library="../../x"), "the card's library can't be '../../x'"),
    "card: library a list": (with_card(library=[1]), "the card's library can't be [1]"),
    "card: threshold a text": (with_card(threshold="high"), "the card's threshold can't be 'high'"),
    "card: a field more": (with_card(more=1), "its card was written by other code (it differs in more)"),
    "card: no JSON": (card_is("{"), "can't be read: Expecting property name"),
    "card: a list": (card_is("[]"), "its card was written by other code"),
    "card: a number": (card_is(3), "can't be read: "),
    "digests: renamed column": (with_digests(lambda rows: rows.rename(columns={"sha256": "sha"})), "no column sha256"),
    "digests: columns missing": (with_digests(lambda rows: rows[["model"]]), "has no column version, sha256"),
    "digests: version a number": (with_digests(lambda rows: rows.assign(version=1)), "has no recorded digest"),
    "digests: null": (with_digests(lambda rows: rows.assign(sha256=pd.Series([None], dtype="str"))), "another digest"),
    "digests: two": (
        with_digests(lambda rows: pd.concat([rows.assign(sha256="0" * 64), rows])), "has 2 different digests in",
    ),
    "digests: two, the right one first": (
        with_digests(lambda rows: pd.concat([rows, rows.assign(sha256="0" * 64)])), "has 2 different digests in",
    ),
    **{
        f"address: {address}": (move_files(address), f"its files are at {shown!r}, outside of the lake")
        for address, shown in {
            "/etc": "/etc", "file:///etc": "file:///etc", "file://host/etc": "file://host/etc",
            "http://127.0.0.1:9/m": "http://127.0.0.1:9/m", "s3://bucket/m": "s3://bucket/m", "dbfs:/m": "dbfs:/m",
            "runs:/abc/m": "runs:/abc/m", "relative": "relative", "mlflow-artifacts:/m": "mlflow-artifacts:/m",
        }.items()
    },
    "address: above": (move_files("file://{store}/../../etc"), "outside of the lake"),
    "address: the lake itself": (move_files("{store}"), "outside of the lake"),
    "address: itself": (move_files(f"models:/{NAME}/1"), f"has no files of version 1 of {NAME}"),
    "address: no such model": (move_files("models:/m-0"), f"has no files of version 1 of {NAME}"),
    "address: of its logged model": (with_its_logged_model_at("/etc"), "its files are at '/etc', outside of the lake"),
}  # fmt: skip


@pytest.mark.parametrize(("harm", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_version_is_refused_in_a_sentence_that_names_it_and_a_remedy(
    copied: Path, harm: Callable[[Path], Any], reason: str
) -> None:
    assert role("challenger", copied).load() is not None
    harm(copied)

    sentence = catch_refusal(role("challenger", copied).load)

    assert reason in sentence
    assert f"ersion 1 of {NAME}" in sentence
    assert any(remedy in sentence for remedy in ("Restore", "Remove that file", "go back to that"))
    assert "\n" not in sentence
    assert not role("challenger", copied).has_fingerprint("f00d") or "can't be read" in reason or "card" in reason


def test_a_version_that_the_registry_lost_is_refused(copied: Path) -> None:
    client().set_model_version_tag(NAME, "1", "judged_against", "99")
    assert f"has no files of version 99 of {NAME}" in catch_refusal(role("incumbent", copied).load)


def test_a_link_in_the_place_of_mlflows_mark_is_not_written_through(copied: Path, candidate: Candidate) -> None:
    mark_by_a_link(copied)
    role("challenger", copied).has_fingerprint("f00d")
    catch_refusal(role("challenger", copied).load)
    assert (copied / "victim").read_text() == "mine"


def test_mlflows_mark_at_the_top_is_no_part_of_a_version(copied: Path) -> None:
    import mlflow

    mlflow.artifacts.download_artifacts(f"models:/{NAME}/1")
    assert (artefacts(copied) / "registered_model_meta").is_file()
    assert role("challenger", copied).load() is not None


def test_two_equal_digests_do_not_contradict_each_other(copied: Path) -> None:
    with_digests(lambda rows: pd.concat([rows, rows]))(copied)
    assert role("challenger", copied).load() is not None


def test_a_package_that_a_description_names_is_not_imported(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    redescribe(
        lambda mlmodel: mlmodel["metadata"].update(
            {"lakehouse_ml.made_with": {"packages": {"antigravity": "1.0", "": "1"}}}
        )
    )(copied)
    assert role("challenger", copied).load() is not None
    assert "antigravity 1.0 (installed: not installed)" in caplog.text
    assert "antigravity" not in sys.modules


def test_files_may_lie_below_the_folder_that_the_catalog_names(copied: Path, tmp_path: Path) -> None:
    (copied / "artifacts").rename(tmp_path / "big")
    with closing(sqlite3.connect(copied / "mlflow.db")) as rows, rows:
        moved = [(copied / "artifacts").as_uri(), (tmp_path / "big").as_uri()]
        rows.execute("update model_versions set storage_location = replace(storage_location, ?, ?)", moved)
        rows.execute("update experiments set artifact_location = replace(artifact_location, ?, ?)", moved)
    assert "outside of the lake" in catch_refusal(role("challenger", copied).load)
    named = {"digests": str(copied / "digests"), "artifacts": str(tmp_path / "big")}
    assert RegisteredModel(name=NAME, role="challenger", **named).load() is not None


# --- who stands where


def test_an_approved_version_becomes_champion_and_says_why(store: Path) -> None:
    versions("approved", 2, challenger=2, champion=1)

    with attach_provenance(MADE):
        ChampionAlias(name="approved").save(promotion(2, "approve", incumbent=1))

    standing = ChampionAlias(name="approved").load()
    assert (standing.champion, standing.candidate, standing.decision) == ("2", "2", "approve")
    assert standing.reason == "Said so."
    assert standing.tags["evidence"] == "e41d"
    assert not standing.awaits_approval


@pytest.mark.parametrize("decision", ["refuse", "request"])
def test_any_other_verdict_leaves_the_champion_where_it_is(store: Path, decision: str) -> None:
    versions(decision, 2, challenger=2, champion=1)

    ChampionAlias(name=decision).save(promotion(2, decision, incumbent=1))

    standing = ChampionAlias(name=decision).load()
    assert (standing.champion, standing.candidate, standing.decision) == ("1", "2", decision)
    assert standing.awaits_approval == (decision == "request")


def test_a_first_model_that_is_refused_leaves_no_champion(store: Path) -> None:
    versions("first", 1, challenger=1)

    ChampionAlias(name="first").save(promotion(1, "refuse"))

    assert ChampionAlias(name="first").load().champion is None
    assert not ChampionAlias(name="first").exists()


def test_the_incumbent_stays_the_one_that_a_promoted_candidate_was_judged_against(store: Path) -> None:
    versions("succession", 3, challenger=2, champion=1)
    incumbent, champion = role("incumbent", store, "succession"), role("champion", store, "succession")
    assert incumbent.token() == "version 1"

    ChampionAlias(name="succession").save(promotion(2, "approve", incumbent=1))
    assert (champion.token(), incumbent.token()) == ("version 2", "version 1")

    client().set_registered_model_alias("succession", "challenger", "3")
    assert incumbent.token() == "version 2"


def test_a_first_champion_was_judged_against_nobody_and_stays_so(store: Path) -> None:
    versions("alone", 1, challenger=1)

    ChampionAlias(name="alone").save(promotion(1, "approve"))

    assert role("champion", store, "alone").token() == "version 1"
    assert role("incumbent", store, "alone").token() == "version None"
    assert role("incumbent", store, "alone").load() is None


def test_an_empty_registry_has_a_standing_too(store: Path) -> None:
    standing = ChampionAlias(name="nobody").load()

    assert (standing.champion, standing.candidate, standing.decision) == (None, None, None)


def test_the_token_of_a_promotion_changes_with_candidate_verdict_and_champion(store: Path) -> None:
    versions("tokens", 2, challenger=1)
    edge = ChampionAlias(name="tokens")
    tokens = [edge.token()]

    edge.save(promotion(1, "request"))
    tokens.append(edge.token())
    edge.save(promotion(1, "approve"))
    tokens.append(edge.token())
    client().set_registered_model_alias("tokens", "challenger", "2")
    tokens.append(edge.token())

    assert len(set(tokens)) == 4
    assert edge.token() == tokens[-1]


def test_a_promotion_is_held_until_there_is_another_candidate(store: Path) -> None:
    versions("held", 2, challenger=1)
    edge = ChampionAlias(name="held")
    assert not edge.has_fingerprint("f00d")
    with attach_provenance(MADE):
        edge.save(promotion(1, "approve"))
    assert edge.has_fingerprint("f00d")
    assert not edge.has_fingerprint("beef")

    client().set_registered_model_alias("held", "challenger", "2")

    assert not edge.has_fingerprint("f00d")


# --- other versions of the libraries


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Another environment: what it says is installed there."""

    def install(package: str, other: str) -> None:
        monkeypatch.setattr(artefact, "version_of", lambda name: other if name == package else version(name))

    return install


def test_a_model_says_what_it_was_made_with(registered: Path) -> None:
    import mlflow
    from mlflow.models import get_model_info

    made_with = get_model_info(f"models:/{NAME}/1").metadata["lakehouse_ml.made_with"]
    assert made_with["python"] == platform.python_version()
    packages = ("scikit-learn", "skops", "pandas", "numpy")
    assert made_with["packages"] == {package: version(package) for package in packages}
    assert mlflow.active_run() is None


def test_a_model_of_another_scikit_learn_is_loaded_with_a_warning(
    registered: Path, elsewhere: Callable[[str, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere("scikit-learn", "2.1.0")
    assert role("challenger", registered).load() is not None
    assert (
        f"was trained with scikit-learn {version('scikit-learn')} (installed: 2.1.0): its scores may differ"
        in caplog.text
    )


def test_where_conf_says_so_it_is_refused(registered: Path, elsewhere: Callable[[str, str], None]) -> None:
    elsewhere("numpy", "9.0.0")
    strict = RegisteredModel(name=NAME, role="challenger", digests=str(registered / "digests"), other_versions="refuse")
    assert catch_refusal(strict.load).startswith(
        f"Version 1 of {NAME} was trained with numpy {version('numpy')} (installed: 9.0.0), and is not loaded: "
    )


def test_another_patch_of_a_library_is_no_other_version(
    registered: Path, elsewhere: Callable[[str, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere("pandas", ".".join([*version("pandas").split(".")[:2], "99"]))
    assert role("challenger", registered).load() is not None
    assert "was trained with" not in caplog.text


def test_a_model_with_a_catalog_and_a_schema_is_registered_by_its_full_name(store: Path, candidate: Candidate) -> None:
    import mlflow

    full = f"main.lakehouse_ml_dev.{NAME}"
    with mlflow.start_run(), attach_provenance(MADE):
        role("challenger", store, full).save(candidate)
    version = client().get_model_version_by_alias(full, "challenger")
    assert version.tags["use_case"] == NAME
    loaded = role("challenger", store, full).load()
    assert loaded is not None
    assert (loaded.name, loaded.version) == (full, "1")
