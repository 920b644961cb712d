"""Summarise a run in a few lines: data in and out, the champion and why, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lakehouse_ml.config.lake import Lake
from lakehouse_ml.errors import printable
from lakehouse_ml.pipelines import SEARCH, STAGES
from lakehouse_ml.project import INSTALLED
from lakehouse_ml.runs import next_commands

if TYPE_CHECKING:
    import pandas as pd
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline

    from lakehouse_ml.datasets.delta_table import DeltaTable
    from lakehouse_ml.use_cases.base import UseCase

_SHOWN = ("f1", "precision", "recall", "roc_auc", "average_precision", "expected_value")
_COLOURS = {"approve": "green", "refuse": "red", "request": "yellow"}
_DRIFT = {"stable": "green", "warn": "yellow", "drift": "red"}
# Up to this number of tables, each has its own line.
_FEW_SOURCES = 2
_VERDICTS = {"approve": "promoted", "refuse": "refused", "request": "awaiting approval"}


@dataclass(frozen=True)
class Run:
    """What a run did: its stages, the seconds of each node that ran, and in total."""

    stages: frozenset[str]
    seconds: Mapping[str, float]
    total: float


def describe_run(
    pipeline: Pipeline, catalog: DataCatalog, seconds: Mapping[str, float], total: float, **overrides: str | None
) -> str:
    """Describe a run, from the tables that it read or wrote.

    Args:
        pipeline: Its nodes.
        catalog: Their datasets.
        seconds: Of each node that ran.
        total: Seconds of everything.
        overrides: `landing`, `lake` and `env` where the run doesn't use the usual ones, for the next commands.
    """
    from lakehouse_ml.use_cases import USE_CASES

    names = [node.name.split(".") for node in pipeline.nodes]
    stages = {
        use_case.name: frozenset(stage for name, stage, _ in names if name == use_case.name) for use_case in USE_CASES
    }
    ran = [use_case for use_case in USE_CASES if stages[use_case.name]]
    parts = [_describe_use_case(use_case, catalog, Run(stages[use_case.name], seconds, total)) for use_case in ran]
    whole = bool(ran) and all(stages[use_case.name] >= set(STAGES) for use_case in ran)
    if whole and not INSTALLED:  # there is no make beside a wheel
        parts += _list_next_commands(ran[0].name if len(ran) == 1 else "all", **overrides)
    return "\n".join(["", *parts])


def _describe_use_case(use_case: UseCase, catalog: DataCatalog, run: Run) -> str:
    sections = {
        "data_ingestion": _describe_ingestion,
        "data_quality": _describe_quality,
        "feature_engineering": _describe_outcomes,
        "evaluation": _describe_evaluation,
        "batch_scoring": _describe_scoring,
        "monitoring": _describe_monitoring,
    }
    lines = [click.style(use_case.name, bold=True)]
    for stage, section in sections.items():
        if stage in run.stages:
            lines += _describe_training(use_case, run) if stage == "evaluation" else []
            lines += section(use_case, catalog)
    if "monitoring" in run.stages:
        report = _find_file(catalog, f"{use_case.name}.report_page", _find_monitored_batch(use_case, catalog))
        lines += [_format_line("report", _shorten_path(report))] if report else []
    lines.append(_format_line("time", _describe_times(use_case.name, run)))
    return "\n".join(lines)


def _describe_ingestion(use_case: UseCase, catalog: DataCatalog) -> list[str]:
    from lakehouse_ml.datasets.landing_files import LandingFiles

    sentences: list[str] = []
    quiet: list[str] = []
    many = len(use_case.sources) > _FEW_SOURCES
    arrived = _files(use_case, catalog)
    for name, files in arrived.items():
        if len(files):
            refused = int(files["n_quarantined"].sum())
            gone = catalog.get(f"{use_case.name}.landing_{name}")
            vanished = gone.list_missing() if isinstance(gone, LandingFiles) else []
            if many and not refused and not vanished:
                quiet.append(f"{name} {_count_rows(files)}")
                continue
            sentences.append(
                f"{name}: {int(files['n_lines'].sum()):,} rows in {len(files)} file{'s'[: len(files) != 1]}, "
                f"{refused:,} of them refused at parsing"
                + (f"; gone from the folder, their rows stay: {', '.join(vanished)}" if vanished else "")
            )
    if quiet:
        sentences.append(f"rows, none refused at parsing: {', '.join(quiet)}")
    from lakehouse_ml.report.cautions import simulated_sentence

    simulated = simulated_sentence(arrived)
    lines = [_format_line("landed", text) for text in sentences]
    return [*lines, _format_line("", simulated.replace("`", ""))] if simulated else lines


def _files(use_case: UseCase, catalog: DataCatalog) -> dict[str, pd.DataFrame]:
    """The stored manifest of each landing table, by name."""
    stored = {name: _load_if_stored(catalog, f"{use_case.name}.manifest_{name}") for name in use_case.sources}
    return {name: files for name, files in stored.items() if files is not None}


def _count_rows(files: pd.DataFrame) -> str:
    rows = f"{int(files['n_lines'].sum()):,}"
    return rows if len(files) == 1 else f"{rows} in {len(files)} files"


def _describe_quality(use_case: UseCase, catalog: DataCatalog) -> list[str]:
    lines: list[str] = []
    quiet: list[str] = []
    many = len(use_case.sources) > _FEW_SOURCES
    for name in use_case.sources:
        rules = _load_if_stored(catalog, f"{use_case.name}.metrics_rules_{name}")
        if rules is not None and int(rules["n_rows"].iloc[0]):
            first = rules.iloc[0]
            if many and first.n_quarantined == 0 and (rules["outcome"] == "ok").all():
                quiet.append(f"{name} {first.n_clean:,}")
                continue
            lines.append(
                _format_line("quality", f"{name}: {first.n_clean:,} clean, {first.n_quarantined:,} quarantined")
            )
            lines += [
                _format_line("", f"{rule.outcome}: {rule.rule} broken by {rule.n_failed:,} ({rule.failed_share:.1%})")
                for rule in rules[rules["outcome"] != "ok"].itertuples()
            ]
    return [*lines, _format_line("quality", f"{', '.join(quiet)}: all clean")] if quiet else lines


def _describe_outcomes(use_case: UseCase, catalog: DataCatalog) -> list[str]:
    """Describe faults of known outcomes; no line where there is none."""
    name = f"{use_case.name}.metrics_labels"
    labels = _load_if_stored(catalog, name) if use_case.gathers_outcomes else None
    if labels is None:
        return []
    from lakehouse_ml.report.sections import outcomes

    sentences = list(outcomes.describe_label_problems(labels, use_case.wording.within(_horizon(use_case, catalog))))
    return [_format_line("outcomes", text) for text in sentences]


def _horizon(use_case: UseCase, catalog: DataCatalog) -> int | None:
    """Days within which an outcome of a day looks ahead; None where the use case has none."""
    if use_case.multiple_rows_per_entity:
        return None
    from lakehouse_ml.modelling.population import PopulationSpec

    # Kedro reads parameters into their type only where a node of the run takes them.
    return PopulationSpec.model_validate(catalog.load(f"params:{use_case.name}.population")).horizon_days


def _describe_training(use_case: UseCase, run: Run) -> list[str]:
    """Say that new data brought nothing to learn from; no line where a model was fitted, or no data was new."""
    came = any(node.startswith(f"{use_case.name}.feature_engineering.") for node in run.seconds)
    if "training" not in run.stages or not came or f"{use_case.name}.{SEARCH}" in run.seconds:
        return []
    return [_format_line("training", "nothing new to learn from: no model was fitted")]


def _describe_evaluation(use_case: UseCase, catalog: DataCatalog) -> list[str]:
    verdicts = _load_if_stored(catalog, f"{use_case.name}.verdict_model")
    metrics = _load_if_stored(catalog, f"{use_case.name}.metrics_holdout")
    if verdicts is None or metrics is None:
        return []
    from lakehouse_ml.modelling.gates import newest_verdict

    newest = newest_verdict(verdicts)
    promotion = catalog.load(f"{use_case.name}.promotion_model")
    decided = _VERDICTS[newest.decision]
    sentence = f"version {newest.version} {decided}: {newest.reason}"
    lines = [_format_line("verdict", sentence, decided, _COLOURS[newest.decision])]
    lines.append(_format_line("champion", f"version {promotion.champion}" if promotion.champion else "none yet"))
    lines += _metric_table(metrics[metrics["segment"] == "all"], use_case.wording.row)
    return lines + _describe_measures(metrics, use_case) + _warn_of_perfection(metrics, use_case, catalog)


def _warn_of_perfection(metrics: pd.DataFrame, use_case: UseCase, catalog: DataCatalog) -> list[str]:
    """Warn of a perfect metric; no line elsewhere."""
    from lakehouse_ml.report.cautions import perfect_sentence

    caution = perfect_sentence(metrics, use_case.wording.within(_horizon(use_case, catalog)))
    return [_format_line("caution", caution, caution, "yellow")] if caution else []


def _describe_measures(metrics: pd.DataFrame, use_case: UseCase) -> list[str]:
    """Describe the use case's own measures in one line; no line where it has none."""
    from lakehouse_ml.report import measures

    section = use_case.wording.metric_section
    if section is None:
        return []
    head, text = section.brief
    sentence = measures.fill_sentence(text, measures.format_measures(metrics, section, "candidate"))
    return [_format_line("", f"{head:<22}{sentence}")] if sentence else []


