"""A use case drafted from a CSV: what its columns hold, decided once, written down as code and conf that run."""

from __future__ import annotations

import ast
import json
import keyword
import math
import re
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse_ml.errors import ConfError, LakehouseError, LandingError
from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.use_cases.columns import ACTION, AUDIT, KNOWN_AT, LEARNED_UNTIL, LINES, SCORE

if TYPE_CHECKING:
    import pyarrow as pa

# Text with more different values is no category; more classes than that are no classes.
MOST_CATEGORIES = 50
MOST_CLASSES = 20
_MOST_GROUPS = 10
# What the drafted split asks for: entities of each class in each part.
HOLDOUT_SHARE = 0.2
LEAST = 5
WIDEST_GAP = 0.2
_SALTS = 20
# Letters of a name here or of a class, and of a name in the file: so that every drafted line fits its width.
_LONGEST = 45
_LONGEST_SOURCE = 90
_WIDTH = 120

_MISSING = {"na", "n/a", "nan", "null", "none", "?", "-"}
_YES = {"yes", "y", "true", "t", "1", "1.0"}
_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PADDED = re.compile(r"[+-]?0\d+")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
# Names that conf's loader, the command line, or this package take for something else.
_RESERVED_NAMES = {"all", "base", "columns", *STAGES}
_RESERVED_STARTS = ("catalog", "parameters", "globals", "spark", "mlflow", "logging", "credentials")
# Columns that the stages add.
_OURS = {column.name for column in (*AUDIT, *LINES, *SCORE, *ACTION, KNOWN_AT, LEARNED_UNTIL)}
_OURS |= {"line_fault", "label", "part", "outcome", "score"}


@dataclass(frozen=True)
class Wish:
    """What is asked for: the use case's name, and the file's names of its columns."""

    name: str
    key: str
    label: str
    positive: str | None = None
    time: str | None = None


@dataclass(frozen=True)
class Profile:
    """What a column of the file holds, over all of its rows.

    Attributes:
        name: Its name here.
        source: Its name in the file.
        type: Spark SQL type that every value has: int, bigint, double, date, timestamp or string.
        counts: Its different values as they stand in the file, trimmed, with how often; without the empty one.
    """

    name: str
    source: str
    type: str
    counts: Mapping[str, int]

    @property
    def is_number(self) -> bool:
        """Whether every value is a number."""
        return self.type in ("int", "bigint", "double")

    @property
    def is_number_in_text(self) -> bool:
        """Whether it would be one but for words such as NA."""
        numbers = [value for value in self.counts if value.lower() not in _MISSING]
        return self.type == "string" and bool(numbers) and _type(numbers) in ("int", "bigint", "double")

    @property
    def doc(self) -> str:
        """What the contract says of it."""
        if not self.counts:
            return "Empty in the file."
        if self.is_number:
            low, high = (choose(self.counts, key=float) for choose in (min, max))
            return f"From {_short(low, 30)} to {_short(high, 30)}."
        if self.type != "string":
            return f"From {min(self.counts)} to {max(self.counts)}."
        if len(self.counts) > MOST_CATEGORIES:
            return "Text."
        return _short(f"One of: {', '.join(sorted(self.counts))}", 70).rstrip(".") + "."

    @property
    def unfit(self) -> str | None:
        """Why it is no feature, after its name; None if it is one."""
        if not self.counts:
            return "is empty"
        if len(self.counts) == 1:
            return "is the same in every row"
        if self.type in ("date", "timestamp"):
            return "is a time: say what of it counts, as the days since then"
        if self.type == "string" and not self.is_number_in_text and len(self.counts) > MOST_CATEGORIES:
            return f"is text with {len(self.counts):,} different values"
        return None


@dataclass(frozen=True)
class Draft:
    """A drafted use case.

    Attributes:
        files: Texts by path from the project.
        told: What was decided, in sentences.
    """

    files: Mapping[str, str]
    told: Sequence[str]


