"""Withdraw a landing file or a batch: remove its rows and everything made of them, and record it in each commit.

Tables that every run rebuilds (features, labels, training rows) are left to the next run.
"""

from __future__ import annotations

import inspect
import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lakehouse_ml.datasets import recorded_file
from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.datasets.landing_files import LandingFiles
from lakehouse_ml.datasets.recorded_file import RecordedFile
from lakehouse_ml.errors import LakehouseError, is_utf8
from lakehouse_ml.modelling.population import find_newest_day
from lakehouse_ml.storage import files, provenance
from lakehouse_ml.storage.provenance import Provenance
from lakehouse_ml.storage.writes import ReplaceBatch, collect

if TYPE_CHECKING:
    from kedro.io import DataCatalog
    from pyspark.sql import DataFrame

    from lakehouse_ml.use_cases.base import UseCase

T = TypeVar("T")
log = logging.getLogger(__name__)

# Tables of a landing table that hold rows by file. Raw rows go first: once they are gone, the next run rebuilds the
# others even if the command was interrupted. The manifest goes last: until then the same command finds the file again.
_OF_FILES = ("raw", "quarantine_lines", "checked", "quarantine", "clean", "parsed", "manifest")
# Tables by batch. Scores tell which batches a file is in, so they go after their list and drift; real performance is
# rebuilt from scores by every run.
_OF_BATCHES = ("score_actions", "metrics_drift", "verdict_drift", "score_{noun}", "outcome_{noun}", "metrics_live")
_OUTPUT_FILES = ("report_actions", "report_drift", "report_page")
_WITHDRAWN = "withdrawn"
_SHOWN = 12


@dataclass(frozen=True)
class Removal:
    """Rows of one table to remove.

    Attributes:
        dataset: The table's name in the catalog.
        column: Tells which rows go.
        value: They hold this value.
        n_rows: How many they are.
        empties: Whether all other rows go too: a working copy, which the next run reads again.
    """

    dataset: str
    column: str
    value: str
    n_rows: int
    empties: bool = False


@dataclass(frozen=True)
class Withdrawal:
    """The plan of a withdrawal.

    Attributes:
        what: The file or batch, as commits name it.
        use_case: Whose.
        removals: Rows by table, in the order of removal.
        files: Dataset name and address of each output file about a removed batch.
        notes: What stays, and what the next run does.
    """

    what: str
    use_case: str
    removals: Sequence[Removal]
    files: Sequence[tuple[str, str]]
    notes: Sequence[str]

    @property
    def lines(self) -> list[str]:
        """The plan as text, one table or file per line."""
        shown = [one for one in self.removals if one.n_rows]
        names = [*(one.dataset for one in shown), *(name for name, _ in self.files)]
        width = max(map(len, names), default=0)
        digits = max((len(f"{one.n_rows:,}") for one in shown), default=1)
        rows = [
            f"  {one.dataset:<{width}}  {one.n_rows:>{digits},} row{'s' if one.n_rows != 1 else ' '}"
            + (f" of batch {one.value}" if one.column == "batch" else "")
            for one in shown
        ]
        files = [f"  {name:<{width}}  {address}" for name, address in self.files]
        return [
            f"Withdraw {self.what} of {self.use_case}. To be removed:",
            *(line.rstrip() for line in rows),
            *files,
            *self.notes,
        ]


