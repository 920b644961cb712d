"""What each column is to a use case: key, label, time or feature; and what of its file a use case can't take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.tooling.drafting.columns import (
    LONGEST,
    MOST_CATEGORIES,
    Profile,
    profile_columns,
    quote_unprintable,
    shorten,
    to_snake_case,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from lakehouse_ml.tooling.drafting.landing_file import LandingRecords

# The key of rows that nothing in the file names.
ROW_ID = "row_id"
MOST_CLASSES = 20
HOLDOUT_SHARE = 0.2
# More of a file than this that is refused as it lands is a wrong file.
MOST_REFUSED = 0.2
_SALTS = 20
_YES = {"yes", "y", "true", "t", "1", "1.0"}


@dataclass(frozen=True)
class DraftRequest:
    """What is asked for: the use case's name, and the file's names of its columns.

    Attributes:
        name: Of the use case.
        label: What is predicted.
        key: What a row is about; None proposes a column or takes file and line.
        positive: Of two outcomes the one to predict; None is yes, true or 1.
        time: The row's day, where rows are states over time.
    """

    name: str
    label: str
    key: str | None = None
    positive: str | None = None
    time: str | None = None


@dataclass(frozen=True)
class Limits:
    """How many rows the drafted split, gates and lists ask for.

    Attributes:
        per_class: Entities of each class that each part of the split must have.
        share_gap: How far the parts' shares of a class may lie apart.
        holdout_rows: Rows that a hold-out must have for a verdict.
        segment_rows: Rows of a group that is judged by itself.
        actions: Length of the list of actions.
        is_small: Whether the file has too few rows for the usual limits.
    """

    per_class: int
    share_gap: float
    holdout_rows: int
    segment_rows: int
    actions: int
    is_small: bool


@dataclass(frozen=True)
class DraftPlan:
    """What each column is to the use case.

    Attributes:
        columns: All of them, in the file's order.
        key: What a row is about; None where file and line are the key.
        is_key_proposed: Whether nobody asked for this key.
        label: What is predicted.
        time: The row's day; None where files tell it.
        classes: Names of the classes by the file's words; none where there are two outcomes.
        positive: Of two outcomes, the one that is predicted.
        salt: Of the split.
        limits: Of split, gates and lists.
        n_records: Records of the file.
        refused: Why a record will be refused as it lands, by its number.
    """

    columns: Sequence[Profile]
    key: Profile | None
    is_key_proposed: bool
    label: Profile
    time: Profile | None
    classes: Mapping[str, str]
    positive: str
    salt: int
    limits: Limits
    n_records: int
    refused: Mapping[int, str]

    @property
    def key_name(self) -> str:
        """The column that names what a row is about."""
        return self.key.name if self.key else ROW_ID

    @property
    def other_columns(self) -> list[Profile]:
        """All but key, label and time."""
        special = {column.name for column in (self.key, self.label, self.time) if column}
        return [column for column in self.columns if column.name not in special]

    @property
    def features(self) -> list[Profile]:
        """What is learned from."""
        return [column for column in self.other_columns if not column.exclusion]

    @property
    def categorical(self) -> list[str]:
        """Features with categories."""
        return [column.name for column in self.features if not column.is_number]

    @property
    def exclusions(self) -> list[str]:
        """What is no feature, with the reason."""
        return [f"{column.name} {column.exclusion}." for column in self.other_columns if column.exclusion]


def plan_draft(request: DraftRequest, records: LandingRecords, missing_words: Collection[str]) -> DraftPlan:
    """Decide what each column is.

    Args:
        request: Columns that were asked for.
        records: All records of the file.
        missing_words: Conf's, which mean missing in every column.

    Raises:
        LakehouseError: A column, the key, the labels or too many of the records don't suit; the sentence names the
            column and the remedy.
    """
    columns = profile_columns(records, missing_words, texts=[request.label, *([request.key] if request.key else [])])
    label = _find_column(columns, request.label, "--label")
    time = _find_column(columns, request.time, "--time") if request.time else None
    requested_key = _find_column(columns, request.key, "--key") if request.key else None
    named = [column for column in (requested_key, label, time) if column]
    if len({column.name for column in named}) < len(named):
        raise LakehouseError(
            "--key, --label and --time name different columns: what identifies a row, what is "
            "predicted, and the row's day."
        )
    if time:
        _check_time(time, records)
    key = requested_key or _propose_key(columns, label, time, records)
    refused = _find_refusals(records, key, time)
    _check_refused(records, refused)
    if key:
        _check_key(records, key, time)
    classes, positive = _choose_classes(label, request.positive)
    labelled_rows = _list_labelled(records, key, label, None if classes else time, refused)
    limits = _choose_limits(labelled_rows, len(records.lines) - len(refused))
    plan = DraftPlan(
        columns,
        key,
        requested_key is None,
        label,
        time,
        classes,
        positive,
        _choose_salt(labelled_rows, label, limits),
        limits,
        len(records.lines) + len(records.refused),
        refused,
    )
    if not plan.features:
        raise LakehouseError(
            f"Beside {plan.key_name if key is None else key.source} and {label.source} no column can be learned from: "
            f"numbers, or text with at most {MOST_CATEGORIES} different values."
        )
    return plan


def describe_plan(plan: DraftPlan, file: str) -> list[str]:
    """What was decided, in sentences.

    Args:
        plan: The decisions.
        file: Name of the file.
    """
    label, n_labels = plan.label, plan.label.n_values
    sentences = [
        f"{plan.n_records:,} records, {len(plan.columns)} columns, {len(plan.features)} features, "
        f"{len(plan.categorical)} of them text."
    ]
    if plan.refused:
        shown = "; ".join(f"line {line} {plan.refused[line]}" for line in sorted(plan.refused)[:3])
        sentences.append(
            f"{len(plan.refused):,} of {plan.n_records:,} records will be refused when the file lands: {shown}"
            f"{'; …' if len(plan.refused) > 3 else ''}."
        )
    if plan.classes:
        sentences.append(
            f"{label.source} has {len(plan.classes)} classes, known of {n_labels:,} rows: one label per row and class."
        )
    else:
        sentences.append(
            f"{label.source} = {plan.positive!r} is predicted: {label.counts[plan.positive]:,} of {n_labels:,} "
            f"rows with a known label."
        )
    if label.missing or label.n_blank:
        words = ", ".join(f"{n:,} say {word!r}" for word, n in label.missing.items())
        where_listed = " (missing_words in conf/base/globals.yml)" if words else ""
        blank = f"{label.n_blank:,} are empty" if label.n_blank else ""
        sentences.append(
            f"{label.source} is unknown in {label.n_blank + sum(label.missing.values()):,} rows: "
            f"{', '.join(filter(None, (words, blank)))}{where_listed}."
        )
    sentences += _describe_key(plan, file)
    sentences += [
        line for column in (*plan.other_columns, *([plan.time] if plan.time else [])) for line in column.decisions
    ]
    return [*sentences, *(f"Left out: {line}" for line in plan.exclusions)]


def _describe_key(plan: DraftPlan, file: str) -> list[str]:
    if plan.key is None:
        return [
            f"No column names each row, so file and line are the key: {ROW_ID}, such as {file}:2. Outcomes that come "
            f"later name it, the same thing in a later file is another row, and a corrected file keeps the order of "
            f"its lines. A column of ids would be better: name it with --key."
        ]
    if plan.is_key_proposed:
        together = f"Together with {plan.time.source}, {plan.key.source}" if plan.time else plan.key.source
        return [f"{together} is different in each row and becomes the key; --key names another column."]
    return []


def _find_column(columns: Sequence[Profile], name: str, option: str) -> Profile:
    for column in columns:
        if name in (column.source, column.name):
            return column
    raise LakehouseError(
        f"{option}: there is no column {name} in the file. There are {', '.join(column.source for column in columns)}."
    )


def _check_time(time: Profile, records: LandingRecords) -> None:
    if time.type in ("date", "timestamp"):
        return
    example = next((value for value in records.table[time.source].to_pylist() if value), "")
    if time.is_ambiguous:
        raise LakehouseError(
            f"--time: {time.source} holds days such as {example!r}, and nothing tells whether the day or the month "
            f"comes first. Write them as YYYY-MM-DD."
        )
    raise LakehouseError(
        f"--time: {time.source} holds {shorten(example, LONGEST)!r}, and no day as YYYY-MM-DD, DD.MM.YYYY, DD/MM/YYYY, "
        f"MM/DD/YYYY or YYYYMMDD, with or without a time behind it. Write its days as YYYY-MM-DD."
    )


def _read_values(records: LandingRecords, column: Profile) -> list[str]:
    """A column's values as ingestion reads them: what means missing is empty, a day is YYYY-MM-DD."""
    missing = {*column.missing, *column.strays, ""}
    plain = {value: str(column.parse(value)) if column.type == "date" else value for value in column.counts}
    if column.type == "timestamp":
        plain = {value: value[:10] for value in column.counts}
    return ["" if value in missing else plain[value] for value in records.table[column.source].to_pylist()]


