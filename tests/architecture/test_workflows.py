"""Workflows name what exists, get no more rights than they need, and remove what they deploy; mistakes are found."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakehouse_ml.operations.bundle.bundle import load_bundle
from lakehouse_ml.use_cases import USE_CASES

PROJECT = Path(__file__).resolve().parents[2]
TEXTS = {path.name: path.read_text("utf-8") for path in sorted((PROJECT / ".github" / "workflows").glob("*.yml"))}
PAGE = PROJECT / "docs" / "how-to" / "deploy-from-ci.md"
# What the page shows for GitLab and Azure DevOps; checked where the rules are not GitHub's own.
SHOWN = dict(enumerate(re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL), start=1))
ALL_TEXTS = {**TEXTS, **{f"{PAGE.name} {number}": text for number, text in SHOWN.items()}}
VALUES = {"catalog": "main", "service_principal": "00000000-0000-0000-0000-000000000000", "alerts": "us@example.org"}
# What a job may ask for: to read the code, and to prove who it is.
RIGHTS = {"contents": "read", "id-token": "write"}
NO_FORK = "github.event.pull_request.head.repo.full_name == github.repository"

Workflow = Mapping[str, Any]


def parsed(text: str) -> Workflow:
    """Keys and values as text: `on` would be a boolean, and 3.10 a number."""
    return yaml.load(text, yaml.BaseLoader)


def steps(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(job.get("steps", []))


def commands(job: Mapping[str, Any]) -> str:
    return "\n".join(step.get("run", "") for step in steps(job))


# --- mistakes, by what they are looked for in: the text, or what it says


def unpinned_actions(text: str) -> Iterator[str]:
    """Actions of others without a commit and the version that it is; those of this repository are of its commit."""
    for used, comment in re.findall(r"^\s*-? *uses: (\S+)(.*)$", text, re.MULTILINE):
        is_pinned = re.fullmatch(r"[\w-]+/[\w.-]+@[0-9a-f]{40}", used) and re.fullmatch(r"\s+# v\d+\.\d+\.\d+", comment)
        if not used.startswith("$/") and not is_pinned:
            yield used


def named_secrets(text: str) -> Iterator[str]:
    yield from re.findall(r"\bsecrets\b\S*", text)


def unknown_targets_of_make(text: str) -> Iterator[str]:
    targets = set(re.findall(r"^([\w./-]+):", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for call in re.findall(r"^(?:[ -]|run: |script: )*make ([\w./ -]+)$", text, re.MULTILINE):
        yield from sorted({*call.split()} - targets)


def unknown_jobs(text: str) -> Iterator[str]:
    """Jobs and targets that the bundle lacks."""
    targets = yaml.safe_load((PROJECT / "databricks.yml").read_text("utf-8"))["targets"]
    for target in re.findall(r"databricks bundle \w+ -t (\S+)", text):
        if target not in targets:
            yield target
    for target, job in re.findall(r"databricks bundle run -t (\S+) (\S+)", text):
        if target in targets and job not in load_bundle(PROJECT, target, VALUES).jobs:
            yield job


def unknown_variables(text: str) -> Iterator[str]:
    """Variables that neither `databricks.yml` nor `resources/` declares."""
    files = [PROJECT / "databricks.yml", *(PROJECT / "resources").glob("*.yml")]
    declared = {name for file in files for name in yaml.safe_load(file.read_text("utf-8")).get("variables", {})}
    used = {name for pair in re.findall(r"--var[ =]\"?(\w+)=|BUNDLE_VAR_(\w+)", text) for name in pair if name}
    yield from sorted(used - declared)


def missing_variables(text: str) -> Iterator[str]:
    """Variables that docs/how-to/databricks.md names for a deployment, and that a file which deploys does not set."""
    page = (PROJECT / "docs" / "how-to" / "databricks.md").read_text("utf-8")
    (command,) = re.findall(r"^databricks bundle deploy -t prod (.+)$", page.replace("\\\n", ""), re.MULTILINE)
    set_here = {name for pair in re.findall(r"--var (\w+)=|BUNDLE_VAR_(\w+)", text) for name in pair}
    targets = re.findall(r"databricks bundle deploy -t (\w+)", text)
    expected = {
        name for name in re.findall(r"--var (\w+)=", command) if targets and (name != "alerts" or "prod" in targets)
    }
    yield from sorted(expected - set_here)


def misplaced_samples(text: str) -> Iterator[str]:
    """Folders into which a sample is copied, and in which no job of a copy looks for files."""
    jobs = load_bundle(PROJECT, "staging", {**VALUES, "copy": "_pr_12"}).jobs.values()
    landings = {job.parameters["landing"] for job in jobs}
    for folder in re.findall(r'"dbfs:(\S+)"', text):
        named = folder.replace("${BUNDLE_VAR_catalog}", "main").replace("${BUNDLE_VAR_copy}", "_pr_12")
        if not {named, *(f"{named}/{use_case.name}" for use_case in USE_CASES)} <= landings:
            yield folder


def excessive_rights(workflow: Workflow) -> Iterator[str]:
    """Rights of a whole workflow, rights that no job needs, and identities of jobs that call no Databricks."""
    if workflow.get("permissions") != {}:
        yield "workflow"
    for key, job in workflow["jobs"].items():
        rights = job.get("permissions", {})
        if not rights.items() <= RIGHTS.items() or ("id-token" in rights) != ("databricks " in commands(job)):
            yield key


def jobs_open_to_forks(workflow: Workflow) -> Iterator[str]:
    """Jobs with an identity that a pull request of a fork would start."""
    if {"pull_request", "pull_request_target"} & {*workflow["on"]}:
        for key, job in workflow["jobs"].items():
            if "id-token" in job.get("permissions", {}) and NO_FORK not in job.get("if", ""):
                yield key


def interpolated_commands(workflow: Workflow) -> Iterator[str]:
    """Jobs with a command into which GitHub would paste a value."""
    yield from (key for key, job in workflow["jobs"].items() if "${{" in commands(job))


def kept_tokens(workflow: Workflow) -> Iterator[str]:
    """Jobs whose checkout leaves GitHub's token in .git, where every later step can read it."""
    for key, job in workflow["jobs"].items():
        checkouts = [step for step in steps(job) if "actions/checkout" in step.get("uses", "")]
        if any(step.get("with", {}).get("persist-credentials") != "false" for step in checkouts):
            yield key