def _metric_table(metrics: pd.DataFrame, one: str) -> list[str]:
    from lakehouse_ml.modelling.metrics import TITLES

    values = {(row.model, row.metric): row for row in metrics.itertuples()}
    contested = any(model == "incumbent" for model, _ in values)
    heads = f"{'candidate (95 % interval)':<28}" + ("champion before" if contested else "")
    lines = [_format_line("hold-out", f"{'':<22}{heads}".rstrip())] if values else []
    titles = {**TITLES, "expected_value": f"value per {one}"}
    for metric in _SHOWN:
        candidate, incumbent = values.get(("candidate", metric)), values.get(("incumbent", metric))
        if candidate is not None:
            band = f" ({candidate.low:.3f} to {candidate.high:.3f})" if candidate.low == candidate.low else ""
            beside = _format_decimal(incumbent.value) if incumbent is not None else ""
            lines.append(
                _format_line(
                    "", f"{titles[metric]:<22}{f'{_format_decimal(candidate.value)}{band}':<28}{beside}".rstrip()
                )
            )
    return lines


def _format_decimal(value: float) -> str:
    """Three digits; a dash where nothing could be measured."""
    return f"{value:.3f}" if not math.isnan(value) else "-"


def _describe_scoring(use_case: UseCase, catalog: DataCatalog) -> list[str]:
    from lakehouse_ml.datasets.delta_table import DeltaTable

    table = f"score_{use_case.entity_plural}"
    scores, history = (catalog.get(f"{use_case.name}.{name}") for name in (table, "score_actions"))
    batch, n = None, 0
    if isinstance(scores, DeltaTable) and isinstance(history, DeltaTable) and scores.exists():
        batch = history.last_batch()
        n = scores.count_rows("batch", batch) if batch else 0
    if batch is None or not n:
        waits = catalog.load(f"{use_case.name}.promotion_model").champion is None
        why = "scoring was skipped, a first model awaits approval" if waits else "the batch's day has nobody to score"
        return [_format_line("scores", f"none: {why}")]
    actions = _find_file(catalog, f"{use_case.name}.report_actions", batch)
    words = use_case.wording
    named = _table_name(scores, use_case) if isinstance(scores, DeltaTable) else table
    where = "" if named == table else f" of {named}"
    rows = f"{n:,} {words.row}{'' if n == 1 else 's'} in batch {batch}{where}"
    return [
        _format_line("scores", f"{rows}; {words.action_list}: {_shorten_path(actions or 'none')}"),
        *_warn_of_future(batch),
        *_warn_of_assumed_day(use_case, catalog, batch),
    ]


