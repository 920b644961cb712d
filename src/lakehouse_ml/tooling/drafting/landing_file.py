"""The file that a draft starts from: its records as text, and why it can't be read."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse_ml.errors import LandingError, find, is_utf8

if TYPE_CHECKING:
    import pyarrow as pa

# Letters of a name in the file: every drafted line fits its width.
LONGEST_NAME = 90
DELIMITERS = ",;\t|"
_SAMPLE = 200
_AS_CSV = "save it as CSV in UTF-8 and draft from that"
# How files begin that are often taken for a CSV.
_SIGNATURES = {
    b"PK\x03\x04": f"is a workbook or an archive: open it, export the sheet, {_AS_CSV}",
    b"\xd0\xcf\x11\xe0": f"is an old Excel workbook: open it, export the sheet, {_AS_CSV}",
    b"PAR1": f"is a Parquet file: {_AS_CSV}",
    b"\xff\xfe": f"is in UTF-16, as Excel's Unicode text: {_AS_CSV}",
    b"\xfe\xff": f"is in UTF-16, as Excel's Unicode text: {_AS_CSV}",
    b"%PDF": f"is a PDF: take its table over into a sheet, {_AS_CSV}",
}
_NO_NAME = re.compile(r"[-+.,/:$€%\d\s]*\d[-+.,/:$€%\d\s]*")


@dataclass(frozen=True)
class LandingRecords:
    """The records of a CSV.

    Attributes:
        name: Of the file.
        delimiter: Between its fields.
        table: Whole records as trimmed text, by the file's names; no nulls.
        lines: Number of each of those records, a header being the first.
        refused: Why each other record is refused as it lands, by its number.
    """

    name: str
    delimiter: str
    table: pa.Table
    lines: Sequence[int]
    refused: Mapping[int, str]


def read_landing_file(path: Path) -> LandingRecords:
    """Every record of a CSV.

    Raises:
        LandingError: It can't be read, has no whole record, or a header that doesn't name each column once; the
            sentence names the cause that is most likely.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from lakehouse_ml.storage.parsing import read_header, read_records, read_sample

    _check_kind(path)
    read_header(str(path), "csv", ",", path.name)  # refuses what is empty or isn't text
    sample = read_sample(str(path))[:_SAMPLE]
    if re.fullmatch(r'"?sep=.?"?', sample[0].strip(), re.IGNORECASE):
        raise LandingError(
            f"{path.name}: the first line, {sample[0].strip()!r}, is a note for Excel and not the header. Remove it."
        )
    delimiter = find_delimiter(sample)
    header = read_header(str(path), "csv", delimiter, path.name)
    _check_header(path.name, header, _parse_records(sample[1:], delimiter))
    sources = {f"c{number}": name for number, name in enumerate(header)}
    try:
        batches = list(read_records(str(path), path.name, "csv", delimiter, sources, ""))
    except ValueError as error:
        raise find(error) or error from error
    valid_batches = [batch.filter(pc.is_null(batch["line_fault"])) for batch in batches]
    faulty = [batch.filter(pc.is_valid(batch["line_fault"])) for batch in batches]
    refused = {
        number: fault
        for batch in faulty
        for number, fault in zip(batch["line_number"].to_pylist(), batch["line_fault"].to_pylist(), strict=True)
    }
    if not sum(batch.num_rows for batch in valid_batches):
        raise LandingError(_explain_no_records(path.name, header, refused, _parse_records(sample[1:], delimiter)))
    table = pa.Table.from_batches(valid_batches)
    columns = [pc.fill_null(pc.utf8_trim(table[name], " \t\r\n\u00a0\ufeff"), "") for name in sources]
    records = pa.Table.from_arrays(columns, names=list(header))
    return LandingRecords(path.name, delimiter, records, table["line_number"].to_pylist(), refused)


def find_delimiter(lines: Sequence[str]) -> str:
    """What separates the fields of a file's first lines: with it, header and records have equally many, and most."""

    def fit(delimiter: str) -> float:
        fields = [len(row) for row in _parse_records(lines, delimiter)]
        return fields[0] * sum(n == fields[0] for n in fields) / len(fields) if fields and fields[0] > 1 else 0.0

    best = max(DELIMITERS, key=fit)
    if fit(best):
        return best
    # Records of another width than the header are a fault of their own.
    return max(DELIMITERS, key=lines[0].count)


def _check_kind(path: Path) -> None:
    if not path.is_file():
        raise LandingError(f"There is no file {path}: --from names a CSV.")
    if not is_utf8(path.name):
        raise LandingError(f"The name '{path.name}' is not UTF-8: rename the file, then draft again.")
    compressed = path.name.endswith(".gz")
    with path.open("rb") as stream:
        start = stream.read(4)
    for signature, what in _SIGNATURES.items():
        if start.startswith(signature) and not compressed:
            raise LandingError(f"{path.name} {what}.")
    if not path.name.removesuffix(".gz").endswith(".csv") or path.name.startswith((".", "_")):
        raise LandingError(f"{path.name} is not named like a CSV that lands: name it something.csv.")


def _parse_records(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """The records of a few lines; what is no CSV gives none, and whoever reads the whole file says why."""
    try:
        return [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return []


def _check_header(name: str, header: Sequence[str], sample: Sequence[Sequence[str]]) -> None:
    """Refuse a header that isn't one, or that can't name columns."""
    if not header:
        raise LandingError(f"{name} is empty: it has no header.")
    words = len(header[0].split())
    if len(header) == 1 and words > 1 and sample and all(len(" ".join(row).split()) == words for row in sample):
        raise LandingError(
            f"{name}: spaces seem to separate its fields ({header[0][:60]!r}). Save it with commas between them."
        )
    if _is_data(header, sample):
        raise LandingError(
            f"{name}: its first line seems to hold values and no names ({', '.join(header[:4])}). Put a line "
            f"on top that names each of the {len(header)} columns."
        )
    for number, column in enumerate(header, 1):
        position = f"{name}: column {number} of {len(header)}"
        if len(column) > LONGEST_NAME:
            raise LandingError(
                f"{position} has a name of {len(column)} letters, {column[:40]!r}…: shorten it to at most "
                f"{LONGEST_NAME}."
            )
        # One column without a name is an index, as pandas and R write it.
        if (column and not column.strip()) or not column.isprintable() or (not column and header.count("") > 1):
            raise LandingError(f"{position} has no printable name in the header. Name it, or remove it.")
        if header.count(column) > 1:
            raise LandingError(f"{name}: column {column} appears twice in the header. Rename or remove one.")


def _is_data(header: Sequence[str], sample: Sequence[Sequence[str]]) -> bool:
    """Whether a first line holds numbers, or values that stand below it, in each column."""
    columns = list(zip(*(row for row in sample if len(row) == len(header)), strict=True))
    return len(columns) > 1 and all(
        bool(_NO_NAME.fullmatch(name)) or name in column for name, column in zip(header, columns, strict=True)
    )


def _explain_no_records(
    name: str, header: Sequence[str], refused: Mapping[int, str], sample: Sequence[Sequence[str]]
) -> str:
    if not refused:
        return f"{name} has a header and no record below it: there is nothing to draft from."
    sentence = f"{name}: every record is refused: the first one, in line {min(refused)}, {refused[min(refused)]}."
    if sample and all(len(row) == len(header) + 1 for row in sample):
        if all(not row[-1].strip() for row in sample):
            return f"{sentence} Each record ends in a delimiter too many: remove it, or add one to the header."
        return (
            f"{sentence} The header lacks a name, mostly the first one (R writes it so): put one on top of each column."
        )
    return f"{sentence} Does the header name each column once?"
