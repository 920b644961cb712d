"""A plan written down as code and conf.

Whatever comes from a file is written by the language's own rules: Python by repr, conf as ASCII, SQL by its literals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lakehouse_ml.tooling.drafting.columns import Profile, shorten
from lakehouse_ml.tooling.drafting.plan import HOLDOUT_SHARE, ROW_ID, DraftPlan
from lakehouse_ml.use_cases.formats import Format, NumberFormat
from lakehouse_ml.use_cases.sql import string_literal

_MOST_GROUPS = 10
_WIDTH = 120


def render_draft(name: str, plan: DraftPlan, delimiter: str) -> dict[str, str]:
    """The files of a use case, by their paths from the project's folder.

    Args:
        name: Of the use case.
        plan: What each column is.
        delimiter: What separates the file's fields.
    """
    values = _fill_values(name, plan, delimiter)
    code, conf = f"src/lakehouse_ml/use_cases/{name}", f"conf/base/{name}"
    folders = {f"{module}.py": code for module in ("__init__", "contracts", "features", "labels", "synthetic")}
    folders |= {f"{kind}.yml": conf for kind in ("catalog", "parameters")}
    draft = {f"{folder}/{file}": _render(f"{file}.j2", values) for file, folder in folders.items()}
    return {**draft, f"resources/{name}.yml": render_jobs(name)}


def render_jobs(name: str) -> str:
    """The jobs of a use case on Databricks, as a file of the bundle."""
    return _render("jobs.yml.j2", {"name": name, "title": name.replace("_", " ")})


def _fill_values(name: str, plan: DraftPlan, delimiter: str) -> dict[str, Any]:
    """What the templates are filled with."""
    key, label, time, positive = plan.key, plan.label, plan.time, plan.positive
    few = [
        column.name
        for column in plan.features
        if column.name in plan.categorical and len(column.counts) <= _MOST_GROUPS
    ]
    moment = time.name if time else "snapshot_on"
    row_id = [] if key else [f'        Column("{ROW_ID}", "string", nullable=False, doc="File and line of the row."),']
    known_later = [column for column in (key, time, label) if column]
    return {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "constant": name.upper(),
        "imports": _list_imports(name, plan),
        "grain": f"one row per {shorten(plan.key_name, 30) if key else 'line'} and {'day' if time else 'snapshot'}",
        "key": plan.key_name,
        "by_line": key is None,
        "landing_key": (key.name, moment) if key else ("source_file", "line_number", moment),
        "label": label,
        "moment": moment,
        # A column of days spreads the rows of a file over many days: each of them holds a few.
        "snapshots": "changes" if time else "full",
        "classes": plan.classes,
        "positive": positive,
        "negative": next((word for word in sorted(label.counts) if word != positive), ""),
        **_describe_outcome(plan),
        "segments": [*(["outcome"] if plan.classes else []), *few][:2],
        "landing": [_write_column(column, required=column in (key, time), plan=plan) for column in plan.columns],
        "outcomes": [*row_id, *(_write_column(column, required=True, plan=plan) for column in known_later)],
        "outcome_header": delimiter.join([*([] if key else [ROW_ID]), *(column.source for column in known_later)]),
        "categorical": plan.categorical,
        "kept": [column.name for column in plan.features],
        "left_out": [shorten(line, _WIDTH - 10) for line in plan.exclusions],
        "delimiter": delimiter,
        "day": max(str(time.parse(value)) for value in time.counts)[:10] if time else "2024-12-31",
        "known": f"`{label.name}` in ({', '.join(map(string_literal, sorted(label.counts)))})",
        "salt": plan.salt,
        "limits": plan.limits,
        "averted_value": _averted_value(plan),
        "pays_from": f"{1 / _averted_value(plan):.2g}",
        "holdout_share": HOLDOUT_SHARE,
    }


def _averted_value(plan: DraftPlan) -> float:
    """What an averted outcome is worth, so that an action of cost 1 pays from twice the average probability or 0.5."""
    if plan.classes:
        return 10.0
    share = plan.label.counts[plan.positive] / plan.label.n_values
    return round(1 / min(2 * share, 0.5), 1)


def _describe_outcome(plan: DraftPlan) -> dict[str, Any]:
    """Nouns and phrases for the outcome, for the wording of the report."""
    if plan.classes:
        return {
            "positives": "classes that applied",
            "outcome_names": ("applied", "did not apply"),
            "prediction": "likely to apply",
        }
    outcome = f"{plan.label.name} = {shorten(plan.positive, 40)}{{within}}"
    return {
        "positives": f"rows that had {outcome}",
        "outcome_names": (f"had {outcome}", f"did not have {outcome}"),
        "prediction": f"likely to have {outcome}",
    }


def _list_imports(name: str, plan: DraftPlan) -> dict[str, list[str]]:
    """The lines that import from the project, in order."""
    base, package = "from lakehouse_ml.use_cases", f"from lakehouse_ml.use_cases.{name}"
    formats = sorted({type(column.format).__name__ for column in plan.columns if _has_format(column, plan)})
    stage_columns = ["ACTION", "KNOWN_AT", *([] if plan.classes else ["LEARNED_UNTIL"]), "SCORE"]
    return {
        "init": sorted(
            [
                f"{base}.base import UseCase",
                f"{package}.contracts import feature_rows, landing_outcomes, landing_rows",
                f"{package}.features import CATEGORICAL, build_features",
                f"{package}.labels import build_labels{'' if plan.key else ', label_outcomes'}",
                f"{base}.wording import Wording",
            ]
        ),
        "contracts": sorted(
            [
                f"{base}.contracts import Column, Table",
                f"{base}.columns import {', '.join(stage_columns)}, derive_tables",
                *([f"{base}.formats import {', '.join(formats)}"] if formats else []),
                f"{package}.features import KEPT",
                *([f"{package}.labels import CLASSES"] if plan.classes else []),
            ]
        ),
        "labels": [] if plan.key else [f"{package}.features import identify_rows"],
    }


def _has_format(column: Profile, plan: DraftPlan) -> bool:
    return column.format is not None and column not in (plan.key, plan.label)


def _write_column(column: Profile, *, required: bool, plan: DraftPlan) -> str:
    """The declaration of a column, on one line if it fits there."""
    # A key and a label are compared and not counted with.
    kind = "date" if column is plan.time else "string" if column in (plan.key, plan.label) else column.type
    parts = [_literal(column.name), _literal(kind), _literal(column.source)]
    parts += ["nullable=False"] if required else []
    parts += [f"format={_write_format(column.format)}"] if column.format and _has_format(column, plan) else []
    parts.append(f"doc={_literal(column.doc)}")
    line = f"        Column({', '.join(parts)}),"
    return line if len(line) <= _WIDTH else f"        {_write_lines('Column', parts, 8)},"


def _write_format(form: Format) -> str:
    """A format as code: what differs from the standard."""
    if isinstance(form, NumberFormat):
        marks = {name: getattr(form, name) for name in ("decimal", "grouping", "unit")}
        parts = [f"{name}={_literal(value)}" for name, value in marks.items() if value != getattr(NumberFormat(), name)]
    else:
        parts = [_literal(form.order)]
    parts += [f"missing={_tuple(form.missing)}"] if form.missing else []
    line = f"{type(form).__name__}({', '.join(parts)})"
    if len(line) <= _WIDTH - 20:
        return line
    parts[-1] = f"missing={_write_lines('', list(map(_literal, form.missing)), 16)}"
    return _write_lines(type(form).__name__, parts, 12)


def _write_lines(name: str, parts: Sequence[str], indent: int) -> str:
    """A call or a tuple with a line for each of its parts."""
    inner = "".join(f"{' ' * (indent + 4)}{part},\n" for part in parts)
    return f"{name}(\n{inner}{' ' * indent})"


def _render(template: str, values: Mapping[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    templates = Environment(
        loader=PackageLoader("lakehouse_ml.tooling.drafting", ""),
        autoescape=select_autoescape(["html"]),  # code and conf are no HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(literal=_literal, tuple=_tuple, lines=_lines, yaml=_yaml)
    return templates.get_template(template).render(values)


def _literal(text: str) -> str:
    """Python's literal of a text, in the quotes that the formatter prefers: double ones, if that escapes no more."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    plain = "".join(letter if letter in "'\"" else repr(letter)[1:-1] for letter in text)
    escaped = plain.replace(quote, f"\\{quote}")
    return f"{quote}{escaped}{quote}"


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(map(_literal, names))}{',' if len(names) == 1 else ''})"


def _lines(names: Sequence[str]) -> str:
    """A tuple, of several names with a line for each, so that adding one changes one line."""
    return _tuple(names) if len(names) < 2 else "\n".join(["(", *(f"    {_literal(name)}," for name in names), ")"])


def _yaml(text: str) -> str:
    """A YAML scalar in ASCII that OmegaConf takes literally."""
    return json.dumps(text.replace("${", r"\${"))
