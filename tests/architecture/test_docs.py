"""Links lead somewhere, generated pages are current, and the notebooks define nothing and store no results."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.tooling import flow, reference

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
TEXTS = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))


def prose(markdown: str) -> str:
    return re.sub(r"^```.*?^```$", "", markdown, flags=re.MULTILINE | re.DOTALL)


def anchors(markdown: str) -> set[str]:
    """Names that a heading can be linked by: lower case, without punctuation, hyphens for blanks."""
    heads = re.findall(r"^#+ (.+)$", prose(markdown), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def dead_links(text: Path) -> Iterator[str]:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = text if not path else text.parent / path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            yield link


def listed() -> tuple[set[str], set[str]]:
    """Pages that docs/index.md lists: by name, and by pattern."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    entries = "\n".join(re.findall(r"^```\{toctree\}\n(.*?)^```$", index, re.MULTILINE | re.DOTALL)).split("\n")
    names = {entry for entry in entries if entry and not entry.startswith(":")}
    return {name for name in names if "*" not in name}, {name for name in names if "*" in name}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.relative_to(PROJECT).as_posix())
def test_every_link_and_anchor_leads_somewhere(text: Path) -> None:
    assert list(dead_links(text)) == []


def test_dead_links_and_anchors_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# What it's for\n\n## Two, too\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](there.md) [b](there.md#what-its-for) [c](#here) [d](https://example.org/x) [e](there.md#two-too)\n"
        "[f](gone.md) [g](there.md#gone) [h](#gone)\n```text\n[i](gone.md)\n```\n",
        encoding="utf-8",
    )
    assert list(dead_links(page)) == ["gone.md", "there.md#gone", "#gone"]


def test_every_make_target_in_the_texts_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    used_targets = {name for text in TEXTS for name in re.findall(r"`make ([a-z-]+)", text.read_text(encoding="utf-8"))}
    assert used_targets - targets == set()


def missing_modules(markdown: str) -> set[str]:
    """Modules that a text names by their path, from the project or from the package, and that do not exist."""
    paths = set(re.findall(r"(?:`|src/lakehouse_ml/)((?:[a-z_]+/)+[a-z_]+\.py)\b", markdown))
    roots = (PROJECT, PROJECT / "src", PROJECT / "src" / "lakehouse_ml")
    return {name for name in paths if not any((root / name).is_file() for root in roots)}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.relative_to(PROJECT).as_posix())
def test_every_module_in_the_texts_exists(text: Path) -> None:
    drafted = {f"use_cases/loans/{name}.py" for name in ("contracts", "features")}
    assert missing_modules(text.read_text(encoding="utf-8")) - drafted == set()


def test_a_module_that_moved_is_missing() -> None:
    text = "`storage/lock.py`, `tests/warm.py`, src/lakehouse_ml/cli/ui.py, src/lakehouse_ml/runs/life.py, `a/b.py`"
    assert missing_modules(text) == {"runs/life.py", "a/b.py"}


def test_the_list_of_pages_has_every_page_and_no_other() -> None:
    names, patterns = listed()
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")} - {"index"}
    by_pattern = {
        path.relative_to(DOCS).with_suffix("").as_posix() for some in patterns for path in DOCS.glob(f"{some}.md")
    }
    assert pages - names - by_pattern == set()
    assert names - pages == set()


def test_the_reference_is_what_code_and_conf_are() -> None:
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert page == reference.render_page(), "docs/reference.md stayed behind: make docs"
    assert str(PROJECT) not in page


def test_the_picture_is_what_the_pipelines_are() -> None:
    stages = flow.load_stages()
    assert (DOCS / "flow.svg").read_text(encoding="utf-8") == flow.draw_stages(stages), "docs/flow.svg: make docs"
    del stages["monitoring"]
    assert "monitoring" not in flow.draw_stages(stages)


class Cask(Spec):
    """What wine is kept in.

    Attributes:
        litres: How much
            it holds.
    """

    litres: float
    wood: str = "oak"


class Cellar(Spec):
    """Where casks lie.

    Attributes:
        degrees: How cold it is.
        casks: What lies there.
    """

    degrees: int | None = None
    casks: tuple[str, ...] = ()


def test_each_parameter_is_listed_with_its_value_in_base() -> None:
    table = reference.render_parameters("wine", {"cellar": Cellar}, {"cellar": {"degrees": 12}})
    assert "| `degrees` | `12` | How cold it is. |" in table
    assert "| `casks` |  | What lies there. |" in table


