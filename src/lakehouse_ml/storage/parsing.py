"""Parse files into numbered records of text; runs inside the engine's tasks.

Nothing is converted and nothing is dropped: a broken record comes out with its text and the reason.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from lakehouse_ml.errors import LandingError, refusal
from lakehouse_ml.storage import files
from lakehouse_ml.storage.delta import reading

if TYPE_CHECKING:
    import pyarrow as pa

# Columns that parsing adds to those of the file.
RECORD = ("line_number", "line_text", "line_fault")
_ROWS = 64_000
# Errors of a file that is truncated, or not compressed as its name says.
_TRUNCATED_ERRORS = (OSError, EOFError, zlib.error)
# The header of a JSON lines file is all keys of its first records: writers omit keys without a value.
_HEADER_RECORDS = 1_000
_BLOCK = 8 << 20
# Maximum characters of a header, and of a step in the search for a row after it.
_LONGEST_HEADER = 1 << 20
_STEP = 1 << 16
_DELIMITERS = ",;\t|"
_LONGEST_NAME = 60
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_header(path: str, format: str, delimiter: str, name: str) -> tuple[str, ...]:
    """Column names as in the file; see `read_head`."""
    return read_head(path, format, delimiter, name)[0]


def read_head(path: str, format: str, delimiter: str, name: str) -> tuple[tuple[str, ...], bool]:
    """Column names as in the file, and whether it has rows (always True for formats other than CSV).

    Raises:
        LandingError: The file is empty or can't be read as its format.
    """
    import pyarrow as pa

    try:
        if format == "delta":
            return tuple(reading.read_schema(_open_delta(path, None)).names), True
        if format == "parquet":
            import pyarrow.parquet as pq

            with _open(path) as stream:
                return tuple(pq.read_schema(stream).names), True
        with _open_text(path, newline="\n" if format == "jsonl" else "") as text:
            return (_json_keys(text, name), True) if format == "jsonl" else _csv_head(text, delimiter, name)
    except (pa.ArrowException, ValueError, csv.Error, *_TRUNCATED_ERRORS) as error:
        raise LandingError(_describe_read_error(name, format, error)) from error


def read_sample(path: str) -> list[str]:
    """The first lines of a text file: at least one, at most `_LONGEST_HEADER` characters in all.

    Bytes that are not UTF-8 are replaced; reading the records reports them.
    """
    with io.TextIOWrapper(_open(path), "utf-8-sig", errors="replace") as text:
        start = text.read(_LONGEST_HEADER)
    lines = list(io.StringIO(start)) or [""]
    # Drop a last line that the limit may have cut.
    return lines[:-1] if len(start) == _LONGEST_HEADER and len(lines) > 1 else lines


def content_hash(path: str) -> str:
    """SHA-256 of the bytes of a file."""
    digest = hashlib.sha256()
    with files.open_bytes(path) as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def guess_delimiter(header: Sequence[str], delimiter: str) -> str | None:
    """The likely delimiter of a header that was read as a single field; None if there is none."""
    candidates = [other for other in _DELIMITERS if other != delimiter and len(header) == 1 and other in header[0]]
    return max(candidates, key=header[0].count) if candidates else None


def find_header_faults(header: Sequence[str], expected: Sequence[str]) -> list[str]:
    """Faults of a header, each in a few words; another order of columns is no fault."""
    missing = [name for name in expected if name not in header]
    undeclared = [name for name in header if name not in expected]
    repeated = sorted({name for name in header if list(header).count(name) > 1})
    renamed = {name: other for name in missing for other in undeclared if _normalise(name) == _normalise(other)}
    faults = [f"column {name} is written as {_printable_name(other)}" for name, other in renamed.items()]
    faults += [f"column {name} is missing" for name in missing if name not in renamed]
    faults += [f"column {_printable_name(name)} isn't declared" for name in undeclared if name not in renamed.values()]
    return faults + [f"column {_printable_name(name)} appears twice" for name in repeated]


def read_records(
    path: str, name: str, format: str, delimiter: str, sources: Mapping[str, str], version: str
) -> Iterator[pa.RecordBatch]:
    """Every record of a file: the columns of `sources` (ours: theirs) as text, then those of `RECORD`.

    Counts records from 1, a CSV's header being the first; a record with line breaks inside counts once.

    Raises:
        ValueError: The file can't be decoded. `errors.find` recovers the message after the engine has wrapped it.
    """
    import pyarrow as pa

    try:
        if format == "csv":
            yield from _csv_records(path, name, delimiter, sources)
        elif format == "jsonl":
            yield from _json_records(path, name, sources)
        else:
            yield from _typed_records(path, format, sources, version)
    except LandingError as error:
        raise refusal(str(error)) from None
    except (pa.ArrowException, UnicodeError, *_TRUNCATED_ERRORS) as error:
        raise refusal(_describe_read_error(name, format, error)) from None


def _describe_read_error(name: str, format: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    if isinstance(error, UnicodeError):
        return f"{name} is not in UTF-8: {reason}. Save it in UTF-8 and run again."
    return f"{name} can't be read as {format}: {reason}. Is the file complete?"


def _printable_name(name: str) -> str:
    """A name from a file on one line of limited length, for a message."""
    plain = name if name.isprintable() and name.strip() else repr(name)
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[:_LONGEST_NAME]}…"


def _normalise(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _open(path: str) -> IO[bytes]:
    return files.open_bytes(path, compression="infer")


def _open_text(path: str, newline: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(_open_utf8(path), "utf-8-sig", newline=newline)


def _open_utf8(path: str) -> io.BufferedReader:
    return io.BufferedReader(_Utf8Stream(_open(path)))


class _Utf8Stream(io.RawIOBase):
    """Passes bytes on while they are UTF-8. Reports the first other one with its line and its likely encoding."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._line = 1
        self._is_ascii = True

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        try:
            self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise UnicodeError(self._describe(error)) from None
        self._line += _count_line_ends(data)
        self._is_ascii = self._is_ascii and data.isascii()
        buffer[: len(data)] = data
        return len(data)

    def _describe(self, error: UnicodeDecodeError) -> str:
        prefix, byte = error.object[: error.start], error.object[error.start : error.start + 1]
        line = self._line + _count_line_ends(prefix)
        fault = f"line {line} has the byte 0x{byte.hex()}"
        if line == 1 and error.object.startswith(_UTF16):
            return f"{fault}, with which files in UTF-16 begin"
        if not (self._is_ascii and prefix.isascii()):
            return f"{fault}, and letters in UTF-8 before it: is the file complete, or joined from two?"
        try:
            letter = byte.decode("cp1252")
        except UnicodeDecodeError:
            return fault
        return f"{fault}, which is {letter!r} in Windows-1252 (Latin-1), and the file seems to use that encoding"