def _find_refusals(records: LandingRecords, key: Profile | None, time: Profile | None) -> dict[int, str]:
    """Records that aren't whole, or have no key or day."""
    refused = dict(records.refused)
    for column in (key, time):
        for line, value in zip(records.lines, _read_values(records, column) if column else (), strict=False):
            if not value:
                refused.setdefault(line, f"has no {column.source if column else ''}")
    return dict(sorted(refused.items()))


def _check_refused(records: LandingRecords, refused: Mapping[int, str]) -> None:
    n = len(records.lines) + len(records.refused)
    if len(refused) > MOST_REFUSED * n:
        line = min(refused)
        raise LakehouseError(
            f"{len(refused):,} of {n:,} records would be refused when {records.name} lands: line {line} "
            f"{refused[line]}. Correct the file, or name another column."
        )


def _propose_key(
    columns: Sequence[Profile], label: Profile, time: Profile | None, records: LandingRecords
) -> Profile | None:
    """A column that names each row (on its day), one whose name says so first; None if there is none."""
    candidates = [column for column in columns if column not in (label, time) and column.can_be_key]
    # Some empty keys are refused rows and no reason to take another one.
    for column in sorted(candidates, key=lambda column: not column.is_named_like_id):
        if column.n_values >= (1 - MOST_REFUSED) * column.n_records and not _count_duplicate_keys(
            records, column, time
        ):
            return column
    return None


