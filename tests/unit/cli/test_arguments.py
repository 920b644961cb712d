"""What is typed after `kedro run`, or written into a file for it, is used as it stands or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from kedro.framework.cli.project import run as kedro_run

from lakehouse_ml.cli import arguments
from lakehouse_ml.cli.commands import cli, run


@pytest.fixture
def arguments_of_run(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that reach Kedro's own run."""
    arguments: dict[str, Any] = {}
    monkeypatch.setattr(kedro_run, "callback", arguments.update)
    return arguments


def run_words(*words: str) -> str:
    """What is said of a command line; nothing where it runs."""
    result = CliRunner().invoke(cli, ["run", *words])
    assert result.exit_code == (1 if result.output else 0), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output.removeprefix("Error: ").removesuffix("\n")


def run_config(folder: Path, text: str) -> str:
    """What is said of a file of arguments, from its name on."""
    (folder / "run.yml").write_text(text, encoding="utf-8")
    return run_words("--config", str(folder / "run.yml")).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("params", "means"),
    [
        ("lake=/a b,landing=/c=d", {"lake": "/a b", "landing": "/c=d"}),
        ("lake='/a b'", {"lake": "/a b"}),
        ("lake=/a #1: x", {"lake": "/a #1: x"}),
        ("lake=2024,results_table=yes", {"lake": "2024", "results_table": "yes"}),
        (" churn.training.folds = 3 ,churn.seed=null", {"churn": {"training": {"folds": 3}, "seed": None}}),
        ("churn.day='2024-12-31',churn.word=a: b", {"churn": {"day": "2024-12-31", "word": {"a": "b"}}}),
        ("lake=/a,churn.day=", {"lake": "/a", "churn": {"day": None}}),
        ("", {}),
    ],
)
def test_params_are_addresses_as_typed_and_values_in_yaml(
    arguments_of_run: dict[str, Any], params: str, means: dict[str, Any]
) -> None:
    assert run_words("--params", params) == ""
    assert arguments_of_run["params"] == means


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ("lake=/a b,c", "--params: 'c' has no =. Parameters are KEY=VALUE, divided by commas; a value with a comma is"),
        ("=3", "--params: '=3' has no key before its =. Parameters are KEY=VALUE"),
        ("lake=", "--params: lake is empty. Give it a value, lake=VALUE, or leave it out."),
        ("landing=' '", "--params: landing is empty. "),
        ("a.b=[1", "--params: a.b=[1 can't be read as YAML: "),
        ("lake=/a,lake=/b", "--params: lake conflicts with lake. Leave one of them out."),
        ("a=1,a.b=2", "--params: a.b conflicts with a. Leave one of them out."),
    ],
)
def test_params_that_say_something_else_are_refused(
    arguments_of_run: dict[str, Any], params: str, sentence: str
) -> None:
    assert run_words("--params", params).startswith(sentence)
    assert arguments_of_run == {}


