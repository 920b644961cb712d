"""What each column of a file holds, by all of its values: type, format, and values that mean missing."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from lakehouse_ml.errors import LandingError
from lakehouse_ml.use_cases.columns import ACTION, AUDIT, KNOWN_AT, LEARNED_UNTIL, LINES, SCORE
from lakehouse_ml.use_cases.formats import DateFormat, Format, NumberFormat, is_unit_sign

if TYPE_CHECKING:
    from lakehouse_ml.tooling.drafting.landing_file import LandingRecords

# Text with more different values is no category.
MOST_CATEGORIES = 50
# A column is of a type if at least this share of its values is; the others, if they are few words, mean missing.
SHARE_OF_TYPE = 0.95
MOST_STRAYS = 20
LONGEST_STRAY = 60
# Letters of a name here.
LONGEST = 45
_LONGEST_KEY = 60
_LONGEST_UNIT = 6

_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PADDED = re.compile(r"[+-]?0\d+")
_THOUSANDS = re.compile(r"[+-]?([1-9]\d{0,2}(\.\d{3})*|0)")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_NAMES_A_ROW = re.compile(r"(^|_)(id|ids|key|nr|no|num|number|code|ref|uuid|guid)$|id$")
_INDEX = re.compile(r"|unnamed_\d+|index|row|rownames|row_names|rownum|row_?n(o|r|um|umber)|x")
_TOTAL = re.compile(r"((grand |sub ?)?totals?|sums?|summe|gesamt|insgesamt|average|mean)\W*", re.IGNORECASE)

# Columns that the stages add.
OURS = {column.name for column in (*AUDIT, *LINES, *SCORE, *ACTION, KNOWN_AT, LEARNED_UNTIL)}
OURS |= {"line_fault", "label", "part", "outcome", "score", "row_id"}


@dataclass(frozen=True)
class Profile:
    """What a column of the file holds, over all of its records.

    Attributes:
        name: Its name here.
        source: Its name in the file.
        type: Spark SQL type of its values: int, bigint, double, date, timestamp or string.
        counts: Its different values as they stand in the file, trimmed, with how often; none that mean missing.
        n_records: How many records the file has.
        format: How it writes its values, where it isn't the standard way.
        missing: Values that mean missing by conf's words, with how often.
        strays: Values that aren't of its type and are read as missing, with the line of the first.
        n_strays: Records with one of those.
        is_ambiguous: Whether its values are days of which nothing tells the order of day and month.
    """

    name: str
    source: str
    type: str
    counts: Mapping[str, int]
    n_records: int
    format: Format | None = None
    missing: Mapping[str, int] = field(default_factory=dict)
    strays: Mapping[str, int] = field(default_factory=dict)
    n_strays: int = 0
    is_ambiguous: bool = False

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.type in ("int", "bigint", "double")

    @property
    def n_values(self) -> int:
        """Records with a value."""
        return sum(self.counts.values())

    @property
    def is_unique(self) -> bool:
        """Whether every record has a value, and each another one."""
        return len(self.counts) == self.n_values == self.n_records

    @property
    def is_named_like_id(self) -> bool:
        """Whether its name says that it identifies a row."""
        return bool(_NAMES_A_ROW.search(self.name))

    @property
    def is_index(self) -> bool:
        """Whether it numbers the records of the file."""
        if self.type not in ("int", "bigint") or not self.is_unique or self.format or self.n_records < 2:
            return False
        numbers = [int(value) for value in self.counts]
        return max(numbers) - min(numbers) + 1 == len(numbers) or bool(_INDEX.fullmatch(to_snake_case(self.source)))

    @property
    def can_be_key(self) -> bool:
        """Whether it may be proposed as a key: names or ids, no measured value and no row number."""
        if self.type in ("int", "bigint"):
            return self.is_named_like_id and self.format is None
        return self.type == "string" and max(map(len, self.counts), default=0) <= _LONGEST_KEY

    def parse(self, value: str) -> float | str:
        """A value as a number, if it is one; a day as YYYY-MM-DD."""
        plain = self.format.plain(value) if self.format else value
        return float(plain) if self.is_number else plain

    @property
    def doc(self) -> str:
        """What the contract says of it."""
        if not self.counts:
            return "Empty in the file."
        if self.type != "string":
            low, high = (find(self.counts, key=self.parse) for find in (min, max))
            unit = f", in {self.format.unit}" if isinstance(self.format, NumberFormat) and self.format.unit else ""
            return f"From {shorten(low, 30)} to {shorten(high, 30)}{unit}."
        if len(self.counts) > MOST_CATEGORIES:
            return "Text."
        return shorten(f"One of: {', '.join(sorted(self.counts))}", 70).rstrip(".") + "."

    @property
    def exclusion(self) -> str | None:
        """Why it is no feature, after its name; None if it is one."""
        if not self.counts:
            return "is empty"
        if len(self.counts) == 1:
            return "has the same value wherever it has one"
        if self.is_index or (self.type in ("int", "bigint") and self.is_unique and self.is_named_like_id):
            return "numbers the rows of the file" if self.is_index else "names each row"
        if self.type in ("date", "timestamp"):
            return "is a time: say what of it counts, as the days since then"
        if self.type == "string" and len(self.counts) > MOST_CATEGORIES:
            return f"is text with {len(self.counts):,} different values"
        return None

    @property
    def decisions(self) -> list[str]:
        """How its values are read, in sentences, where a person may decide otherwise."""
        sentences = []
        if self.strays:
            kind = "numbers" if self.is_number else "days"
            strays = ", ".join(
                f"{shorten(value, 30)!r} in line {line}" for value, line in list(self.strays.items())[:3]
            )
            more = f" and {len(self.strays) - 3} more" if len(self.strays) > 3 else ""
            n = self.n_records - sum(self.missing.values()) - self.n_blank
            sentences.append(
                f"{self.source}: {self.n_values:,} of {n:,} values are {kind}; {strays}{more} "
                f"{'is' if len(self.strays) == 1 else 'are'} read as missing."
            )
        standard = self.format is None or self.format == NumberFormat(missing=self.format.missing)
        if not standard and self.counts:
            example = max(self.counts, key=len)
            parsed = self.parse(example)
            shown = f"{parsed:.15g}" if isinstance(parsed, float) else parsed
            sentences.append(f"{self.source}: {example!r} is read as {shown}.")
        if self.missing and self.type != "string":
            words = ", ".join(map(repr, list(self.missing)[:3]))
            n = sum(self.missing.values())
            sentences.append(f"{self.source}: {n:,} value{'s are' if n > 1 else ' is'} missing, written as {words}.")
        return sentences

    @property
    def n_blank(self) -> int:
        """Records in which nothing stands."""
        return self.n_records - self.n_values - sum(self.missing.values()) - self.n_strays


def profile_columns(
    records: LandingRecords, missing_words: Collection[str], texts: Collection[str] = ()
) -> tuple[Profile, ...]:
    """What each column holds, in the file's order.

    Args:
        records: All records of the file.
        missing_words: Conf's, which mean missing in every column.
        texts: Columns whose values are compared and not counted with, a key or a label: none of them is a stray.

    Raises:
        LandingError: Two columns would have the same name here; or a line holds descriptions or totals, not a record.
    """
    words = {word.lower() for word in missing_words}
    profiles: dict[str, Profile] = {}
    for number, source in enumerate(records.table.column_names, 1):
        name = to_snake_case(source)[:LONGEST].rstrip("_") or f"column_{number}"
        name = f"{name}_given" if name in OURS else name
        if name in profiles:
            raise LandingError(
                f"Columns {profiles[name].source} and {source} would both be called {name} here. Rename one in the "
                f"file."
            )
        profiles[name] = _profile_column(name, source, records, words, is_text=source in texts or name in texts)
    decimals = {column.format.decimal for column in profiles.values() if isinstance(column.format, NumberFormat)}
    if "," in decimals:
        # Where one column writes a decimal comma, the points of another one are between thousands.
        for name, column in profiles.items():
            if column.is_number and not {name, column.source} & set(texts):
                profiles[name] = _profile_column(name, column.source, records, words, is_point_grouping=True)
    _check_edges(records, tuple(profiles.values()))
    return tuple(profiles.values())


def to_snake_case(text: str) -> str:
    """A name in snake_case, of ASCII letters and digits; empty if none is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    name = re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")
    return f"n_{name}" if name[:1].isdigit() else name