def _count_line_ends(data: bytes) -> int:
    """Count line ends in a block of a file: LF or CR LF, or else CR alone."""
    return data.count(b"\n") or data.count(b"\r")


def _open_delta(path: str, version: str | None) -> Any:
    import deltalake

    number = int(version.removeprefix("version ")) if version else None
    return deltalake.DeltaTable(path, version=number)


def _csv_head(text: io.TextIOWrapper, delimiter: str, name: str) -> tuple[tuple[str, ...], bool]:
    """The fields of the first line, and whether anything but blank lines follows."""
    line = text.readline(_LONGEST_HEADER + 1)
    if len(line) > _LONGEST_HEADER:
        raise LandingError(
            f"{name}: its first line, the header, is longer than {_LONGEST_HEADER >> 20} MiB. Add a first line that "
            f"names the columns, and end each record with a line end."
        )
    if "\0" in line:
        raise UnicodeError("its header has zero bytes, as files in UTF-16 have")
    if line.count('"') % 2:
        raise csv.Error("a quote in its header is left open")
    has_rows = any(part.strip() for part in iter(lambda: text.read(_STEP), ""))
    return tuple(next(csv.reader([line], delimiter=delimiter), ())), has_rows


def _json_keys(text: io.TextIOWrapper, name: str) -> tuple[str, ...]:
    lines = (line for _, line in _json_lines(text, name))
    records = [_json_object(line) for line in islice(lines, _HEADER_RECORDS)]
    if records and not any(records):
        raise ValueError("no line is a JSON object")
    return tuple(dict.fromkeys(key for record in records if record for key in record))