@pytest.mark.parametrize(
    ("lines", "means"),
    [
        ("nodes: [a, b]", {"node_names": ("a", "b")}),
        ("node_names: a, b", {"node_names": ("a", "b")}),
        ("node_names: ['f([x,y]) -> [z]']", {"node_names": ("f([x,y]) -> [z]",)}),
        ("pipelines: [training, evaluation]\n  namespaces: [churn]",
         {"pipelines": ["training", "evaluation"], "namespaces": ["churn"]}),
        ("from-nodes: [a]\n  to_outputs: [b, c]\n  tags: [t]",
         {"from_nodes": ["a"], "to_outputs": ["b", "c"], "tags": ["t"]}),
        ("params: {churn.training.folds: 3, churn: {training.search: s}, lake: '/a b,c'}",
         {"params": {"churn": {"training": {"folds": 3, "search": "s"}}, "lake": "/a b,c"}}),
        ("params: {churn: {day: 2024-12-31, days: [2024-12-30]}}",
         {"params": {"churn": {"day": "2024-12-31", "days": ["2024-12-30"]}}}),
        ("params: lake=/a,landing=/b", {"params": {"lake": "/a", "landing": "/b"}}),
        ("load_versions: {t: v1, u: v2}", {"load_versions": {"t": "v1", "u": "v2"}}),
        ("only_missing_outputs: true\n  env: dev\n  runner: SequentialRunner\n  runner_params: {is_async: false}",
         {"only_missing_outputs": True, "env": "dev", "runner": "SequentialRunner",
          "runner_params": {"is_async": False}}),
    ],
)  # fmt: skip
def test_a_file_of_arguments_means_what_the_command_line_does(
    arguments_of_run: dict[str, Any], tmp_path: Path, lines: str, means: dict[str, Any]
) -> None:
    assert run_config(tmp_path, f"run:\n  {lines}\n") == ""
    plain = {name: tuple(value) if name == "node_names" else value for name, value in arguments_of_run.items()}
    assert {name: plain[name] for name in means} == means


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "run.yml: no arguments found. Write them below run:, indented."),
        ("run:\n", "run.yml: no arguments found. Write them below run:, indented."),
        ("- run\n", "run.yml: no arguments found. Write them below run:, indented."),
        ("namespaces: churn\n", "run.yml, line 1: namespaces belongs below the section run:, indented."),
        ("run: {env: dev}\nrnu: {}\n", "run.yml, line 2: rnu is not known: use the section run:, indented."),
        ("run: {env: [dev\n", "run.yml, line 2: this is not valid YAML ("),
        ("run:\n  env: dev\n  pipline: training\n", "run.yml, line 3: pipline is not an argument of run. Did"),
        ("run:\n  config: b.yml\n", "run.yml, line 2: config is not an argument of run. "),
        ("run:\n  env: [dev]\n", "run.yml, line 2: env can't be ['dev']: it is text."),
        ("run:\n  env: dev\n  nodes: {a: b}\n", "run.yml, line 3: nodes can't be {'a': 'b'}: it is a list of names."),
        ("run:\n  nodes: [a, {b: c}]\n", "run.yml, line 2: nodes can't hold {'b': 'c'}: it is a list of names."),
        ("run:\n  nodes:\n", "run.yml, line 2: nodes is empty. Give it a value, or remove the line."),
        ("run:\n  namespaces: []\n", "run.yml, line 2: namespaces is empty. Give it a value, or remove the line."),
        ("run:\n  nodes: [a]\n  node_names: [b]\n", "run.yml, line 3: node_names appears twice, under two names."),
        ("run:\n  params: [a]\n", "run.yml, line 2: params can't be ['a']: it is keys with values."),
        ("run:\n  only_missing_outputs: maybe\n", "run.yml, line 2: only_missing_outputs can't be 'maybe': it is "),
        ("run:\n  params: {lake: 3}\n", "--params: lake can't be 3: it is text. In a file put it in quotes."),
        ("run:\n  params: {lake: }\n", "--params: lake is empty. "),
        ("run:\n  params: {a: 1, a.b: 2}\n", "--params: a.b conflicts with a. Leave one of them out."),
    ],
)
def test_a_file_of_arguments_that_cannot_be_used_is_named_with_line_and_key(
    arguments_of_run: dict[str, Any], tmp_path: Path, text: str, sentence: str
) -> None:
    assert run_config(tmp_path, text).startswith(sentence)
    assert arguments_of_run == {}


def test_what_is_typed_counts_more_than_the_file(arguments_of_run: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run.yml").write_text("run: {env: dev, namespaces: [churn]}\n", encoding="utf-8")
    assert run_words("--namespaces", "predictive_maintenance", "--config", str(tmp_path / "run.yml")) == ""
    assert (arguments_of_run["env"], arguments_of_run["namespaces"]) == ("dev", ["predictive_maintenance"])


def test_an_installed_package_reads_the_same_file(arguments_of_run: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run.yml").write_text("run: {namespaces: [churn]}\n", encoding="utf-8")
    run.main(["--config", str(tmp_path / "run.yml")], prog_name="lakehouse_ml", standalone_mode=False)
    assert arguments_of_run["namespaces"] == ["churn"]


@pytest.mark.parametrize("name", ["Foo", "my.package.Foo", "kedro.runner.Foo"])
def test_a_runner_that_does_not_exist_is_refused_by_name(name: str) -> None:
    with pytest.raises(click.ClickException, match=f"^--runner: no runner is named '{name}'"):
        arguments.check_runner(name)
    arguments.check_runner(None)
    arguments.check_runner("kedro.runner.SequentialRunner")
