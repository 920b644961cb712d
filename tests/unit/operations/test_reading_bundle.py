"""A bundle is read as the Databricks CLI reads it: included, merged, resolved, named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lakehouse_ml.errors import ConfError
from lakehouse_ml.operations.bundle.bundle import Bundle, load_bundle
from lakehouse_ml.operations.bundle.source import list_targets, merge

MINIMAL = """\
bundle: {name: some}
include: [parts/*.yml]
variables:
  catalog: {description: needed}
  schema: {default: "lake_${bundle.target}"}
targets:
  dev: {mode: development, default: true}
  prod: {mode: production}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("BUNDLE_VAR_catalog", raising=False)
    (tmp_path / "parts").mkdir()
    (tmp_path / "databricks.yml").write_text(MINIMAL)
    return tmp_path


def write(folder: Path, text: str, name: str = "parts/one.yml") -> None:
    (folder / name).write_text(text)


def job(bundle: Bundle, key: str = "one") -> dict[str, Any]:
    return dict(bundle.jobs[key].fields)


def test_files_are_included_and_targets_override_what_they_say(folder: Path) -> None:
    write(
        folder,
        """
resources: {jobs: {one: {name: one, tags: {a: "1", b: "2"}, tasks: [{task_key: a}, {task_key: b, max_retries: 1}]}}}
targets: {prod: {resources: {jobs: {one: {tags: {b: "3"}, tasks: [{task_key: b, max_retries: 2}]}}}}}
""",
    )
    assert job(load_bundle(folder, "dev"))["tags"] == {"dev": "you", "a": "1", "b": "2"}
    prod = job(load_bundle(folder, "prod"))
    assert prod["tags"] == {"a": "1", "b": "3"}
    assert prod["tasks"] == [{"task_key": "a"}, {"task_key": "b", "max_retries": 2}]


def test_lists_without_names_are_joined() -> None:
    usual = {"permissions": [1], "tasks": [{"task_key": "a", "x": 1}]}
    of_target = {"permissions": [2], "tasks": [{"task_key": "a", "y": 2}]}
    assert merge(usual, of_target) == {"permissions": [1, 2], "tasks": [{"task_key": "a", "x": 1, "y": 2}]}


def test_the_default_target_is_chosen_and_an_unknown_one_is_refused_with_the_nearest(folder: Path) -> None:
    assert load_bundle(folder).source.target == "dev"
    assert list_targets(folder) == ["dev", "prod"]
    with pytest.raises(ConfError, match=r"has no target prd\. Did you mean prod\?"):
        load_bundle(folder, "prd")


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    assert list_targets(tmp_path) == []
    with pytest.raises(ConfError, match=r"There is no databricks\.yml in "):
        load_bundle(tmp_path)


def test_invalid_yaml_is_refused_with_its_line(folder: Path) -> None:
    write(folder, "resources: [\n")
    with pytest.raises(ConfError, match=r"one\.yml, line 2: this is not valid YAML"):
        load_bundle(folder)


def test_a_name_of_two_resources_is_refused(folder: Path) -> None:
    write(folder, "resources: {jobs: {one: {name: one}}}")
    write(folder, "resources: {volumes: {one: {name: one}}}", "parts/two.yml")
    with pytest.raises(ConfError, match=r"parts/two\.yml, line 1: one is declared twice, also among jobs of parts/one"):
        load_bundle(folder)


def test_variables_refer_to_each_other_and_keep_their_types(folder: Path) -> None:
    write(
        folder,
        """
variables:
  retries: {default: 3}
  waits: {type: complex, default: {periodic: {interval: 1, unit: "${var.unit}"}}}
  unit: {default: DAYS}
resources:
  jobs:
    one:
      name: ${var.catalog}.${var.schema}
      trigger: ${var.waits}
      tasks: [{task_key: a, max_retries: "${var.retries}", timeout_seconds: "${var.waits.periodic.interval}"}]
""",
    )
    fields = job(load_bundle(folder, "prod", {"catalog": "main"}))
    assert fields["name"] == "main.lake_prod"
    assert fields["trigger"] == {"periodic": {"interval": 1, "unit": "DAYS"}}
    assert fields["tasks"] == [{"task_key": "a", "max_retries": 3, "timeout_seconds": 1}]


def test_values_come_from_the_call_then_the_environment_then_the_user_s_file_then_the_target(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, 'resources: {jobs: {one: {name: "${var.catalog}"}}}')
    assert load_bundle(folder).unset == ("catalog",)
    write(
        folder,
        "resources: {jobs: {one: {name: '${var.catalog}'}}}\n"
        "targets: {dev: {variables: {catalog: of_target}}, prod: {variables: {catalog: {default: of_target}}}}",
    )
    for target in ("dev", "prod"):
        assert job(load_bundle(folder, target))["name"].endswith("of_target")
    overrides = folder / ".databricks" / "bundle" / "prod" / "variable-overrides.json"
    overrides.parent.mkdir(parents=True)
    overrides.write_text(json.dumps({"catalog": "of_user"}))
    assert job(load_bundle(folder, "prod"))["name"] == "of_user"
    monkeypatch.setenv("BUNDLE_VAR_catalog", "of_shell")
    assert job(load_bundle(folder, "prod"))["name"] == "of_shell"
    assert job(load_bundle(folder, "prod", {"catalog": "of_call"}))["name"] == "of_call"


def test_names_of_development_begin_with_the_user_s_and_nothing_starts_by_itself(folder: Path) -> None:
    write(
        folder,
        """
resources:
  experiments: {runs: {name: /Users/me/runs}}
  jobs:
    one:
      name: one
      schedule: {quartz_cron_expression: 0 0 3 * * ?, timezone_id: UTC}
      parameters: [{name: experiment, default: "${resources.experiments.runs.name}"}]
""",
    )
    dev, prod = load_bundle(folder, "dev"), load_bundle(folder, "prod")
    assert (job(dev)["name"], job(prod)["name"]) == ("[dev you] one", "one")
    assert dev.jobs["one"].parameters == {"experiment": "/Users/me/[dev you] runs"}
    assert prod.jobs["one"].parameters == {"experiment": "/Users/me/runs"}
    assert (job(dev)["schedule"]["pause_status"], job(prod)["schedule"].get("pause_status")) == ("PAUSED", None)


def test_empty_texts_are_left_out_but_for_defaults(folder: Path) -> None:
    write(folder, 'resources: {jobs: {one: {name: one, description: "", parameters: [{name: batch, default: ""}]}}}')
    assert job(load_bundle(folder, "prod")) == {"name": "one", "parameters": [{"name": "batch", "default": ""}]}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("var.schemma", "parts/one.yml, line 2: ${var.schemma} is not known. Did you mean schema?"),
        ("bundle.nmae", "parts/one.yml, line 2: ${bundle.nmae} is not known. Did you mean name?"),
        ("other.thing", "is not known. References begin with var., bundle., workspace. or resources."),
        ("var.a", "${var.a} refers to itself."),
    ],
)
def test_a_reference_without_a_value_is_reported_with_its_line(folder: Path, reference: str, message: str) -> None:
    write(
        folder,
        f'variables: {{a: {{default: "${{var.b}}"}}, b: {{default: "${{var.a}}"}}}}\n'
        f'resources: {{jobs: {{one: {{name: "${{{reference}}}"}}}}}}\n',
    )
    assert any(message in fault for fault in load_bundle(folder).faults), load_bundle(folder).faults


def test_an_id_that_only_a_workspace_knows_stays_a_mark(folder: Path) -> None:
    write(folder, 'resources: {jobs: {one: {name: "${resources.jobs.two.id}"}, two: {name: two}}}')
    assert job(load_bundle(folder, "prod"))["name"] == "<resources.jobs.two.id>"
