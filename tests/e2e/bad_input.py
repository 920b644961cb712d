"""Messages about bad input: cases as values, the page that is generated from them, and a lake to try them on.

A module `test_bad_*.py` in this folder that has a `TITLE` and a list `CASES` is a group of the page.
`python tests/e2e/bad_input.py docs/bad-input.md` writes it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
_HEAD = """\
# How bad input is handled

`make docs` generates this page from the test cases in `tests/e2e`, and a test runs each of them. A run either completes
and accounts for every row, or stops with exit code 1 and one sentence as the last line on stderr. (`make` adds a line
and exits with 2.) A run that stops leaves the tables unchanged, unless a row below says what it stored. Once the cause
is removed, the next run completes. `…` stands for text that varies.
"""


@dataclass(frozen=True)
class Case:
    """Bad input, what happens, and the message about it.

    Attributes:
        name: What comes in, in words; names the test.
        happens: What happens, in words.
        sentence: The message, with `<landing>` and `<lake>` for the folders and `…` for any text; empty where the
            run ends well.
    """

    name: str
    happens: str
    sentence: str = field(default="", kw_only=True)

    def matches(self, message: str, places: Mapping[str, Path]) -> bool:
        """Whether a message is the whole sentence."""
        for placeholder, path in places.items():
            message = message.replace(str(path), placeholder)
        pattern = ".*".join(re.escape(part) for part in self.sentence.split("…"))
        return re.fullmatch(pattern, message, re.DOTALL) is not None


def groups() -> dict[str, Sequence[Case]]:
    """The cases of each module beside this one that has some, by title."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    modules = [import_module(path.stem) for path in sorted(HERE.glob("test_bad_*.py"))]
    return {module.TITLE: module.CASES for module in modules if hasattr(module, "CASES")}


def text(cases_by_title: Mapping[str, Sequence[Case]]) -> str:
    """The page: for each group a table of the cases without a message, and one of those with a message."""
    sections = ["\n".join([f"## {title}", "", *_tables(cases)]) for title, cases in cases_by_title.items()]
    return "\n".join([_HEAD, *sections])


def _tables(cases: Sequence[Case]) -> list[str]:
    silent = [row[:2] for row in _rows([case for case in cases if not case.sentence])]
    loud = _rows([case for case in cases if case.sentence])
    lines = []
    for said, heads, rows in (
        ("Without a message:", ("input", "result"), silent),
        ("With a message:", ("input", "result", "message"), loud),
    ):
        if rows:
            table = [heads, ["---"] * len(heads), *rows]
            lines += [said, "", *(f"| {' | '.join(cells)} |" for cells in table), ""]
    return lines


def _rows(cases: Sequence[Case]) -> list[list[str]]:
    """A row for each case; neighbours that differ in their names only share one."""
    alike = groupby(cases, key=lambda case: (case.happens, case.sentence))
    return [
        [_cell(content) for content in ("; ".join(dict.fromkeys(case.name for case in cases)), happens, sentence)]
        for (happens, sentence), cases in alike
    ]


def _cell(content: str) -> str:
    for character, written in (("|", "\\|"), ("<", "&lt;")):
        content = content.replace(character, written)
    return content


@dataclass(frozen=True)
class Place:
    """A landing folder and a lake, on which stages of a use case run in this process, without a tracking store.

    Attributes:
        landing: The folder.
        lake: Another one.
        table: The landing table whose nodes alone run; by default all do.
        use_case: Whose stages run.
    """

    landing: Path
    lake: Path
    table: str = ""
    use_case: str = "churn"

    @property
    def names(self) -> dict[str, Path]:
        """The placeholders for the two folders in a message."""
        return {"<landing>": self.landing, "<lake>": self.lake}

    def run(self, *stages: str, **params: Any) -> str:
        """Run stages (by default ingestion and quality), and return the message to the user, empty if all went well.

        Args:
            stages: Their names.
            params: Parameters of the use case, in place of conf's.

        Raises:
            Exception: Whatever isn't told in a sentence.
        """
        from kedro.framework.project import pipelines

        from lakehouse_ml import errors
        from lakehouse_ml.runs.runner import UpToDateRunner

        catalog = self._catalog(params)
        chosen = sum((pipelines[stage] for stage in stages or ("data_ingestion", "data_quality")), start=_nothing())
        ours = [n for n in chosen.nodes if n.namespace.startswith(f"{self.use_case}.") and n.name.endswith(self.table)]
        try:
            UpToDateRunner().run(type(chosen)(ours), catalog)
        except Exception as error:
            cause = errors.find(error)
            if cause is None:
                raise
            return str(cause)
        return ""

    def rows(self, name: str) -> list[dict[str, Any]]:
        """All rows of a table; none where there is no table."""
        from deltalake import DeltaTable

        return [
            row
            for folder in self.lake.glob(f"*/{self.use_case}/{name}")
            for row in DeltaTable(folder).to_pyarrow_table().to_pylist()
        ]

    def versions(self) -> dict[str, int]:
        """The version of each table; all of them are read."""
        from deltalake import DeltaTable

        tables = {log.parent.name: DeltaTable(log.parent) for log in self.lake.glob(f"*/{self.use_case}/*/_delta_log")}
        for table in tables.values():
            table.to_pyarrow_table()
        return {name: table.version() for name, table in tables.items()}

    def counts(self, table: str = "customers") -> tuple[int, int, int, int]:
        """Lines, refused lines, clean rows, quarantined rows; that they balance is asserted here."""
        books = self.rows(f"manifest_{table}")
        lines, refused = (sum(book[name] for book in books) for name in ("n_lines", "n_quarantined"))
        raw, clean, n_quarantined = (len(self.rows(f"{name}_{table}")) for name in ("raw", "clean", "quarantine"))
        assert len(self.rows(f"quarantine_lines_{table}")) == refused
        assert lines == raw + refused
        assert raw == clean + n_quarantined
        return lines, refused, clean, n_quarantined

    def _catalog(self, params: Mapping[str, Any]) -> Any:
        from kedro.framework.context import KedroContext
        from kedro.framework.hooks.manager import _create_hook_manager
        from kedro.framework.project import settings
        from kedro.framework.startup import bootstrap_project

        project = bootstrap_project(PROJECT)
        runtime_params = {"landing": str(self.landing), "lake": str(self.lake), self.use_case: dict(params)}
        conf, args = str(PROJECT / "conf"), settings.CONFIG_LOADER_ARGS
        loader = settings.CONFIG_LOADER_CLASS(conf, runtime_params=runtime_params, **args)
        # Kedro's own context with no plugin in it: a tracking store costs seconds and has no part in this.
        context = KedroContext(
            project_path=project.project_path,
            config_loader=loader,
            env=None,
            package_name=project.package_name,
            hook_manager=_create_hook_manager(),
        )
        return context.catalog


def _nothing() -> Any:
    from kedro.pipeline import Pipeline

    return Pipeline([])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(groups()), encoding="utf-8")