def _count_duplicate_keys(records: LandingRecords, key: Profile, time: Profile | None) -> dict[tuple[str, ...], int]:
    """Keys that several records have, with how many."""
    if time is None:
        return {(value,): n for value, n in key.counts.items() if n > 1}
    pairs = Counter(zip(_read_values(records, key), _read_values(records, time), strict=True))
    return {pair: n for pair, n in pairs.items() if n > 1 and all(pair)}


def _check_key(records: LandingRecords, key: Profile, time: Profile | None) -> None:
    repeated = _count_duplicate_keys(records, key, time)
    if not repeated:
        return
    worst = max(repeated, key=lambda values: repeated[values])
    counts = f"{' of '.join(map(repr, worst))} is in {repeated[worst]} rows, as {len(repeated):,} keys do in several"
    if time:
        raise LakehouseError(
            f"{key.source} and {time.source} together have duplicates: {counts}. Remove them, or name "
            f"columns that tell rows apart."
        )
    raise LakehouseError(
        f"{key.source} has duplicates: {counts}. If they are its states over time, name the column of their day with "
        f"--time; if not, remove them, name another --key, or leave --key out: file and line are the key then."
    )


def _choose_classes(label: Profile, positive: str | None) -> tuple[dict[str, str], str]:
    """Names of the classes by the file's words, none where there are two outcomes; and which of two is positive."""
    words = sorted(label.counts)
    values = shorten(", ".join(map(quote_unprintable, words)), LONGEST)
    if len(words) < 2:
        raise LakehouseError(
            f"{label.source} has {f'only the value {values}' if words else 'no value in any row'}: two outcomes at "
            f"least are needed to tell them apart."
        )
    if max(map(len, words)) > LONGEST:
        raise LakehouseError(f"{label.source} has values of more than {LONGEST} letters: it is text, and no outcome.")
    if len(words) == 2:
        positives = [word for word in words if (word == positive if positive else word.lower() in _YES)]
        if len(positives) != 1:
            problem = f"has no value {positive}" if positive else "doesn't say by itself which value is to be predicted"
            raise LakehouseError(f"{label.source} {problem}: name one of {values} with --positive.")
        return {}, positives[0]
    continuous = label.type == "double" and any(float(label.parse(word)) % 1 for word in label.counts)
    if continuous or label.type in ("date", "timestamp") or len(words) > MOST_CLASSES:
        raise LakehouseError(
            f"{label.source} has {len(words):,} different values ({values}): the stages predict which of at most "
            f"{MOST_CLASSES} classes a row is of, and no amounts. Put a column of classes into the file, such as "
            f"high and low."
        )
    if positive:
        raise LakehouseError(f"--positive goes with two outcomes; {label.source} has {len(words)}: {values}.")
    slugs: dict[str, str] = {}
    for word in words:
        slug = to_snake_case(word) if not word[:1].isdigit() else to_snake_case(word).removeprefix("n_")
        if not slug or slug in slugs.values():
            others = [other for other, name in slugs.items() if name == slug]
            text = quote_unprintable(word)
            problem = f"{text} and {quote_unprintable(others[0])} would both be" if others else f"{text} could not be"
            raise LakehouseError(
                f"{label.source}: {problem} the end of a column's name, probability_{slug}. Rename a class in the file."
            )
        slugs[word] = slug
    return slugs, ""