def plan_file(catalog: DataCatalog, use_cases: Sequence[UseCase], name: str) -> Withdrawal:
    """Find everything made of a landing file.

    Args:
        catalog: Of the lake.
        use_cases: Those that may have read it.
        name: The file's path below the landing folder.

    Raises:
        LakehouseError: The file was not read, was read by several use cases, or is still in the landing folder.
    """
    # A name that isn't UTF-8 is refused as it lands, and no table can be asked for it.
    candidates = use_cases if is_utf8(name) else ()
    readers = [(one, tables) for one in candidates if (tables := _find_tables(catalog, one, name))]
    if not readers:
        raise LakehouseError(f"No file {name} was read into this lake. {_suggest_files(catalog, use_cases)}")
    use_case, tables = _choose_use_case(f"The file {name} was read", readers)
    removals: list[Removal] = []
    notes: list[str] = []
    batches: set[str] = set()
    for table, stored in tables.items():
        notes += _check_gone(catalog, use_case, table, stored)
        of_table = _find_batches(catalog, use_case, table, stored)
        batches |= set(of_table)
        for batch in of_table:
            removals += _list_removals_of_batch(catalog, use_case, batch)
        removals += _list_removals_of_file(catalog, use_case, table, stored)
        notes += _describe_models(catalog, use_case, table, stored)
    notes.append("The next run builds features, labels and everything after them again, from the remaining rows.")
    notes += _describe_batches(catalog, use_case, sorted(batches))
    removals = list(dict.fromkeys(removals))
    return Withdrawal(
        f"the file {name}", use_case.name, removals, _list_output_files(catalog, use_case, batches), notes
    )


def plan_batch(catalog: DataCatalog, use_cases: Sequence[UseCase], batch: str) -> Withdrawal:
    """Find everything made of a batch: its scores, list, drift and real performance.

    Args:
        catalog: Of the lake.
        use_cases: Those that may have scored it.
        batch: Its day.

    Raises:
        LakehouseError: No use case, or several, have a batch of that day.
    """
    scorers = [(one, removals) for one in use_cases if (removals := _list_removals_of_batch(catalog, one, batch))]
    if not scorers:
        raise LakehouseError(f"No batch {batch} was scored in this lake. {_suggest_batches(catalog, use_cases)}")
    use_case, removals = _choose_use_case(f"The batch {batch} was scored", scorers)
    if batch == _find_newest_day(catalog, use_case):
        next_run = "It is the newest day: the next run scores it again."
    else:
        next_run = f"The next run scores the newest day only. {_suggest_scoring(use_case, batch)}"
    notes = [f"The rows of that day stay. {next_run}"]
    return Withdrawal(
        f"the batch {batch}", use_case.name, removals, _list_output_files(catalog, use_case, {batch}), notes
    )


def carry_out(catalog: DataCatalog, plan: Withdrawal, git: str | None = None) -> None:
    """Remove what a plan names, table by table; after an interruption the same command does the rest."""
    for _, address in plan.files:
        recorded_file.remove(address)
    origin = Provenance(f"withdraw {plan.what}", {}, _WITHDRAWN, git=git)
    for number, removal in enumerate(plan.removals, 1):
        log.info("[%2d/%d] %s", number, len(plan.removals), removal.dataset)
        table = _table(catalog, removal.dataset)
        rows = table.load()
        none = rows.limit(0) if hasattr(rows, "sparkSession") else rows.head(0)
        with provenance.attach_provenance(origin):
            table.save(none if removal.empties else ReplaceBatch(none, removal.column, (removal.value,)))


def _choose_use_case(problem: str, candidates: Sequence[tuple[UseCase, T]]) -> tuple[UseCase, T]:
    """Return the only candidate: a use case and what was found for it."""
    if len(candidates) > 1:
        names = ", ".join(use_case.name for use_case, _ in candidates)
        raise LakehouseError(f"{problem} by {names}: choose one of them with --use-case.")
    return candidates[0]


def _find_tables(catalog: DataCatalog, use_case: UseCase, name: str) -> dict[str, str]:
    """Landing tables that read a file, each with the name as it is stored there."""
    return {
        table: stored for table in use_case.sources if (stored := _find_stored_name(catalog, use_case, table, name))
    }


def _find_stored_name(catalog: DataCatalog, use_case: UseCase, table: str, name: str) -> str | None:
    """A file's name as a landing table stores it: letters with accents have two spellings in Unicode."""
    stored_names = {_normalise(one): one for one in _list_files(catalog, use_case, table)}
    if _normalise(name) in stored_names:
        return stored_names[_normalise(name)]
    # An interrupted run leaves rows without an entry in the manifest.
    parts = ("raw", "quarantine_lines")
    stored = any(_count(catalog, f"{use_case.name}.{part}_{table}", "source_file", name) for part in parts)
    return name if stored else None