@dataclass(frozen=True)
class Decided:
    """What each column is to the use case.

    Attributes:
        columns: All of them, in the file's order.
        key: What a row is about.
        label: What is predicted.
        time: The row's day; None where files tell it.
        classes: Names of the classes by the file's words; none where there are two outcomes.
        positive: Of two outcomes, the one that is predicted.
        salt: Of the split.
    """

    columns: Sequence[Profile]
    key: Profile
    label: Profile
    time: Profile | None
    classes: Mapping[str, str]
    positive: str
    salt: int

    @property
    def others(self) -> list[Profile]:
        """All but key, label and time."""
        given = {column.name for column in (self.key, self.label, self.time) if column}
        return [column for column in self.columns if column.name not in given]

    @property
    def features(self) -> list[Profile]:
        """What is learned from."""
        return [column for column in self.others if not column.unfit]

    @property
    def casts(self) -> list[str]:
        """Features that are numbers but for words such as NA."""
        return [column.name for column in self.features if column.is_number_in_text]

    @property
    def categorical(self) -> list[str]:
        """Features with categories."""
        return [column.name for column in self.features if not column.is_number and not column.is_number_in_text]

    @property
    def left_out(self) -> list[str]:
        """What is no feature, with the reason."""
        return [_short(f"{column.name} {column.unfit}.", _WIDTH - 10) for column in self.others if column.unfit]