def _table_name(table: DeltaTable, use_case: UseCase) -> str:
    return Lake.of_table(table.kind, table.address).table_name(table.address, use_case.name)


def _find_file(catalog: DataCatalog, name: str, batch: str | None) -> str | None:
    """Address of the file about a batch; None where the catalog has no such file."""
    from lakehouse_ml.datasets.recorded_file import RecordedFile

    file = catalog.get(name)
    return file.address_of(batch) if isinstance(file, RecordedFile) else None


def _warn_of_assumed_day(use_case: UseCase, catalog: DataCatalog, batch: str) -> list[str]:
    """Warn that no file names the day of a batch; no line where one does."""
    from lakehouse_ml.report.cautions import assumed_day, assumed_day_sentence
    from lakehouse_ml.storage.landing import IngestionSpec

    ingestion = IngestionSpec.model_validate(catalog.load(f"params:{use_case.name}.data_ingestion"))
    if batch != assumed_day(use_case, _files(use_case, catalog), ingestion):
        return []
    return [_format_line("", assumed_day_sentence(batch).replace("`", ""))]


def _warn_of_future(batch: str) -> list[str]:
    """Warn of a batch in the future: it stays the newest until that day."""
    if batch <= f"{datetime.now(UTC):%Y-%m-%d}":
        return []
    warning = (
        f"batch {batch} lies in the future: if a file's name has a wrong date, correct it, then kedro withdraw file"
    )
    return [_format_line("", warning, warning, "red")]