def _json_lines(text: io.TextIOWrapper, name: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers.

    Raises:
        LandingError: A line is longer than `_BLOCK` characters.
    """
    for number, line in enumerate(iter(lambda: text.readline(_BLOCK + 1), ""), 1):
        if len(line) > _BLOCK:
            raise LandingError(
                f"{name}: line {number} is longer than {_BLOCK >> 20} MiB. Write each record as one JSON object on a "
                f"line of its own, and run again."
            )
        if line.strip():
            yield number, line


class _StreamWithEndRecord:
    """A stream with one more record at its end. A reader that is inside an open quote there takes it for text."""

    closed = False

    def __init__(self, stream: IO[bytes], end: str) -> None:
        self._stream = stream
        self._end = f"\n{end}\n".encode()

    def read(self, size: int = -1) -> bytes:
        if data := self._stream.read(size):
            return data
        end, self._end = self._end, b""
        return end


def _csv_records(path: str, name: str, delimiter: str, sources: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.csv as pc

    ragged: dict[int, tuple[str, str]] = {}
    # An end record is read as a record unless a quote was left open before it. It is random, so no record of the file
    # equals it, and ragged (one field of many, or two instead of one), so the handler below sees it.
    mark = uuid4().hex
    end = mark if len(sources) > 1 else f"{mark}{delimiter}"
    end_number = 0

    def record_ragged_row(row: Any) -> str:
        nonlocal end_number
        if row.text == end:
            end_number = row.number
        else:
            ragged[row.number] = (row.text, _describe_ragged_row(row))
        return "skip"

    number, n_read = 2, 0
    try:
        with _open_utf8(path) as stream:
            reader = pc.open_csv(
                _StreamWithEndRecord(stream, end),
                # Only a single-threaded reader knows the record numbers of ragged rows.
                read_options=pc.ReadOptions(use_threads=False, block_size=_BLOCK),
                parse_options=pc.ParseOptions(
                    delimiter=delimiter, newlines_in_values=True, invalid_row_handler=record_ragged_row
                ),
                convert_options=pc.ConvertOptions(
                    column_types=dict.fromkeys(sources.values(), pa.string()), strings_can_be_null=False
                ),
            )
            for batch in reader:
                numbers: list[int] = []
                while len(numbers) < batch.num_rows:
                    if number not in ragged:
                        numbers.append(number)
                    number += 1
                records = _record_batch([batch[source] for source in sources.values()], sources, numbers)
                n_read += records.num_rows
                yield records
    except pa.ArrowInvalid as error:
        if "straddling" not in str(error):
            raise
        raise refusal(
            f"{name}: a record after record {number - 1} is longer than {_BLOCK >> 20} MiB. Is a quote left open "
            f"there? Correct it and run again."
        ) from None
    if not end_number:
        raise refusal(
            f"{name}: a quote that opens in record {max(number - 1, *ragged, 1)} is never closed, and the rest of the "
            f"file is inside it. Close it and run again."
        )
    if n_read + len(ragged) != end_number - 2:
        raise refusal(
            f"{name} has {end_number - 2} records after its header, and {n_read + len(ragged)} were parsed: nothing of "
            f"it was stored. This is a defect of lakehouse-ml; please report it with the file."
        )
    if ragged:
        yield _broken_records(ragged, sources)


def _describe_ragged_row(row: Any) -> str:
    fault = f"has {row.actual_columns} field{'s'[: row.actual_columns != 1]} instead of {row.expected_columns}"
    n_lines = len(row.text.splitlines())
    return fault if n_lines < 2 else f"{fault} and spans {n_lines} lines: is a quote left open in it?"


def _json_records(path: str, name: str, sources: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    with _open_text(path, newline="\n") as text:
        numbered = _json_lines(text, name)
        while lines := list(islice(numbered, _ROWS)):
            good: list[tuple[int, dict[str, Any]]] = []
            bad: dict[int, tuple[str, str]] = {}
            for number, line in lines:
                record = _json_object(line)
                undeclared = sorted(set(record or ()) - set(sources.values()))
                if record is None or undeclared:
                    fault = f"has undeclared keys: {', '.join(undeclared)}" if undeclared else "is not a JSON object"
                    bad[number] = (line.rstrip("\n"), fault)
                else:
                    good.append((number, record))
            columns = [
                pa.array([_as_text(record.get(source)) for _, record in good], pa.string())
                for source in sources.values()
            ]
            yield _record_batch(columns, sources, [number for number, _ in good])
            if bad:
                yield _broken_records(bad, sources)


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _typed_records(path: str, format: str, sources: Mapping[str, str], version: str) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    number = 1
    for batch in _typed_batches(path, format, list(sources.values()), version):
        columns = [batch[source].cast(pa.string()) for source in sources.values()]
        yield _record_batch(columns, sources, range(number, number + batch.num_rows))
        number += batch.num_rows


def _typed_batches(path: str, format: str, columns: list[str], version: str) -> Iterator[pa.RecordBatch]:
    if format == "delta":
        yield from reading.read_rows(_open_delta(path, version), columns)
        return
    import pyarrow.parquet as pq

    with _open(path) as stream:
        yield from pq.ParquetFile(stream).iter_batches(_ROWS, columns=columns)


def _record_batch(columns: Iterable[Any], sources: Mapping[str, str], numbers: Sequence[int]) -> pa.RecordBatch:
    import pyarrow as pa

    nulls = pa.nulls(len(numbers), pa.string())
    return pa.RecordBatch.from_arrays(
        [*columns, pa.array(numbers, pa.int64()), nulls, nulls], names=[*sources, *RECORD]
    )


def _broken_records(faults: Mapping[int, tuple[str, str]], sources: Mapping[str, str]) -> pa.RecordBatch:
    import pyarrow as pa

    texts, reasons = zip(*faults.values(), strict=True)
    empty = [pa.nulls(len(faults), pa.string()) for _ in sources]
    return pa.RecordBatch.from_arrays(
        [*empty, pa.array(list(faults), pa.int64()), pa.array(texts), pa.array(reasons)], names=[*sources, *RECORD]
    )