def test_a_parameter_without_a_word_has_no_place_in_the_reference() -> None:
    with pytest.raises(ValueError, match=r"Cask does not tell under Attributes what it means by wood\."):
        reference.describe_fields(Cask)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_stored_without_results_and_defines_nothing(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    assert re.findall(r"/(?:home|Users|work|tmp|root)/|[A-Z]:\\\\", text) == []
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in code))
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert [node for node in ast.walk(tree) if isinstance(node, definitions)] == []
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {str(module).split(".")[0] for module in imported} == {"lakehouse_ml"}
    assert [node for node in ast.walk(tree) if isinstance(node, ast.Import)] == []


def test_the_notebooks_are_there() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


# What pages copy from code and conf


def blocks(page: str, kind: str) -> list[str]:
    text = (PROJECT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def rows_of(page: str, head: str) -> list[list[str]]:
    """The cells of the table below a head, without backquotes."""
    lines = (PROJECT / page).read_text(encoding="utf-8").splitlines()
    below = lines[lines.index(head) + 2 :]
    rows = below[: next((i for i, line in enumerate(below) if not line.startswith("|")), len(below))]
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows]


def test_readme_lists_the_columns_of_a_churn_file() -> None:
    from lakehouse_ml.use_cases.churn.synthetic import HEADER

    assert any(block.split() == list(HEADER) for block in blocks("README.md", "text"))


def test_conf_that_readme_shows_stands_in_conf() -> None:
    conf = "".join(
        (PROJECT / "conf/base/churn" / name).read_text("utf-8") for name in ("catalog.yml", "parameters.yml")
    )
    shown = [line.strip() for block in blocks("README.md", "yaml") for line in block.splitlines()]
    assert len(shown) >= 3
    assert [line for line in shown if line not in conf] == []


def test_readme_lists_the_stages_in_order() -> None:
    from lakehouse_ml.pipelines import STAGES

    (head,) = re.findall(r"^\| stage \|.*$", (PROJECT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert [row[0] for row in rows_of("README.md", head)] == list(STAGES)


def test_readme_and_contributing_list_the_rooms() -> None:
    rooms = {path.parent.name for path in (PROJECT / "src/lakehouse_ml").glob("*/__init__.py")}
    listed = [name for row in rows_of("CONTRIBUTING.md", "| room | responsibility |") for name in row[0].split(", ")]
    assert sorted(listed) == sorted(rooms)
    (tree,) = [block for block in blocks("README.md", "text") if "src/lakehouse_ml/" in block]
    assert rooms <= set(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE))


def test_the_tutorial_names_the_lines_of_the_summary() -> None:
    source = (PROJECT / "src/lakehouse_ml/runs/summary.py").read_text(encoding="utf-8")
    lines = set(re.findall(r'_line\(\s*"([\w-]+)"', source)) | set(re.findall(r'_line\("([\w-]+)" if', source))
    assert {row[0] for row in rows_of("docs/tutorial.md", "| line | meaning |")} == lines


def test_the_page_on_environments_lists_those_of_conf_and_their_variables() -> None:
    page = "docs/how-to/environments.md"
    environments = ", ".join(
        row[0] for row in rows_of(page, "| environment | engine | landing | lake | tracking and registry |")
    )
    folders = {path.name for path in (PROJECT / "conf").iterdir() if path.is_dir() and path.name != "base"}
    assert set(environments.split(", ")) == {"none", "local", *folders - {"local"}}
    conf = "".join(
        path.read_text("utf-8") for path in (PROJECT / "conf").glob("*/*.yml") if path.parent.name != "local"
    )
    # With a default after its name a variable needn't be set.
    variables = set(re.findall(r"\$\{variable:\s*(\w+)\}", conf))
    assert variables - {row[0] for row in rows_of(page, "| variable | for | what |")} == set()


def test_the_page_on_the_search_names_every_estimator_and_parameter() -> None:
    from typing import get_args

    from pydantic import ValidationError

    from lakehouse_ml.modelling.estimators.base import EstimatorSpec

    page = (DOCS / "how-to/search.md").read_text(encoding="utf-8")
    listed = {name: set(re.findall(r"`(\w+)`", listing)) for name, listing in re.findall(r"`(\w+)`\s\(([^)]*)\)", page)}
    assert set(listed) == set(get_args(EstimatorSpec.model_fields["estimator"].annotation))
    for name, params in listed.items():
        EstimatorSpec.model_validate({"estimator": name, "params": dict.fromkeys(params, 2)})
        with pytest.raises(ValidationError) as refused:
            EstimatorSpec.model_validate({"estimator": name, "params": {"unknown": 2}})
        (names,) = re.findall(r"it has ([\w, ]+)", str(refused.value))
        assert set(names.strip().split(", ")) == params


def test_a_table_of_a_page_is_read_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("x\n\n| a | b |\n|---|---|\n| `1` | 2 |\n\n| 3 | 4 |\n", encoding="utf-8")
    assert rows_of(str(tmp_path / "page.md"), "| a | b |") == [["1", "2"]]