def _normalise(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _list_removals_of_batch(catalog: DataCatalog, use_case: UseCase, batch: str) -> list[Removal]:
    names = [f"{use_case.name}.{name.format(noun=use_case.entity_plural)}" for name in _OF_BATCHES]
    counted = [Removal(name, "batch", batch, _count(catalog, name, "batch", batch)) for name in names]
    return [one for one in counted if one.n_rows]


def _list_removals_of_file(catalog: DataCatalog, use_case: UseCase, table: str, file: str) -> list[Removal]:
    removals = []
    for part in _OF_FILES:
        name = f"{use_case.name}.{part}_{table}"
        n_rows = _count(catalog, name, "source_file", file)
        # The folder alone decides whether files are parsed again. If the file comes back as it was, the folder is as
        # before, and only an emptied table tells that the file has to be parsed.
        empties = part == "parsed" and _table(catalog, name).exists()
        if n_rows or empties:
            removals.append(Removal(name, "source_file", file, n_rows, empties))
    return removals


def _list_output_files(catalog: DataCatalog, use_case: UseCase, batches: set[str]) -> list[tuple[str, str]]:
    """Dataset and address of each list, drift and report about one of the batches."""
    outputs = {f"{use_case.name}.{name}": catalog.get(f"{use_case.name}.{name}") for name in _OUTPUT_FILES}
    return [
        (name, address)
        for name, output in outputs.items()
        if isinstance(output, RecordedFile)
        for address in output.addresses_of(batches)
    ]


def _find_batches(catalog: DataCatalog, use_case: UseCase, table: str, file: str) -> list[str]:
    """Batches with an entity of the file: with its very row or, where a score has another time, on the same day."""
    from pyspark.sql import functions as F

    raw, scores = (
        _table(catalog, f"{use_case.name}.{name}") for name in (f"raw_{table}", f"score_{use_case.entity_plural}")
    )
    if table not in inspect.signature(use_case.features).parameters or not raw.exists() or not scores.exists():
        return []
    rows = _select_rows(raw.load_frame(), file)
    keys = [F.col(name) for name in use_case.key if name in rows.columns]
    keys += [_build_day(use_case, table).alias("batch")] if len(keys) < len(use_case.key) else []
    of_file = rows.select(*keys).distinct()
    hit = scores.load_frame().join(of_file, on=of_file.columns, how="left_semi")
    return sorted(collect(hit.select("batch").distinct())["batch"])


def _describe_models(catalog: DataCatalog, use_case: UseCase, table: str, file: str) -> list[str]:
    """Whether the newest version learned from rows of the file, or was judged on them."""
    from pyspark.sql import functions as F

    entity, moment = use_case.key
    learned, raw = (
        _table(catalog, f"{use_case.name}.{name}") for name in (f"model_input_{use_case.entity_plural}", f"raw_{table}")
    )
    if not learned.exists() or not raw.exists():
        return []
    rows = _select_rows(raw.load_frame(), file)
    if moment in rows.columns:
        hit = learned.load_frame().join(rows.select(entity, moment).distinct(), on=[entity, moment], how="left_semi")
        origin = "of this file"
    else:
        days = rows.select(entity, _build_day(use_case, table).alias("_day")).distinct()
        dated = learned.load_frame().withColumn("_day", F.col(moment).cast("date").cast("string"))
        hit = dated.join(days, on=[entity, "_day"], how="left_semi")
        origin = "of days of this file"
    n = hit.count()
    if not n:
        return []
    return [
        f"The newest version of {use_case.name} was trained or judged on {n:,} rows {origin}: the next run trains a "
        f"version without this file. The champion stays until a new version replaces it."
    ]


def _describe_batches(catalog: DataCatalog, use_case: UseCase, batches: Sequence[str]) -> list[str]:
    """What becomes of removed batches whose day keeps rows, and of later ones where features look back."""
    notes = []
    earlier = [one for one in batches if one != _find_newest_day(catalog, use_case)]
    # Else the rows of the day were those of the file.
    if earlier and (use_case.multiple_rows_per_entity or len(batches) > 1):
        notes.append(f"The next run scores the newest day only. {_suggest_scoring(use_case, earlier[-1])}")
    scores = _table(catalog, f"{use_case.name}.score_{use_case.entity_plural}")
    later = [one for one in _list_batches(scores) if batches and one > batches[-1]]
    if use_case.multiple_rows_per_entity and later:
        notes.append(
            f"Scores of later days stay ({_abbreviate(later)}), although their features may look back at rows of this "
            f"file. To remove one: kedro withdraw batch {later[0]}"
        )
    return notes


def _find_newest_day(catalog: DataCatalog, use_case: UseCase) -> str | None:
    features = _table(catalog, f"{use_case.name}.feature_{use_case.entity_plural}")
    day = find_newest_day(features.load_frame(), use_case.key[1]) if features.exists() else None
    return day.isoformat() if day else None


def _suggest_scoring(use_case: UseCase, day: str) -> str:
    return f"To score {day} again, run with --params {use_case.name}.batch_scoring.batch={day}"


def _build_day(use_case: UseCase, table: str) -> Any:
    """Build the column with the day of a row's event or, where the table has no time, of its file."""
    from pyspark.sql import functions as F

    contract = use_case.sources[table]
    times = [one.name for one in contract.columns if one.name in contract.key and one.type == "timestamp"]
    return F.col(times[0] if times else "snapshot_on").cast("date").cast("string")


def _select_rows(rows: DataFrame, file: str) -> DataFrame:
    from pyspark.sql import functions as F

    return rows.where(F.col("source_file") == F.lit(file))


def _check_gone(catalog: DataCatalog, use_case: UseCase, table: str, name: str) -> list[str]:
    """Refuse a file that is still in the folder from which it was read; a note where that can't be seen.

    Raises:
        LakehouseError: It is.
    """
    dataset = catalog.get(f"{use_case.name}.landing_{table}")
    if not isinstance(dataset, LandingFiles):
        return []
    _, recorded = dataset.read_manifest()
    folder = recorded or dataset.address
    fs, root = files.locate(folder)
    # A table that is read whole is named like its folder.
    if fs.exists(f"{root}/{name}") or (root.rsplit("/", 1)[-1] == name and fs.exists(root)):
        raise LakehouseError(
            f"{name} is still in the landing folder {folder}, and the next run would read it again. Remove it from "
            f"there or correct its name, then repeat the command."
        )
    if not fs.exists(root):
        return [f"The landing folder {folder} is not reachable: if {name} is still there, a run reads it again."]
    return []


def _suggest_files(catalog: DataCatalog, use_cases: Sequence[UseCase]) -> str:
    names: list[str] = []
    for use_case in use_cases:
        for table in use_case.sources:
            raw = _table(catalog, f"{use_case.name}.raw_{table}")
            unlisted = collect(raw.load_frame().select("source_file").distinct())["source_file"] if raw.exists() else []
            names += sorted({*_list_files(catalog, use_case, table), *unlisted})
    return f"It has the files {_abbreviate(names)}." if names else "It has no files yet."


def _suggest_batches(catalog: DataCatalog, use_cases: Sequence[UseCase]) -> str:
    names: set[str] = set()
    for use_case in use_cases:
        names |= set(_list_batches(_table(catalog, f"{use_case.name}.score_{use_case.entity_plural}")))
    return f"It has the batches {_abbreviate(sorted(names))}." if names else "It has no batches yet."


def _list_files(catalog: DataCatalog, use_case: UseCase, table: str) -> list[str]:
    manifest = _table(catalog, f"{use_case.name}.manifest_{table}")
    return list(manifest.load()["source_file"]) if manifest.exists() else []


def _list_batches(scores: DeltaTable) -> list[str]:
    return sorted(collect(scores.load_frame().select("batch").distinct())["batch"]) if scores.exists() else []


def _abbreviate(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[-_SHOWN:])}{more}"


def _count(catalog: DataCatalog, name: str, column: str, value: str) -> int:
    table = _table(catalog, name)
    return table.count_rows(column, value) if table.exists() else 0


def _table(catalog: DataCatalog, name: str) -> DeltaTable:
    return cast("DeltaTable", catalog.get(name))