def _list_labelled(
    records: LandingRecords, key: Profile | None, label: Profile, time: Profile | None, refused: Mapping[int, str]
) -> list[tuple[str, str]]:
    """Entity and label of the rows that are learned from."""
    entities = _read_values(records, key) if key else [f"{records.name}:{line}" for line in records.lines]
    labels = records.table[label.source].to_pylist()
    positions = [
        position
        for position, word in enumerate(labels)
        if word and word not in label.missing and records.lines[position] not in refused
    ]
    if time is None:
        return [(entities[position], labels[position]) for position in positions]
    days = _read_values(records, time)
    newest = {entities[position]: labels[position] for position in sorted(positions, key=lambda one: days[one])}
    return list(newest.items())


def _choose_limits(labelled: Sequence[tuple[str, str]], n_rows: int) -> Limits:
    """The usual limits, or lower ones for a file whose hold-out wouldn't reach them."""
    pairs = Counter(word for _, word in set(labelled))
    # A draw of the hold-out may have a third less than its share.
    held_out = HOLDOUT_SHARE * 2 / 3
    is_small = pairs.total() * held_out < 100 or min(pairs.values(), default=0) * held_out < 20
    actions = min(max(n_rows // 20, 10), 1000)
    if is_small:
        return Limits(5, 0.2, 10, 20, actions, is_small)
    return Limits(20, 0.1, 100, 50, actions, is_small)


def _choose_salt(rows: Sequence[tuple[str, str]], label: Profile, limits: Limits) -> int:
    """The first salt whose split leaves both parts enough entities of each class, in like shares."""
    from lakehouse_ml.modelling.split import is_held_out

    pairs = set(rows)
    counts = Counter(dict.fromkeys(sorted(label.counts), 0))
    counts.update(word for _, word in pairs)
    rarest, fewest = min(counts.items(), key=lambda entry: entry[1])
    min_rows = round(limits.per_class / HOLDOUT_SHARE)
    for salt in range(_SALTS) if fewest >= 2 * limits.per_class else ():
        is_out = {entity: is_held_out(entity, salt, HOLDOUT_SHARE) for entity, _ in pairs}
        held_out = Counter(word for entity, word in pairs if is_out[entity])
        shares = [part[rarest] / max(part.total(), 1) for part in (held_out, counts - held_out)]
        if abs(shares[0] - shares[1]) <= limits.share_gap and all(
            limits.per_class <= held_out[word] <= n - limits.per_class for word, n in counts.items()
        ):
            return salt
    raise LakehouseError(
        f"{label.source} = {quote_unprintable(rarest)} is in {fewest:,} rows with a key of their own: too few. A fifth "
        f"of the keys is held out to judge a model, and each part needs {limits.per_class} of each class: some "
        f"{min_rows} in all. Add rows, or merge rare classes."
    )