def _describe_monitoring(use_case: UseCase, catalog: DataCatalog) -> list[str]:
    drift = _load_if_stored(catalog, f"{use_case.name}.verdict_drift")
    if drift is None or drift.empty:
        return [_format_line("drift", "not assessable: nothing is scored yet")]
    from lakehouse_ml.modelling.drift import STATUS_WORDS

    batch = _find_monitored_batch(use_case, catalog)
    rows = drift[drift["batch"] == batch] if batch in set(drift["batch"]) else drift.sort_values("batch")
    newest = rows.iloc[-1]
    status = STATUS_WORDS.get(newest.status, newest.status)
    lines = [_format_line("drift", f"{status}: {newest.reason}", status, _DRIFT.get(newest.status))]
    return lines + _describe_performance(use_case, catalog)


def _find_monitored_batch(use_case: UseCase, catalog: DataCatalog) -> str | None:
    from lakehouse_ml.datasets.delta_table import DeltaTable

    verdicts = catalog.get(f"{use_case.name}.verdict_drift")
    return verdicts.last_batch() if isinstance(verdicts, DeltaTable) else None


def _describe_performance(use_case: UseCase, catalog: DataCatalog) -> list[str]:
    """Compare real outcomes with the hold-out; no line while none is known."""
    if use_case.multiple_rows_per_entity:
        return []
    performance = _load_if_stored(catalog, f"{use_case.name}.verdict_live")
    if performance is None or performance.empty:
        return []
    from lakehouse_ml.report.sections import outcomes

    row = performance.iloc[0].to_dict()
    sentence = outcomes.describe_performance(row, use_case.wording.within(_horizon(use_case, catalog)))
    return [_format_line("real", sentence, sentence, "red" if row["status"] == "worse" else None)]


def _describe_times(name: str, run: Run) -> str:
    spent = {
        stage: sum(seconds for node, seconds in run.seconds.items() if node.startswith(f"{name}.{stage}."))
        for stage in STAGES
        if stage in run.stages
    }
    if not any(spent.values()):
        return f"{run.total:.1f} s; unchanged: every step was skipped"
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in spent.items() if seconds)
    return f"{stages}; with start-up {run.total:.1f} s"


def _list_next_commands(
    use_case: str, landing: str | None = None, lake: str | None = None, env: str | None = None
) -> list[str]:
    """List the next commands, with the values of this run."""
    import mlflow

    store = mlflow.get_tracking_uri()
    described = {}
    if store.startswith(("http", "sqlite:")):
        pages = store if store.startswith("http") else next_commands.make("ui", LAKE=lake or _find_lake(store, env))
        described[pages] = "the runs, the trials and the registered model, in MLflow"
    described["make viz"] = "the pipelines as a picture"
    if landing:
        again = next_commands.run_all(use_case, landing=landing, lake=lake, env=env)
        described[again] = "again, once new files have arrived"
    elif use_case != "all":  # each use case has files of its own
        own = next_commands.run_all(use_case, landing="<folder>", lake="data/mine", env=env)
        described[own] = "the same on your own files"
    width = max(map(len, described))
    return [
        _format_line("next" if not number else "", f"{command:<{width}}   {why}")
        for number, (command, why) in enumerate(described.items())
    ]


def _find_lake(store: str, env: str | None) -> str | None:
    """The folder of a tracking store, where an environment may have named another than the usual lake."""
    return str(Path(store.removeprefix("sqlite:///")).parent) if env else None


def _load_if_stored(catalog: DataCatalog, name: str) -> pd.DataFrame | None:
    """Load a table; None where no run has written it yet."""
    return catalog.load(name) if catalog.exists(name) else None


def _format_line(head: str, text: str, marked: str = "", colour: str | None = None) -> str:
    """One line, whatever names stand in the text; `marked`, a part of it, in a colour."""
    shown, part = printable(text), printable(marked)
    shown = shown.replace(part, click.style(part, fg=colour), 1) if part and colour else shown
    return f"  {click.style(f'{head:<10}', dim=True) if head else ' ' * 10}{shown}"


def _shorten_path(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