def shorten(text: str, most: int) -> str:
    """A text, cut with an ellipsis if it has more letters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def quote_unprintable(text: str) -> str:
    """A value of a file as it may stand in a sentence: on one line, without control characters."""
    return text if text.isprintable() and text.strip() else repr(text)


def _profile_column(
    name: str,
    source: str,
    records: LandingRecords,
    words: Collection[str],
    *,
    is_text: bool = False,
    is_point_grouping: bool = False,
) -> Profile:
    import pyarrow.compute as pc

    column = records.table[source].combine_chunks()
    counted = {entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist() if entry["values"]}
    missing = {value: n for value, n in counted.items() if value.lower() in words}
    counts = {value: n for value, n in counted.items() if value not in missing}
    kind, form, is_ambiguous = _find_standard_type(counts) or "string", None, False
    if not is_text:
        kind, form, is_ambiguous = decide_type(
            counts, is_comma_decimal=records.delimiter == ";", is_point_grouping=is_point_grouping
        )
    lines: dict[str, int] = {}
    if form:
        strays = set(counts) - set(_list_matches(counts, form))
        lines = {value: records.lines[pc.index(column, value).as_py()] for value in strays}
        lines = dict(sorted(lines.items(), key=lambda entry: entry[1]))
        form = replace(form, missing=tuple(sorted({value.lower() for value in strays})))
    return Profile(
        name=name,
        source=source,
        type=kind,
        counts={value: n for value, n in counts.items() if value not in lines},
        n_records=len(column),
        format=form,
        missing=missing,
        strays=lines,
        n_strays=sum(counts[value] for value in lines),
        is_ambiguous=is_ambiguous,
    )


def decide_type(
    counts: Mapping[str, int], *, is_comma_decimal: bool = False, is_point_grouping: bool = False
) -> tuple[str, Format | None, bool]:
    """The type that all or nearly all values have, how they are written, and whether day and month can't be told apart.

    Args:
        counts: Different values with how often, none that mean missing.
        is_comma_decimal: Whether 1,234 is rather a fraction.
        is_point_grouping: Whether 1.234 is rather a thousand.
    """
    if not counts or any(map(_PADDED.fullmatch, counts)):
        return "string", None, False
    kind = _find_standard_type(counts)
    if kind in ("int", "bigint") and _count_matches(counts, DateFormat("YMD")) == sum(counts.values()):
        return "date", DateFormat("YMD"), False
    if kind and not (is_point_grouping and kind == "double" and all(map(_THOUSANDS.fullmatch, counts))):
        return kind, None, False
    numbers = _find_best_formats(
        counts, _list_number_formats(counts, is_comma_decimal=is_comma_decimal, is_point_grouping=is_point_grouping)
    )
    if numbers:
        plain = [numbers[0].plain(value) for value in _list_matches(counts, numbers[0])]
        return _find_standard_type(plain) or "double", numbers[0], False
    days = _find_best_formats(counts, [DateFormat("Y-M-D"), DateFormat("D-M-Y"), DateFormat("M-D-Y")])
    # With points between them, the day comes first.
    if len(days) == 1 or (days and "." in next(iter(_list_matches(counts, days[0])))):
        return "date", days[0], False
    return "string", None, bool(days)


def _find_best_formats(counts: Mapping[str, int], formats: Sequence[Format]) -> list[Format]:
    """Formats that fit most values, if the others are few."""
    weights = [_count_matches(counts, form) for form in formats]
    highest = max(weights)
    strays = set(counts) - set(_list_matches(counts, formats[weights.index(highest)]))
    few = len(strays) <= MOST_STRAYS and max(map(len, strays), default=0) <= LONGEST_STRAY
    if highest < SHARE_OF_TYPE * sum(counts.values()) or not few:
        return []
    return [form for form, weight in zip(formats, weights, strict=True) if weight == highest]


def _count_matches(counts: Mapping[str, int], form: Format) -> int:
    """How many records have a value of a format."""
    return sum(counts[value] for value in _list_matches(counts, form))


def _list_number_formats(
    counts: Mapping[str, int], *, is_comma_decimal: bool, is_point_grouping: bool
) -> list[NumberFormat]:
    """Formats whose marks occur, the likeliest first."""
    marks: list[tuple[Any, Any]] = [(".", ""), (".", ","), (",", "."), (",", ""), (".", "'"), (".", " "), (",", " ")]
    if is_point_grouping:
        marks = [(",", "."), (",", ""), (",", " "), *marks]
    elif is_comma_decimal:
        marks = [(".", ""), (",", ""), *marks]
    letters = {mark for value in counts for mark in re.findall(r"(?<=\d)\D(?=\d)", value)}
    letters |= {" "} if letters & {"\u00a0", "\u202f"} else set()
    unit = _find_unit(counts)
    return [
        NumberFormat(decimal, grouping, unit)
        for decimal, grouping in marks
        if (not grouping or grouping in letters)
        and (decimal == "." or decimal in letters or (is_point_grouping and grouping))
    ]


def _find_unit(counts: Mapping[str, int]) -> str:
    """What nearly all values have beside digits, if it can be a unit."""
    rests: Counter[str] = Counter()
    for value, n in counts.items():
        rests[re.sub(r"[-+\d.,'\s]", "", value)] += n
    unit, n = rests.most_common(1)[0]
    return (
        unit
        if len(unit) <= _LONGEST_UNIT and all(map(is_unit_sign, unit)) and n >= SHARE_OF_TYPE * rests.total()
        else ""
    )


def _list_matches(counts: Collection[str], form: Format) -> list[str]:
    """The values that are written in a format and are numbers or days."""
    fitting = [value for value in counts if re.fullmatch(form.pattern, value)]
    if isinstance(form, NumberFormat):
        plain = {value: form.plain(value) for value in fitting}
        # No. 00123 is a code as 00123 is.
        is_code = any(map(_PADDED.fullmatch, plain.values()))
        return [] if is_code else [value for value in fitting if math.isfinite(float(plain[value]))]
    return [value for value in fitting if _can_parse(date.fromisoformat, form.plain(value))]


def _find_standard_type(values: Sequence[str] | Mapping[str, int]) -> str | None:
    """The type that every value has, written in the standard way; None if it is text, as a code such as 00123 is."""
    if not values or any(map(_PADDED.fullmatch, values)):
        return None
    if all(map(_INTEGER.fullmatch, values)):
        return "int" if all(abs(int(value)) < 2**31 for value in values) else "bigint"
    if all(_NUMBER.fullmatch(value) and math.isfinite(float(value)) for value in values):
        return "double"
    if all(_DAY.fullmatch(value) and _can_parse(date.fromisoformat, value) for value in values):
        return "date"
    if all(_DAY.match(value) and len(value) > 10 and _can_parse(datetime.fromisoformat, value) for value in values):
        return "timestamp"
    return None


def _can_parse(parse: Callable[[str], Any], value: str) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True


def _check_edges(records: LandingRecords, columns: Sequence[Profile]) -> None:
    """Refuse a first record that describes the columns, and a last one that sums them up."""
    first, last = (
        {column.name: records.table[column.source][position].as_py() for column in columns}
        for position in (0, len(records.lines) - 1)
    )
    columns_with_strays = [column for column in columns if column.strays and first[column.name] in column.strays]
    typed = [column for column in columns if column.type != "string"]
    if len(columns_with_strays) > 1 and len(columns_with_strays) >= len(typed) / 2:
        shown = "; ".join(f"{column.source}: {shorten(first[column.name], 30)!r}" for column in columns_with_strays[:2])
        raise LandingError(
            f"{records.name}: line {records.lines[0]} describes the columns ({shown}) and is no record. Remove it."
        )
    total = [
        column
        for column in columns
        if _TOTAL.fullmatch(first_word := last[column.name]) and column.counts.get(first_word, 0) <= 1
    ]
    if total and len(records.lines) > 1:
        raise LandingError(
            f"{records.name}: line {records.lines[-1]}, the last one, seems to sum up the others "
            f"({total[0].source}: {last[total[0].name]!r}) and to be no record. Remove it."
        )