def jobs_without_a_limit(workflow: Workflow) -> Iterator[str]:
    yield from (key for key, job in workflow["jobs"].items() if "steps" in job and "timeout-minutes" not in job)


def copies_that_stay(workflow: Workflow) -> Iterator[str]:
    """Jobs that deploy a copy and that no job removes whatever happens, with nothing that could cancel it."""
    jobs = workflow["jobs"]
    for key, job in jobs.items():
        env = job.get("env", {})
        if "BUNDLE_VAR_copy" not in env or "databricks bundle deploy" not in commands(job):
            continue
        removes = [one for one in jobs.values() if key in needs(one) and one.get("env") == env and always_destroys(one)]
        if not removes or workflow.get("concurrency", {}).get("cancel-in-progress") != "false":
            yield key


def needs(job: Mapping[str, Any]) -> list[str]:
    """The jobs that it waits for; GitHub takes one as text."""
    named = job.get("needs", [])
    return [named] if isinstance(named, str) else named


def always_destroys(job: Mapping[str, Any]) -> bool:
    return job.get("if", "").startswith("always()") and "bundle destroy -t staging --auto-approve" in commands(job)


def is_copy_removed(text: str) -> bool:
    """Whether a file of GitLab or Azure DevOps that deploys a copy, removes it whatever happens."""
    destroy = r"databricks bundle destroy -t staging --auto-approve --force-lock"
    return bool(re.search(rf"after_script:\n +- {destroy}\n|{destroy} \$VARIABLES\n +condition: always\(\)\n", text))


# --- as shipped


