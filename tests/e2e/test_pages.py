"""What pages of docs tell people to type or to change, and notebooks to execute, in a copy of the checkout."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from checkouts import PROJECT, first_page, python, restore, shown
from deltalake import DeltaTable

import dashboards

DOCS = PROJECT / "docs"
SERVERS = {"make ui"}
# Pages about machines, which need a lake of theirs.
OF_MACHINES = {"how-to/score-a-range.md"}
OF_SPARK = {"how-to/spark.md"}
NOTEBOOKS = sorted(path.name for path in (PROJECT / "notebooks").glob("*.ipynb"))
NOTEBOOKS_OF_MACHINES = {"04_machines.ipynb"}
PICTURES = {"03_the_model.ipynb": 3, "04_machines.ipynb": 1}
# In the copy's own environment, so that the kernel's code is the copy's; the kernel's folder is notebooks/, as usual.
EXECUTE = """
import json

import nbformat
from nbclient import NotebookClient

notebook = nbformat.read("notebooks/{name}", as_version=4)
NotebookClient(notebook, timeout=300, resources={{"metadata": {{"path": "notebooks"}}}}).execute()
cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
print(json.dumps([[cell.source, [dict(output) for output in cell.outputs]] for cell in cells]))
"""

# What the runnable blocks of each page show when they work, in order: a pattern of the output.
SHOWS = {
    "install.md": [r"report +data/08_reporting/churn/report\.html"],
    "tutorial.md": [
        r"scores +[\d,]+ customers in batch 2024-12-31",
        r"unchanged: every step was skipped",
        r"",
        r"customers: 2,000 rows in 1 file[^$]+champion +version 1\n[^$]+1,691 customers in batch 2024-01-31",
        r"rows in 2 files[^$]+nothing new to learn from[^$]+champion +version 1\n[^$]+"
        r"2,000 customers in batch 2024-02-29",
        r"outcomes: 2,000 rows in 1 file[^$]+verdict +version 2 [^$]+in batch 2024-03-31[^$]+real +Real outcomes[^$]+"
        r"286 customers who left within 30 days after 2024-02-29, version 1",
    ],
    "how-to/add-column.md": [r"", r"customers: 1,600 rows in 1 file[^$]+champion +version 1\n"],
    "how-to/approve.md": [
        r"awaiting approval[^$]+champion +none yet[^$]+scoring was skipped",
        r"version 1 promoted[^$]+champion +version 1\n[^$]+customers in batch 2024-12-31",
    ],
    "how-to/debug-a-node.md": [
        r"customer_id +snapshot_on[^$]+tenure_group[^$]+\n2 ",
        r"customer_id +probability +reasons\n0 [^$]+feature[^$]+\n2 ",
    ],
    "how-to/environments.md": [r"local: no problems found\.\nengine +sail[^$]+registry +sqlite"],
    "how-to/every-night.md": [
        r"^\nchurn\n[^$]+champion +version 1\n",
        r"not_assessable [\d,]+ of [\d,]+ scored rows were training rows",
        r"approve +First champion",
    ],
    "how-to/lineage.md": [
        r"score_customers v\d+, batch 2024-12-31\n[^$]+of churn.raw_customers v\d[^$]+of file \w+\.csv of ",
        r"\d+ 20\d\d-[^$]+ churn\.batch_scoring\.score_rows\n\d+",
    ],
    "how-to/mlflow.md": [r"<title>MLflow</title>", r"1 approve First champion"],
    "how-to/notebooks.md": [r""],
    "how-to/one-stage.md": [r"- training\n[^$]+churn\n  time ", r"churn\n", r"churn\n"],
    "how-to/own-use-case.md": [
        r"",
        r"Defaulted = 'yes' is predicted: [^$]+champion +version 1\n[^$]+rows in batch 2024-12-31",
        r"verdict +version 2 (promoted|refused)[^$]+champion +version",
        r"^dev: no problems found in 11 jobs with 38 tasks\.",
        r"",
    ],
    "how-to/quality-rule.md": [r"warned: monthly_charge_is_usual broken by \d+ "],
    "how-to/read-tables.md": [
        r"customer_id +batch +probability +decision\n",
        r"churn\.score_customers[^$]+average_precision|churn\.score_customers[^$]+roc_auc",
        r"batch +customers +mean\n0 +2024-12-31 ",
    ],
    "how-to/score-a-range.md": [
        r"champion +version 1\n[^$]+predictions in batch 2015-03-16; visit list",
        r"predictions in batch 2015-03-07; visit list",
        r"predictions in batch 2015-03-07 of trial_march; visit list: .*trial_march_actions\.csv",
        r"score_machines\n[^$]+2015-03-01 +96 [^$]+2015-03-16 +96 [^$]+trial_march\n[^$]+2015-03-07 +96 ",
        r"6 +2015-03-07 +1 +384 ",
        r"champion +version 1\n",
    ],
    "how-to/score-another-day.md": [r"customers in batch 2024-12-31"],
    "how-to/search.md": [r"verdict +version 2 (promoted|refused)", r"gradient_boosting[^$]+(True|False)"],
    "how-to/spark.md": [
        r"The jars of Delta and S3 are in [^$]+churn\n[^$]+champion +version",
        r"verdict +version \d (promoted|refused)",
    ],
    "how-to/withdraw.md": [
        r"",
        r"in batch 2052-01-31[^$]+lies in the future",
        r"Removed\.[^$]+customers in batch 2024-12-31",
        r"Removed\.[^$]+customers in batch 2024-12-31",
    ],
    "how-to/databricks.md": [
        r"^dev: no problems found in 8 jobs with 26 tasks\.",
        r"^prod: estimated cost[^$]+\nchurn_train +0\.\d\d +1\.0 +0\.\d\d\n",
    ],
    "how-to/wheel.md": [r"dist/lakehouse_ml-.+-py3-none-any\.whl\ndist/requirements\.txt\n"],
    # Last, for it leaves nothing that the others could share.
    "how-to/start-over.md": [r"champion +version 1\n", r"champion +version 1\n", r"", r"", r""],
}


@dataclass(frozen=True)
class Block:
    """A fenced block: `sh` and `python` are run, `diff` is applied."""

    kind: str
    text: str


def blocks(markdown: str) -> list[Block]:
    matches = re.findall(r"^```(sh|python|diff)\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    return [Block(kind, text) for kind, text in matches]


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page.read_text(encoding="utf-8")) if block.kind != "diff"]


def apply(text: str, folder: Path) -> None:
    """Make the change that a `diff` block shows: its first line names the file, the rest stands in it once."""
    head, *lines = text.splitlines(keepends=True)
    path = folder / head.removeprefix("--- ").strip()
    old_text, new_text = ("".join(line[1:] for line in lines if line[0] in prefixes) for prefixes in (" -", " +"))
    old = path.read_text(encoding="utf-8")
    assert old.count(old_text) == 1, f"{path.name} has {old.count(old_text)} times:\n{old_text}"
    path.write_text(old.replace(old_text, new_text), encoding="utf-8")


def run(block: Block, folder: Path) -> str:
    if block.kind == "python":
        return python(block.text, folder)
    command = block.text.strip()
    return first_page(command, folder) if command in SERVERS else shown(f"set -e\n{command}", folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom_and_every_cell_shows_something(
    name: str, lived: Path, request: pytest.FixtureRequest
) -> None:
    if name in NOTEBOOKS_OF_MACHINES:
        request.getfixturevalue("plant")
    cells = json.loads(python(EXECUTE.format(name=name), lived).splitlines()[-1])
    assert len(cells) >= 5
    for source, outputs in cells:
        kinds = {kind for output in outputs for kind in output.get("data", {})}
        imports_only = "import" in source and not kinds
        assert imports_only or kinds & {"text/html", "text/plain", "image/svg+xml"}, f"{source} shows nothing"
        assert [
            output
            for output in outputs
            if output["output_type"] in ("error", "stream") and output.get("name") != "stdout"
        ] == [], f"{source} says what nobody asked for"
    assert sum("image/svg+xml" in str(outputs) for _, outputs in cells) == PICTURES.get(name, 0)


def _each() -> list[object]:
    return [pytest.param(page, marks=pytest.mark.jvm if page in OF_SPARK else pytest.mark.slow) for page in SHOWS]


@pytest.mark.parametrize("page", _each())
def test_the_commands_of_a_page_work(page: str, lived: Path, request: pytest.FixtureRequest) -> None:
    if page in OF_MACHINES:
        request.getfixturevalue("plant")
    expected = iter(SHOWS[page])
    try:
        for block in blocks((DOCS / page).read_text(encoding="utf-8")):
            if block.kind == "diff":
                apply(block.text, lived)
                continue
            output, pattern = run(block, lived), next(expected)
            assert re.search(pattern, output), f"{page} shows nothing like {pattern}:\n{block.text}\n{output}"
    finally:
        restore(lived)
        for mine in [*(lived / "conf" / "local").glob("*.yml"), lived / "conf" / "spark" / "parameters.yml"]:
            mine.unlink(missing_ok=True)


@pytest.mark.slow
def test_the_dashboard_shows_the_runs_of_both_use_cases(plant: Path, spark: Any) -> None:
    dashboard, lake = dashboards.load(), plant / "data"
    tables = dashboards.register_tables(spark, lake)
    dashboards.register_job_runs(spark)
    assert set().union(*map(dashboards.tables_of, dashboards.queries_of(dashboard).values())) <= set(tables)

    datasets, widgets = dashboards.compute(spark, dashboard)

    # No outcome of a scored day is known yet.
    empty = {name for name, rows in datasets.items() if rows.empty}
    assert empty == {"live", "live_verdict"}
    for name in datasets.keys() - empty - {"job_runs"}:
        assert set(datasets[name]["use_case"]) == {"churn", "predictive_maintenance"}, name
    scored = [rows for name in ("customers", "machines") for rows in read_tables(lake, f"07_*/*/score_{name}")]
    assert widgets["rows_scored"].iloc[0, 0] == sum(map(len, scored)) == widgets["score_distribution"].iloc[:, 2].sum()
    assert widgets["rows_above_threshold"].iloc[0, 0] == sum(rows["decision"].sum() for rows in scored)
    listed = read_tables(lake, "07_*/*/score_actions")
    assert widgets["actions_listed"].iloc[0, 0] == sum(map(len, listed)) > 0
    gains = [rows["expected_gain"].sum() for rows in listed]
    assert datasets["actions"]["expected_gain"].sum() == pytest.approx(sum(gains))
    assert widgets["rows_quarantined"].iloc[0, 0] == sum(map(len, read_tables(lake, "02_*/*/quarantine_*"))) > 0
    assert widgets["lines_read"].iloc[0, 0] == sum(map(len, read_tables(lake, "01_raw/*/raw_*")))
    assert widgets["lines_refused"].iloc[0, 0] == 0
    assert set(datasets["verdicts"]["decision"]) == {"approve"}


def read_tables(lake: Path, pattern: str) -> list[pd.DataFrame]:
    return [DeltaTable(log.parent).to_pandas() for log in lake.glob(f"{pattern}/_delta_log")]


@pytest.mark.slow
def test_the_site_is_built_and_needs_nothing_from_elsewhere(readers_checkout: Path) -> None:
    # A wheel was built before, and something else left files in the folder that kedro viz writes.
    shown("make wheel", readers_checkout)
    assert not (readers_checkout / "build").exists()
    (readers_checkout / "build" / "lib").mkdir(parents=True)
    (readers_checkout / "build" / "lib" / "left.py").write_text("", encoding="utf-8")
    assert "site/index.html" in shown("make docs", readers_checkout)
    site = readers_checkout / "site"
    assert list(site.rglob("*.py")) == []
    # Kedro-viz's own pages ask for a font of Google's and do without it; they are not ours to change.
    ours = [path for path in site.rglob("*.*") if site / "viz" not in path.parents]
    assert (site / "viz" / "index.html").is_file()
    pages = {p.relative_to(site).as_posix(): p.read_text(encoding="utf-8") for p in ours if p.suffix == ".html"}
    assert {"index.html", "tutorial.html", "how-to/search.html", "decisions/README.html"} <= set(pages)
    loaded = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"(?:https?:)?//[^\"]+|url\(['\"]?https?:")
    styles = {path.name: path.read_text(encoding="utf-8") for path in ours if path.suffix == ".css"}
    assert {name: addresses for name, text in {**pages, **styles}.items() if (addresses := loaded.findall(text))} == {}
    assert 'src="_images/flow.svg"' in pages["flow.html"]
    # A way home, back and on, and a menu that a phone opens by a button.
    assert {name for name, text in pages.items() if 'class="home"' not in text or 'id="menu"' not in text} == set()
    assert 'href="install.html"' in pages["tutorial.html"].partition('class="turn"')[2]
    assert "prefers-color-scheme: dark" in styles["site.css"]
    for page in ("flow.md", "flow.svg", "reference.md"):
        assert (readers_checkout / "docs" / page).read_bytes() == (DOCS / page).read_bytes()


def test_every_runnable_block_of_the_docs_is_run_by_a_test() -> None:
    # A decision is a record: what it shows may well fail, that is why it was taken.
    pages = [page for page in DOCS.rglob("*.md") if page.parent.name != "decisions"]
    counts = {page.relative_to(DOCS).as_posix(): len(runnable(page)) for page in pages if runnable(page)}
    assert counts == {page: len(shows) for page, shows in SHOWS.items()}


def test_no_command_hides_in_a_block_that_is_not_run() -> None:
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        kinds = set(re.findall(r"^```(.*)$", text, re.MULTILINE)[::2])
        # tests/architecture/test_workflows.py looks at files for CI systems.
        assert kinds <= {"sh", "python", "diff", "text", "yaml", "{toctree}"}, f"{page.name}: {kinds}"
        assert "yaml" not in kinds or page.name == "deploy-from-ci.md"
        others = "\n".join(re.findall(r"^```(?:text|yaml)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
        commands = re.findall(r"^(?:[$%] |\.venv/|make |kedro ).*", others, re.MULTILINE)
        # tests/workspace runs those that ask a workspace.
        assert [
            one for one in commands if not re.match(r"kedro (engine check .*--connect|jobs apply-policies) ", one)
        ] == []


def test_a_diff_changes_the_one_place_that_it_shows(tmp_path: Path) -> None:
    (tmp_path / "wine.yml").write_text("red: 1\nwhite: 2\n", encoding="utf-8")
    apply("--- wine.yml\n red: 1\n-white: 2\n+white: 3\n+rosé: 4\n", tmp_path)
    assert (tmp_path / "wine.yml").read_text(encoding="utf-8") == "red: 1\nwhite: 3\nrosé: 4\n"
    with pytest.raises(AssertionError, match="has 0 times"):
        apply("--- wine.yml\n green: 1\n+blue: 2\n", tmp_path)
