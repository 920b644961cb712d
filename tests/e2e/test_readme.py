"""Every command of README, run in a copy of the checkout."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from checkouts import PROJECT, QUICK_SEARCH, commands, copied, first_page, shown

from lakehouse_ml.use_cases.churn.synthetic import write_csv

README = (PROJECT / "README.md").read_text(encoding="utf-8")

# What each command of README shows when it works: a pattern of its output, or of a server's first page.
SHOWS = {
    "make run": r"champion +version 1\n",
    "make test": r"\d+ passed",
    "make run USE_CASE=predictive_maintenance": r"predictive_maintenance\n[^$]+champion +version 1\n",
    "make run USE_CASE=all": r"churn\n[^$]+every step was skipped[^$]+predictive_maintenance\n[^$]+every step was sk",
    "make run LANDING=<folder> LAKE=data/mine": r"customers: 2,000 rows in 2 files.+\n.+outcomes: 400 rows in 1 file",
    ".venv/bin/kedro run --namespaces churn": r"every step was skipped",
    ".venv/bin/kedro run --namespaces churn --pipelines training": r"churn\n  time .+every step was skipped",
    ".venv/bin/kedro run --namespaces churn --only-missing-outputs": r"every step was skipped",
    ".venv/bin/kedro run --namespaces churn --params landing=<folder>,lake=data/mine": (
        r"customers: 2,000 rows in 2 files"
    ),
    ".venv/bin/kedro registry list": r"- __default__\n- batch_scoring\n",
    ".venv/bin/kedro catalog describe-datasets": r"churn\.clean_customers",
    "(cd notebooks && ../.venv/bin/kedro run --pipelines monitoring --namespaces churn)": (
        r"churn\n  drift .+\n  report .+\n  time .+every step was skipped"
    ),
    "make -C <project> run": r"every step was skipped",
    "make jars": r"The jars of Delta and S3 are in ",
    "make run ENV=spark": r"every step was skipped",
    "make ui": r"<title>MLflow</title>",
    "make viz": r"<title>Kedro-Viz</title>",
}
SERVERS = {"make ui", "make viz"}
QUICK = {".venv/bin/kedro registry list"}
OF_SPARK = {"make jars", "make run ENV=spark"}


def _each() -> list[object]:
    marks: dict[str, Any] = dict.fromkeys(QUICK, ()) | dict.fromkeys(OF_SPARK, pytest.mark.jvm)
    return [pytest.param(name, marks=marks.get(name, pytest.mark.slow)) for name in commands(README)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this checkout as they are now, with an environment that sees this one's packages; a quick search."""
    copy = copied(tmp_path_factory.mktemp("readme") / "project")
    for env in ("local", "spark"):
        (copy / "conf" / env / "parameters.yml").write_text(QUICK_SEARCH, encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a month whose outcomes are known, the next one, and what became of some of its customers."""
    folder = tmp_path_factory.mktemp("mine")
    write_csv(folder / "customers_2025-01-31.csv", n=1_600)
    with (folder / "customers_2025-01-31.csv").open(newline="", encoding="utf-8") as file:
        stayed = [row for row in csv.DictReader(file) if row["Churn"] == "No"][:400]
    _write(folder / "customers_2025-02-28.csv", [{**row, "Churn": ""} for row in stayed])
    later = [{"customerID": row["customerID"], "Churn": "Yes" if n % 5 == 0 else "No"} for n, row in enumerate(stayed)]
    _write(folder / "outcomes" / "outcomes_2025-02-28.csv", later)
    return folder


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def first_run(checkout: Path) -> str:
    """What `make run` shows in a fresh checkout; what README names after it finds a lake there."""
    return shown("make run", checkout)


@pytest.mark.parametrize("command", _each())
def test_readme_command(command: str, checkout: Path, request: pytest.FixtureRequest) -> None:
    first_output = request.getfixturevalue("first_run") if command not in QUICK else ""
    if command in SERVERS:
        output = first_page(command, checkout)
    elif command == "make run":
        output = first_output
    else:
        landing = request.getfixturevalue("landing") if "<folder>" in command else ""
        output = shown(command.replace("<folder>", str(landing)).replace("<project>", str(checkout)), checkout)
    assert re.search(SHOWS[command], output), f"{command} shows nothing like {SHOWS[command]}:\n{output}"


def test_every_command_of_readme_is_run_by_a_test() -> None:
    assert set(commands(README)) == set(SHOWS)


def test_no_command_hides_in_a_block_that_is_not_run() -> None:
    fences = re.findall(r"^```(.*)$", README, re.MULTILINE)
    assert set(fences[1::2]) == {""}
    assert set(fences[::2]) <= {"sh", "text", "yaml"}
    others = "\n".join(re.findall(r"^```(?:text|yaml)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
    assert re.findall(r"^(?:[$%] |\.venv/|make |kedro ).*", others, re.MULTILINE) == []
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`((?:\.venv/bin/|kedro |make )[^`]+)`", prose)) <= set(SHOWS)


def test_commands_are_the_lines_of_sh_blocks_without_comments() -> None:
    page = "Type:\n\n```sh\nmake run    # everything\n\n# then\nmake test\n```\n\n```text\nmake tea\n```\n"
    assert commands(page + "```sh\nmake run\n```\n") == ["make run", "make test"]


def test_every_decision_is_in_the_index() -> None:
    folder = PROJECT / "docs" / "decisions"
    listed = re.findall(r"^\| \[\d{4}\]\((.+?)\)", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == sorted(path.name for path in folder.glob("0*.md"))