@pytest.mark.parametrize("name", ALL_TEXTS)
@pytest.mark.parametrize("find", [unknown_targets_of_make, unknown_jobs, unknown_variables, missing_variables])
def test_what_a_workflow_names_exists_and_suffices(name: str, find: Callable[[str], Iterator[str]]) -> None:
    assert list(find(ALL_TEXTS[name])) == []


@pytest.mark.parametrize("name", TEXTS)
def test_every_action_is_pinned_by_its_commit(name: str) -> None:
    assert list(unpinned_actions(TEXTS[name])) == []


@pytest.mark.parametrize("name", ALL_TEXTS)
def test_no_workflow_names_a_secret(name: str) -> None:
    assert list(named_secrets(ALL_TEXTS[name])) == []


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(
    "find",
    [excessive_rights, jobs_open_to_forks, interpolated_commands, kept_tokens, jobs_without_a_limit, copies_that_stay],
)
def test_a_workflow_is_confined(name: str, find: Callable[[Workflow], Iterator[str]]) -> None:
    assert list(find(parsed(TEXTS[name]))) == []


@pytest.mark.parametrize("number", SHOWN)
def test_a_copy_that_the_page_deploys_is_removed(number: int) -> None:
    text = SHOWN[number]
    deploys_a_copy = "BUNDLE_VAR_copy" in text or "--var copy" in text
    assert is_copy_removed(text) == deploys_a_copy
    for kept in (text.replace("after_script", "script"), text.replace("condition: always()", "")):
        assert kept == text or not is_copy_removed(kept)


def test_the_page_shows_a_file_for_each_system() -> None:
    assert len(SHOWN) == 3
    assert [deploys for deploys in SHOWN.values() if is_copy_removed(deploys)] == [SHOWN[1], SHOWN[2]]


