"""What was read and how good it is: landing files, quality rules and columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from lakehouse_ml.report.formatting import (
    format_count,
    format_problems,
    format_small_share,
    format_value,
    join_words,
    shorten,
)
from lakehouse_ml.report.page import Grid, Section
from lakehouse_ml.report.phrases import describe_simulated_data, list_clean_sources

if TYPE_CHECKING:
    from lakehouse_ml.report.data import ReportData

_SHOWN_FILES = 10


def build_data_section(data: ReportData) -> Section:
    """Which files were read, and examples of refused lines."""
    grids = [_build_file_grid(name, source.files) for name, source in data.sources.items() if len(source.files)]
    grids += [
        Grid(
            f"Lines of {name} that could not be read: examples",
            ("file", "line", "text", "what is wrong"),
            [
                (r.source_file, format_count(r.line_number), shorten(r.line_text), format_problems(r.problems))
                for r in s.refused.itertuples()
            ],
            frozenset({1}),
        )
        for name, s in data.sources.items()
        if len(s.refused)
    ]
    empty = [name for name, source in data.sources.items() if not len(source.files)]
    sentences = [
        "Every row keeps its file, the file's fingerprint and its line, so that each score leads back to its source."
    ]
    sentences += filter(None, [describe_simulated_data(data)])
    sentences += [f"No file of {name} has arrived so far." for name in empty]
    sentences += [
        f"Of the {format_count(len(source.files))} files of {name}, {_SHOWN_FILES} are shown: those with refused lines "
        f"first, then the newest. All are in manifest_{name}."
        for name, source in data.sources.items()
        if len(source.files) > _SHOWN_FILES
    ]
    return Section("data", "Which data", sentences, (), grids)


def _build_file_grid(name: str, files: pd.DataFrame) -> Grid:
    """All files of a table; of many the newest, and those with refused lines before them."""
    caption, newest_files = f"Files of {name}", files
    if len(files) > _SHOWN_FILES:
        newest_files = files.sort_values(["ingested_at", "source_file"], ascending=False)
        newest_files = newest_files.sort_values(
            "n_quarantined", ascending=False, key=lambda n: n > 0, kind="stable"
        ).head(_SHOWN_FILES)
        caption += f": {len(newest_files)} of {format_count(len(files))}"
    rows = [
        (
            f.source_file,
            format_count(f.n_lines),
            format_count(f.n_quarantined),
            f"{f.ingested_at:%Y-%m-%d %H:%M}",
            f.file_sha256[:12],
        )
        for f in newest_files.itertuples()
    ]
    return Grid(caption, ("file", "rows", "refused at parsing", "read (UTC)", "fingerprint"), rows, frozenset({1, 2}))


def build_quality_section(data: ReportData) -> Section:
    """Rules, examples of rows that break them, and columns of each table."""
    grids: list[Grid] = []
    sentences: list[str] = []
    for name, source in data.sources.items():
        rules = source.rules
        if not len(rules) or not int(rules["n_rows"].iloc[0]):
            continue
        clean, n_quarantined = source.n_clean, source.n_quarantined
        quiet = name in list_clean_sources(data)
        n_broken = int((rules["outcome"] != "ok").sum())
        sentence = f"{name}: {format_count(clean)} of {format_count(clean + n_quarantined)} rows are clean. " + (
            f"{n_broken} of {len(rules)} rules set rows aside or were broken by more rows than they tolerate."
            if n_broken
            else f"None of {len(rules)} rules is broken by more rows than it tolerates."
        )
        sentences += [] if quiet else [sentence]
        grids.append(
            Grid(
                f"Rules for {name}",
                ("rule", "rows that break it", "share", "what happened", "in a good row"),
                [
                    (r.rule, format_count(r.n_failed), format_small_share(r.failed_share), r.outcome, r.predicate)
                    for r in rules.itertuples()
                ],
                frozenset({1, 2}),
                folded=quiet,
            )
        )
        grids += list(_build_example_grids(name, rules, source.key))
        grids.append(_build_column_grid(name, source.columns))
    if calm := list_clean_sources(data):
        n = sum(data.sources[name].n_clean for name in calm)
        sentences.append(f"{join_words(calm)}: all {format_count(n)} rows are clean, and no rule is broken.")
    return Section("quality", "How good the data is", sentences, (), grids)


def _build_example_grids(name: str, rules: pd.DataFrame, key: Sequence[str]) -> Iterator[Grid]:
    for rule in rules.itertuples():
        examples = json.loads(rule.examples)
        if not examples:
            continue
        columns_in_rule = [column for column in examples[0] if re.search(rf"\b{re.escape(column)}\b", rule.predicate)]
        first = next(iter(examples[0]))
        # A rule that names no column is about the key.
        columns = list(dict.fromkeys([first, *(columns_in_rule or key)]))
        yield Grid(
            f"{name}: examples of rows that break {rule.rule}",
            ("file", "line", *columns),
            [
                (
                    str(e["source_file"]),
                    format_count(e["line_number"]),
                    *(shorten(format_value(e.get(column))) for column in columns),
                )
                for e in examples
            ],
            frozenset({1}),
        )


def _build_column_grid(name: str, columns: pd.DataFrame) -> Grid:
    rows = []
    for c in columns.itertuples():
        tops = ", ".join(f"{format_value(value)} ({format_count(n)})" for value, n in json.loads(c.top_values))
        spread = "" if pd.isna(c.min) else f"{c.min:g} to {c.max:g}, median {c.p50:g}, mean {c.mean:.4g}"
        rows.append((c.column, c.type, f"{c.null_share:.1%}", format_count(c.n_distinct), spread or shorten(tops)))
    heads = ("column", "type", "missing", "distinct (about)", "values")
    return Grid(f"What the columns of {name} hold", heads, rows, frozenset({2, 3}), folded=True)