def read(path: Path) -> tuple[pa.Table, str]:
    """Every whole record of a CSV as text, trimmed, by the file's names; and what separates its fields.

    Raises:
        LandingError: It can't be read, has no rows, or a header that doesn't name each column once.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from lakehouse_ml.errors import find
    from lakehouse_ml.pipelines.data_ingestion.parsing import other_delimiter, read_header, read_records

    if not path.is_file():
        raise LandingError(f"There is no file {path}: --from names a CSV.")
    if not path.name.removesuffix(".gz").endswith(".csv") or path.name.startswith((".", "_")):
        raise LandingError(f"{path.name} is not named like a CSV that lands: name it something.csv.")
    header = read_header(str(path), "csv", ",", path.name)
    delimiter = other_delimiter(header, ",") or ","
    header = read_header(str(path), "csv", delimiter, path.name)
    if not header:
        raise LandingError(f"{path.name} is empty: not even a header stands in it.")
    for number, name in enumerate(header, 1):
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_SOURCE:
            raise LandingError(
                f"{path.name}: column {number} of {len(header)} has no name of 1 to {_LONGEST_SOURCE} printable "
                f"letters in the header. Name it, or remove it."
            )
        if header.count(name) > 1:
            raise LandingError(f"{path.name}: column {name} stands in the header twice. Rename or remove one.")
    sources = {f"c{number}": name for number, name in enumerate(header)}
    try:
        batches = list(read_records(str(path), path.name, "csv", delimiter, sources, ""))
    except ValueError as error:
        raise find(error) or error from error
    whole = [batch.filter(pc.is_null(batch["line_fault"])) for batch in batches]
    if not sum(batch.num_rows for batch in whole):
        raise LandingError(f"{path.name} has a header and no whole row below it: there is nothing to draft from.")
    table = pa.Table.from_batches(whole).select(list(sources)).rename_columns(list(header))
    trimmed = [pc.fill_null(pc.utf8_trim(column, " \t\r\n\u00a0"), "") for column in table.columns]
    return pa.table(dict(zip(header, trimmed, strict=True))), delimiter


def profile(table: pa.Table) -> tuple[Profile, ...]:
    """What each column of a table of text holds, in its order.

    Raises:
        LandingError: Two columns would have the same name here.
    """
    import pyarrow.compute as pc

    profiles: dict[str, Profile] = {}
    for number, source in enumerate(table.column_names, 1):
        name = snake(source)[:_LONGEST].rstrip("_") or f"column_{number}"
        name = f"{name}_given" if name in _OURS else name
        if name in profiles:
            raise LandingError(
                f"Columns {profiles[name].source} and {source} would both be called {name} here. Rename one in the "
                f"file."
            )
        counted = pc.value_counts(table[source].combine_chunks())
        counts = {entry["values"]: entry["counts"] for entry in counted.to_pylist() if entry["values"]}
        profiles[name] = Profile(name, source, _type(counts), counts)
    return tuple(profiles.values())


def draft(wish: Wish, table: pa.Table, delimiter: str = ",") -> Draft:
    """Everything that the use case consists of.

    Args:
        wish: Name and columns.
        table: All rows of the file as text, see `read`.
        delimiter: What separates the file's fields.

    Raises:
        LakehouseError: The name, a column, the key or the labels don't suit; the sentence names it and the remedy.
    """
    check_name(wish.name)
    decided = _decide(wish, table)
    values = _values(wish.name, decided, delimiter)
    code, conf = f"src/lakehouse_ml/use_cases/{wish.name}", f"conf/base/{wish.name}"
    places = {f"{name}.py": code for name in ("__init__", "contracts", "features", "labels", "synthetic")}
    places |= {f"{name}.yml": conf for name in ("catalog", "parameters")}
    told = [
        f"{len(table):,} rows, {len(decided.columns)} columns, {len(decided.features)} features, "
        f"{len(decided.categorical)} of them text.",
        _told_of_label(decided.label, decided.classes, decided.positive),
        *(f"Left out: {line}" for line in decided.left_out),
    ]
    return Draft({f"{folder}/{file}": _render(f"{file}.j2", values) for file, folder in places.items()}, told)


def write(project: Path, wish: Wish, file: Path) -> list[str]:
    """Draft a use case and put it into a checkout: its code, its conf, its line in the list, and the file.

    All of it or, if anything is in the way or fails, nothing.

    Returns:
        What was decided and written, in sentences.

    Raises:
        LakehouseError: See `read` and `draft`; or something of that name is there already, or the list of use cases
            isn't written as it was.
    """
    listing = project / "src/lakehouse_ml/use_cases/__init__.py"
    check_name(wish.name)
    listed = with_use_case(listing.read_text(encoding="utf-8"), wish.name)
    folders = [f"src/lakehouse_ml/use_cases/{wish.name}", f"conf/base/{wish.name}", f"data/landing/{wish.name}"]
    for folder in folders:
        if (project / folder).exists():
            raise ConfError(f"{folder} is there already. Choose another name, or remove what is of that name.")
    table, delimiter = read(file)
    drafted = draft(wish, table, delimiter)
    (project / "data").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=project / "data", prefix=".draft-") as made:
        for path, text in drafted.files.items():
            _written(Path(made) / path, text)
        landed = Path(made) / folders[-1] / file.name
        landed.parent.mkdir(parents=True)
        shutil.copyfile(file, landed)
        _written(Path(made) / "listing", listed)
        _move(Path(made), project, folders, listing)
    return [*drafted.told, f"Written: {folders[0]}, {folders[1]}, the line in {listing.relative_to(project)}; "
                           f"{file.name} was copied into {folders[2]}."]  # fmt: skip


def check_name(name: str) -> None:
    """Refuse what can't name a use case.

    Raises:
        ConfError: Says what is wrong with it.
    """
    if not re.fullmatch(r"[a-z][a-z_]{0,28}[a-z]", name):
        raise ConfError(f"{name} can't name a use case: 2 to 30 letters a-z, words joined by underscores.")
    if keyword.iskeyword(name) or name in _RESERVED_NAMES or name.startswith(_RESERVED_STARTS):
        raise ConfError(f"{name} can't name a use case: that word means something else here. Choose another.")


def with_use_case(source: str, name: str) -> str:
    """The list of use cases with one more at its end.

    Raises:
        ConfError: The text is not a docstring, imports of use cases and USE_CASES alone; or has that name already.
    """
    module = ast.parse(source)
    docstring, *imports, listing = module.body or [ast.Pass()]
    known = {
        statement.module: statement.names[0].name for statement in imports
        if isinstance(statement, ast.ImportFrom) and statement.module and len(statement.names) == 1
    }  # fmt: skip
    match listing:
        case ast.Assign(targets=[ast.Name(id="USE_CASES")], value=ast.Tuple(elts=elements)):
            listed = [element.id for element in elements if isinstance(element, ast.Name)]
        case _:
            listed = []
    plain = isinstance(docstring, ast.Expr) and len(known) == len(imports) and set(listed) == set(known.values())
    if not plain or "#" in source:
        raise ConfError(
            "src/lakehouse_ml/use_cases/__init__.py is not the plain list of use cases any more, so nothing is added "
            "to it: write the import and the entry of USE_CASES by hand, or restore it."
        )
    path = f"lakehouse_ml.use_cases.{name}"
    if path in known or name.upper() in listed:
        raise ConfError(f"There is a use case {name} already. Choose another name.")
    known[path] = name.upper()
    head = source[: source.index("from lakehouse_ml")]
    lines = [f"from {module} import {constant}\n" for module, constant in sorted(known.items())]
    entries = f"USE_CASES = ({', '.join([*listed, name.upper()])})\n"
    if len(entries) > _WIDTH:
        entries = "".join(["USE_CASES = (\n", *(f"    {entry},\n" for entry in [*listed, name.upper()]), ")\n"])
    return f"{head}{''.join(lines)}\n{entries}"


def snake(text: str) -> str:
    """A name in snake_case, of ASCII letters and digits; empty if none is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    name = re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")
    return f"n_{name}" if name[:1].isdigit() else name