def test_the_workflows_run_all_that_ci_runs() -> None:
    """`make test-all` is the fast tests, the linters, and the two slow suites."""
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    suites = re.search(r"^test-all: ([a-z ]+) ##.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert suites
    expected = {*suites[1].split(), *re.findall(r"test-\w+", suites[2])}
    assert len(expected) == 4
    called = re.findall(r"- run: make (\S+)$", TEXTS["tests.yml"], re.MULTILINE)
    assert {*called} == {*expected, "run"}


def test_a_release_waits_for_the_tests() -> None:
    jobs = parsed(TEXTS["release.yml"])["jobs"]
    assert jobs[jobs["deploy"]["needs"]]["uses"] == "$/.github/workflows/tests.yml"
    assert jobs["deploy"]["environment"] == "prod"


def test_the_sample_is_put_where_the_copy_looks_for_files(tmp_path: Path) -> None:
    runpy.run_path(str(PROJECT / ".ci" / "sample.py"), run_name="sample")["main"](tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {use_case.name for use_case in USE_CASES}
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) < 100
    assert list(misplaced_samples(TEXTS["pull-request.yml"])) == []


def test_the_page_counts_what_a_pull_request_runs() -> None:
    jobs = load_bundle(PROJECT, "staging", VALUES).jobs
    started = [jobs[name] for name in re.findall(r"bundle run -t staging (\w+)", TEXTS["pull-request.yml"])]
    tasks = [task for job in started for task in job.tasks]
    clusters = {(task.job, task.fields["job_cluster_key"]) for task in tasks if not task.is_serverless}
    assert (
        f"starts {len(started)} job runs with {len(tasks)} tasks. They start {len(clusters)} clusters;"
        in PAGE.read_text("utf-8").replace("\n", " ")
    )


# --- each mistake, planted


@pytest.mark.parametrize(
    ("name", "old", "new", "find", "expected"),
    [
        ("tests.yml", "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1   # v7.0.1", "actions/checkout@v7",
         unpinned_actions, ["actions/checkout@v7"]),
        ("tests.yml", "5.7.0", "5", unpinned_actions,
         ["actions/setup-java@b6effb05e454b25005698d916606bdc6ffcbf961"]),
        ("release.yml", "vars.DATABRICKS_HOST", "secrets.DATABRICKS_HOST", named_secrets, ["secrets.DATABRICKS_HOST"]),
        ("release.yml", "    uses: $/", "    secrets: inherit\n    uses: $/", named_secrets, ["secrets:"]),
        ("tests.yml", "make test-jvm", "make test-jvms", unknown_targets_of_make, ["test-jvms"]),
        ("pull-request.yml", "make .venv/run", "make .venv/runs", unknown_targets_of_make, [".venv/runs"]),
        ("pull-request.yml", "staging churn_score", "staging churn_scores", unknown_jobs, ["churn_scores"]),
        ("release.yml", "deploy -t prod", "deploy -t production", unknown_jobs, ["production"]),
        ("release.yml", "BUNDLE_VAR_release", "BUNDLE_VAR_tag", unknown_variables, ["tag"]),
        ("release.yml", "BUNDLE_VAR_warehouse", "OTHER", missing_variables, ["warehouse"]),
        ("release.yml", "BUNDLE_VAR_alerts", "OTHER", missing_variables, ["alerts"]),
        ("pull-request.yml", "lakehouse_ml_staging$", "lakehouse_ml$", misplaced_samples,
         ["/Volumes/${BUNDLE_VAR_catalog}/lakehouse_ml${BUNDLE_VAR_copy}/landing"]),
        ("pull-request.yml", "dbfs:/Volumes", "dbfs:/Volume", misplaced_samples,
         ["/Volume/${BUNDLE_VAR_catalog}/lakehouse_ml_staging${BUNDLE_VAR_copy}/landing"]),
        ("release.yml", "deploy -t prod", "deploy -t prod --var catalogue=main", unknown_variables, ["catalogue"]),
    ],
)  # fmt: skip
def test_a_mistake_in_the_text_is_found(
    name: str, old: str, new: str, find: Callable[[str], Iterator[str]], expected: list[str]
) -> None:
    assert old in TEXTS[name]
    assert list(find(TEXTS[name].replace(old, new, 1))) == expected


@pytest.mark.parametrize(
    ("name", "old", "new", "find", "expected"),
    [
        ("tests.yml", "permissions: {}", "permissions: read-all", excessive_rights, ["workflow"]),
        ("tests.yml", "permissions: {}\n", "", excessive_rights, ["workflow"]),
        ("tests.yml", "contents: read", "contents: write", excessive_rights, ["fast"]),
        ("tests.yml", "contents: read", "id-token: write", excessive_rights, ["fast"]),
        ("release.yml", "      id-token: write", "      # none", excessive_rights, ["deploy"]),
        ("pull-request.yml", f"      && {NO_FORK}\n", "", jobs_open_to_forks, ["deploy"]),
        ("release.yml", "-t prod smoke", "-t prod ${{ github.ref_name }}", interpolated_commands, ["deploy"]),
        ("tests.yml", "persist-credentials: false", "persist-credentials: true", kept_tokens, ["fast"]),
        ("release.yml", "persist-credentials: false", "fetch-depth: 1", kept_tokens, ["deploy"]),
        ("tests.yml", "    timeout-minutes: 15\n", "", jobs_without_a_limit, ["lint"]),
        ("pull-request.yml", "      always() && ", "      ", copies_that_stay, ["deploy"]),
        ("pull-request.yml", "    needs: deploy\n", "", copies_that_stay, ["deploy"]),
        ("pull-request.yml", "      - run: databricks bundle destroy", "      - run: databricks bundle summary",
         copies_that_stay, ["deploy"]),
        ("pull-request.yml", "_pr_", "_request_", copies_that_stay, ["deploy"]),
        ("pull-request.yml", "cancel-in-progress: false", "cancel-in-progress: true", copies_that_stay, ["deploy"]),
    ],
)  # fmt: skip
def test_a_mistake_in_a_workflow_is_found(
    name: str, old: str, new: str, find: Callable[[Workflow], Iterator[str]], expected: list[str]
) -> None:
    assert old in TEXTS[name]
    assert list(find(parsed(TEXTS[name].replace(old, new, 1)))) == expected