def _type(values: Sequence[str] | Mapping[str, int]) -> str:
    if not values:
        return "string"
    if all(map(_INTEGER.fullmatch, values)):
        return "int" if all(abs(int(value)) < 2**31 for value in values) else "bigint"
    # A code such as 00123 is no number.
    if all(
        _NUMBER.fullmatch(value) and not _PADDED.fullmatch(value) and math.isfinite(float(value)) for value in values
    ):
        return "double"
    if all(_DAY.fullmatch(value) and _is(date.fromisoformat, value) for value in values):
        return "date"
    if all(_DAY.match(value) and len(value) > 10 and _is(datetime.fromisoformat, value) for value in values):
        return "timestamp"
    return "string"


def _is(parse: Any, value: str) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True


def _chosen(columns: Sequence[Profile], given: str, option: str) -> Profile:
    found = [column for column in columns if given in (column.source, column.name)]
    if not found:
        raise LakehouseError(f"{option}: there is no column {given} in the file. There are "
                             f"{', '.join(column.source for column in columns)}.")  # fmt: skip
    return found[0]


def _decide(wish: Wish, table: pa.Table) -> Decided:
    columns = profile(table)
    key = _chosen(columns, wish.key, "--key")
    label = _chosen(columns, wish.label, "--label")
    time = _chosen(columns, wish.time, "--time") if wish.time else None
    if len({key.name, label.name, *([time.name] if time else [])}) < 2 + bool(time):
        raise LakehouseError("--key, --label and --time name different columns: what identifies a row, what is "
                             "predicted, and the row's day.")  # fmt: skip
    if time and time.type != "date":
        raise LakehouseError(f"--time: {time.source} doesn't hold a day (YYYY-MM-DD) in every row.")
    _check_key(table, key, time)
    classes, positive = _outcomes(label, wish.positive)
    salt = _salt(_newest_labelled(table, key, label, None if classes else time), label)
    decided = Decided(columns, key, label, time, classes, positive, salt)
    if not decided.features:
        raise LakehouseError(
            f"Beside {key.source} and {label.source} no column can be learned from: numbers, or text with at most "
            f"{MOST_CATEGORIES} different values."
        )
    return decided


def _values(name: str, decided: Decided, delimiter: str) -> dict[str, Any]:
    """What the templates are filled with."""
    key, label, time, positive = decided.key, decided.label, decided.time, decided.positive
    known_later = [column for column in (key, time, label) if column]
    few = [
        column.name for column in decided.features
        if column.name in decided.categorical and len(column.counts) <= _MOST_GROUPS
    ]  # fmt: skip
    return {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "constant": name.upper(),
        "imports": _imports(name, casts=bool(decided.casts), classes=bool(decided.classes)),
        "grain": f"one row per {_short(key.name, 30)} and {'day' if time else 'snapshot'}",
        "key": key,
        "label": label,
        "moment": time.name if time else "snapshot_on",
        # A column of days spreads the rows of a file over many days: each of them holds a few.
        "snapshots": "changes" if time else "full",
        "classes": decided.classes,
        "positive": positive,
        "negative": next((word for word in sorted(label.counts) if word != positive), ""),
        "happens": "apply" if decided.classes else f"have {label.name} = {_short(positive, 40)}",
        "happened": "applied" if decided.classes else f"had {label.name} = {_short(positive, 40)}",
        "segments": [*(["outcome"] if decided.classes else []), *few][:2],
        "landing": [_column(column, required=column in (key, time), label=label) for column in decided.columns],
        "outcomes": [_column(column, required=True, label=label) for column in known_later],
        "outcome_header": delimiter.join(column.source for column in known_later),
        "categorical": decided.categorical,
        "kept": [column.name for column in decided.features if column.name not in decided.casts],
        "casts": decided.casts,
        "left_out": decided.left_out,
        "delimiter": delimiter,
        "day": max(time.counts) if time else "2024-12-31",
        "known": f"`{label.name}` in ({', '.join(map(_sql, sorted(label.counts)))})",
        "salt": decided.salt,
        "least": LEAST,
        "gap": WIDEST_GAP,
        "holdout_share": HOLDOUT_SHARE,
    }


def _check_key(table: pa.Table, key: Profile, time: Profile | None) -> None:
    columns = [table[column.source].to_pylist() for column in (key, time) if column is not None]
    for column, values in zip((key, time), columns, strict=False):
        if column is not None and "" in values:
            raise LakehouseError(f"{column.source} is empty in {values.count(''):,} rows: a key stands in every row.")
    repeated = {values: n for values, n in Counter(zip(*columns, strict=True)).items() if n > 1}
    if not repeated:
        return
    worst = max(repeated, key=lambda values: repeated[values])
    shown = f"{' of '.join(map(repr, worst))} stands in {repeated[worst]} rows, as {len(repeated):,} keys do in several"
    if time:
        raise LakehouseError(f"{key.source} and {time.source} together have duplicates: {shown}. Remove them, or name "
                             f"columns that tell rows apart.")  # fmt: skip
    raise LakehouseError(
        f"{key.source} has duplicates: {shown}. If they are its states over time, name the column of their day with "
        f"--time; if not, remove them or name another --key."
    )


def _outcomes(label: Profile, positive: str | None) -> tuple[dict[str, str], str]:
    """Names of the classes by the file's words, none where there are two outcomes; and which of two is positive."""
    words = sorted(label.counts)
    shown = _short(", ".join(words), _LONGEST)
    if len(words) < 2:
        raise LakehouseError(
            f"{label.source} has {f'only the value {words[0]}' if words else 'no value in any row'}: two outcomes at "
            f"least are needed to tell them apart."
        )
    if max(map(len, words)) > _LONGEST:
        raise LakehouseError(f"{label.source} has values of more than {_LONGEST} letters: it is text, and no outcome.")
    if len(words) == 2:
        found = [word for word in words if (word == positive if positive else word.lower() in _YES)]
        if len(found) != 1:
            what = f"has no value {positive}" if positive else "doesn't say by itself which value is to be predicted"
            raise LakehouseError(f"{label.source} {what}: name one of {shown} with --positive.")
        return {}, found[0]
    continuous = label.type == "double" and any(float(word) % 1 for word in words)
    if continuous or label.type in ("date", "timestamp") or len(words) > MOST_CLASSES:
        raise LakehouseError(
            f"{label.source} has {len(words):,} different values ({shown}): the stages predict which of at most "
            f"{MOST_CLASSES} classes a row is of, and no amounts. Put a column of classes into the file, such as "
            f"high and low."
        )
    if positive:
        raise LakehouseError(f"--positive goes with two outcomes; {label.source} has {len(words)}: {shown}.")
    slugs: dict[str, str] = {}
    for word in words:
        slug = snake(word) if not word[:1].isdigit() else snake(word).removeprefix("n_")
        if not slug or slug in slugs.values():
            others = [other for other, name in slugs.items() if name == slug]
            what = f"{word} and {others[0]} would both be" if others else f"{word} could not be"
            raise LakehouseError(f"{label.source}: {what} the end of a column's name, probability_{slug}. "
                                 f"Rename a class in the file.")  # fmt: skip
        slugs[word] = slug
    return slugs, ""


def _newest_labelled(table: pa.Table, key: Profile, label: Profile, time: Profile | None) -> list[tuple[str, str]]:
    """Entity and label of the rows that are learned from."""
    entities, labels = (table[column.source].to_pylist() for column in (key, label))
    known = [position for position, word in enumerate(labels) if word]
    if time is None:
        return [(entities[position], labels[position]) for position in known]
    days = table[time.source].to_pylist()
    newest = {entities[position]: labels[position] for position in sorted(known, key=lambda one: str(days[one]))}
    return list(newest.items())


def _salt(rows: Sequence[tuple[str, str]], label: Profile) -> int:
    """The first salt whose split leaves both parts enough entities of each class, in like shares."""
    from lakehouse_ml.pipelines.training.split import is_held_out

    pairs = set(rows)
    counts = Counter(dict.fromkeys(sorted(label.counts), 0))
    counts.update(word for _, word in pairs)
    rarest, fewest = min(counts.items(), key=lambda entry: entry[1])
    needed = round(LEAST / HOLDOUT_SHARE)
    for salt in range(_SALTS) if fewest >= 2 * LEAST else ():
        out = {entity: is_held_out(entity, salt, HOLDOUT_SHARE) for entity, _ in pairs}
        held = Counter(word for entity, word in pairs if out[entity])
        shares = [
            part[rarest] / max(part.total(), 1) for part in (held, counts - held)
        ]  # fmt: skip
        if abs(shares[0] - shares[1]) <= WIDEST_GAP and all(
            LEAST <= held[word] <= n - LEAST for word, n in counts.items()
        ):
            return salt
    raise LakehouseError(
        f"{label.source} = {rarest} stands in {fewest:,} rows with a key of their own: too few. A fifth of the keys is "
        f"held out to judge a model, and each part needs {LEAST} of each class: some {needed} in all. Add rows, or "
        f"merge rare classes."
    )


def _imports(name: str, *, casts: bool, classes: bool) -> dict[str, list[str]]:
    """The lines that import from the project, in order."""
    base, own = "from lakehouse_ml.use_cases", f"from lakehouse_ml.use_cases.{name}"
    return {
        "init": sorted(
            [
                f"{base}.base import UseCase, Wording",
                f"{own}.contracts import feature_rows, landing_outcomes, landing_rows",
                f"{own}.features import CATEGORICAL, build_features",
                f"{own}.labels import build_labels",
            ]
        ),
        "contracts": sorted(
            [
                f"{base}.base import Column, Table",
                f"{base}.columns import ACTION, KNOWN_AT, {'' if classes else 'LEARNED_UNTIL, '}SCORE, ingested",
                f"{own}.features import KEPT{', NUMBERS_IN_TEXT' if casts else ''}",
                *([f"{own}.labels import CLASSES"] if classes else []),
            ]
        ),
    }


def _column(column: Profile, *, required: bool, label: Profile) -> str:
    """The declaration of a column, on one line if it fits there."""
    # A key and a label are compared and not counted with.
    kind = "string" if column is label or (required and column.type != "date") else column.type
    parts = [_literal(column.name), _literal(kind), _literal(column.source)]
    parts += ["nullable=False"] if required else []
    parts.append(f"doc={_literal(column.doc)}")
    line = f"        Column({', '.join(parts)}),"
    return (
        line
        if len(line) <= _WIDTH
        else "\n".join(["        Column(", *(f"            {p}," for p in parts), "        ),"])
    )


def _told_of_label(label: Profile, classes: Mapping[str, str], positive: str) -> str:
    known = sum(label.counts.values())
    if classes:
        return f"{label.source} has {len(classes)} classes, known of {known:,} rows: one label per row and class."
    return f"{label.source} = {positive} is predicted: {label.counts[positive]:,} of {known:,} rows with a known label."


def _render(template: str, values: Mapping[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    templates = Environment(
        loader=PackageLoader("lakehouse_ml", "drafts"),
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
    return json.dumps(text, ensure_ascii=False)


def _sql(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _move(made: Path, project: Path, folders: Sequence[str], listing: Path) -> None:
    """Put what was made in its place, the list last: what isn't listed is no use case."""
    placed: list[Path] = []
    try:
        for folder in folders:
            (project / folder).parent.mkdir(parents=True, exist_ok=True)
            (made / folder).rename(project / folder)
            placed.append(project / folder)
        (made / "listing").replace(listing)
    except BaseException:
        for path in placed:
            shutil.rmtree(path)
        raise
