"""Request bodies -> cells, rows, columns or an Arrow table, with limits and errors that name the row and the field.

Plain rows of JSON become cells of the columns that a model reads, and no objects at all. The others are decoded by
msgspec into typed rows in one pass. Only when that refuses a body is it decoded once more, untyped, to find the first
thing that is wrong: good requests pay nothing for precise errors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import msgspec
import numpy as np
import pyarrow as pa

from llactr_core.data.values.cells import Cells
from llactr_core.data.values.json_rows import JsonReader, JsonRows
from llactr_core.errors import InputError, LlactrError, MalformedError, RowError, TooLargeError, UnsupportedMediaError
from services.ctr.formats.arrow import check_rows, read_table

JSON = "application/json"
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
MEDIA_TYPES = (JSON, NDJSON, ARROW)
INFLATED_BYTES = 64 * 2**20
VALUES_PER_ROW = 200
FEWEST_VALUES = 1_000_000  # so many may be in any JSON body

Scalar: TypeAlias = bool | int | float | str | None
Value: TypeAlias = Scalar | list[Scalar]
Features: TypeAlias = Sequence[Mapping[str, Value]] | Mapping[str, Sequence[Value]] | pa.Table


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    rows: list[dict[str, Value]] | None = None
    columns: dict[str, list[Value]] | None = None
    routing_key: str | None = None


class PlainRows:
    """Rows of JSON as cells; their features are decoded when somebody asks for them.

    Args:
        found: the cells.
        columns: of the cells.
        body: what they were found in.
        decode: gives the features.
    """

    def __init__(self, found: JsonRows, columns: tuple[str, ...], body: bytes, decode: Callable[[], Features]) -> None:
        self.cells = found.cells
        self.columns = columns
        self._has_others = found.has_others
        self._body = body
        self._decode = decode

    def may_have(self, column: str) -> bool:
        """Whether a row may have this column; False for sure."""
        return column in self.columns or (self._has_others and f'"{column}"'.encode() in self._body)

    @cached_property
    def features(self) -> Features:
        """All columns, those beyond the cells' too."""
        return self._decode()


@dataclass(frozen=True)
class Batch:
    """B rows as they were given, and the caller's routing key."""

    given: Features | PlainRows
    rows: int
    routing_key: str | None = None

    @property
    def features(self) -> Features:
        """All features, in the form in which they came."""
        return self.given.features if isinstance(self.given, PlainRows) else self.given

    def of_columns(self, columns: tuple[str, ...]) -> Features | Cells:
        """What a model needs that reads these columns: cells of just them, where there are."""
        if isinstance(self.given, PlainRows) and self.given.columns == columns:
            return self.given.cells
        return self.features


_BETWEEN = np.frombuffer(b",\n[{", np.uint8)  # what stands before or behind a value
_BODY = msgspec.json.Decoder(_Body)
_ROW = msgspec.json.Decoder(dict[str, Value])
_ANY = msgspec.json.Decoder()


def decode(
    body: bytes,
    content_type: str | None,
    max_rows: int,
    max_bytes: int = INFLATED_BYTES,
    reader: JsonReader | None = None,
) -> Batch:
    """Decode the body of a scoring request. A missing Content-Type is taken as JSON.

    Args:
        body: the bytes.
        content_type: the header.
        max_rows: the most rows.
        max_bytes: the most bytes that a compressed Arrow stream may inflate to.
        reader: finds the cells of the columns that the model reads; None to decode all at once.

    Raises:
        UnsupportedMediaError: the Content-Type is none of `MEDIA_TYPES`, or its charset is not UTF-8.
        MalformedError: the body cannot be parsed.
        InputError: it can, but is not what the endpoint reads; `RowError` where a row or a field is to blame.
        TooLargeError: more than `max_rows` rows, or more values or bytes than so many rows can need.
    """
    media = _media_type(content_type)
    if media != ARROW:
        check_values(body, max_rows)
    if media == JSON:
        return _plain(body, max_rows, reader, JsonReader.rows, _decode_json) or _decode_json(body, max_rows)
    if media == NDJSON:
        return _plain(body, max_rows, reader, JsonReader.lines, _decode_ndjson) or _decode_ndjson(body, max_rows)
    table = read_table(body, max_rows, max_bytes)
    return Batch(table, table.num_rows)


def _media_type(content_type: str | None) -> str:
    if content_type is None:
        return JSON
    media, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if media not in MEDIA_TYPES:
        raise UnsupportedMediaError(f"Content-Type {content_type!r} is not read here; send {', '.join(MEDIA_TYPES)}")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMediaError(f"charset {value!r} is not read here; send UTF-8")
    return media


def _plain(
    body: bytes,
    max_rows: int,
    reader: JsonReader | None,
    read: Callable[[JsonReader, bytes, int], JsonRows | None],
    decode_all: Callable[[bytes, int], Batch],
) -> Batch | None:
    found = None if reader is None else read(reader, body, max_rows)
    if found is None or reader is None:
        return None
    given = PlainRows(found, reader.columns, body, lambda: decode_all(body, max_rows).features)
    return Batch(given, len(found.cells))


def _decode_json(body: bytes, max_rows: int) -> Batch:
    try:
        content = _BODY.decode(body)
    except msgspec.ValidationError as error:
        raise _explain_body(body, str(error), max_rows) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed("JSON", error) from error
    if (content.rows is None) == (content.columns is None):
        raise InputError('the body needs exactly one of "rows" and "columns": {"rows": [{field: value}]}')
    if content.rows is not None:
        check_rows(len(content.rows), max_rows)
        return Batch(content.rows, len(content.rows), content.routing_key)
    columns = content.columns or {}
    rows = _common_length(columns)
    check_rows(rows, max_rows)
    return Batch(columns, rows, content.routing_key)


def _decode_ndjson(body: bytes, max_rows: int) -> Batch:
    try:
        rows = _ROW.decode_lines(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _explain_lines(body, str(error), max_rows) from error
    check_rows(len(rows), max_rows)
    return Batch(rows, len(rows))


def check_values(body: bytes, max_rows: int) -> None:
    """Count what a body of JSON may hold before it becomes objects, each of which takes far more memory than it."""
    most = max(FEWEST_VALUES, max_rows * VALUES_PER_ROW)
    if len(body) <= most:
        return
    values = int(np.count_nonzero(np.isin(np.frombuffer(body, np.uint8), _BETWEEN)))
    if values > most:
        raise TooLargeError(
            f"the body has some {values:,} values; the limit for {max_rows:,} rows is {most:,}: send several requests"
        )


def _malformed(what: str, error: Exception) -> MalformedError:
    return MalformedError(f"the body cannot be parsed as {what}: {error}")


def _common_length(columns: Mapping[str, Sequence[Value]]) -> int:
    lengths = {name: len(values) for name, values in columns.items()}
    first = next(iter(lengths.values()), 0)
    for name, length in lengths.items():
        if length != first:
            raise RowError(
                f"column {name!r} has {length} values and the first column has {first}; all need the same number",
                row=min(length, first),
                field=name,
            )
    return first


def _explain_body(body: bytes, reason: str, max_rows: int) -> LlactrError:
    """The precise error for a JSON body that the typed decoder refused with `reason`."""
    try:
        content = _ANY.decode(body)
    except msgspec.ValidationError:
        return InputError(reason)  # a number beyond the range of a float
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _malformed("JSON", error)
    if isinstance(content, dict) and isinstance(content.get("rows"), list):
        return _explain_rows(content["rows"], max_rows) or InputError(reason)
    if isinstance(content, dict) and isinstance(content.get("columns"), dict):
        return _explain_columns(content["columns"]) or InputError(reason)
    return InputError(
        f'the body must be {{"rows": [{{field: value}}]}} or {{"columns": {{field: [values]}}}}: {reason}'
    )


def _explain_rows(rows: list[object], max_rows: int) -> LlactrError | None:
    if len(rows) > max_rows:
        return TooLargeError(f"the request has {len(rows):,} rows; the limit is {max_rows:,}: send several requests")
    for number, row in enumerate(rows):
        if (problem := _explain_row(row, number)) is not None:
            return problem
    return None


def _explain_row(row: object, number: int) -> RowError | None:
    if not isinstance(row, dict):
        return RowError(f"row {number} is {_kind(row)}; a row is an object of fields and values", row=number)
    for name, value in row.items():
        if not _is_value(value):
            return _nested(name, value, number)
    return None


def _explain_columns(columns: dict[str, object]) -> RowError | None:
    for name, values in columns.items():
        if not isinstance(values, list):
            return RowError(f"column {name!r} is {_kind(values)}; a column is an array of values", field=name)
        for number, value in enumerate(values):
            if not _is_value(value):
                return _nested(name, value, number)
    return None


def _explain_lines(body: bytes, reason: str, max_rows: int) -> LlactrError:
    """The precise error for an NDJSON body: rows are counted over the lines that are not blank."""
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > max_rows:
        return TooLargeError(f"the request has {len(lines):,} rows; the limit is {max_rows:,}: send several requests")
    for number, line in enumerate(lines):
        try:
            row = _ANY.decode(line)
        except msgspec.ValidationError as error:
            return RowError(f"row {number}: {error}", row=number)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return MalformedError(f"line {number} of the rows cannot be parsed as JSON: {error}", row=number)
        if (problem := _explain_row(row, number)) is not None:
            return problem
    return MalformedError(f"the body cannot be parsed as lines of JSON: {reason}")


def _is_value(value: object) -> bool:
    if isinstance(value, list):
        return all(not isinstance(part, list | dict) for part in value)
    return not isinstance(value, dict)


def _nested(name: str, value: object, row: int) -> RowError:
    return RowError(
        f"row {row}, field {name!r}: the value is {_kind(value)}; a value is a string, a number, true, false or null, "
        "or for a multi-valued field a list of them",
        row=row,
        field=name,
    )


def _kind(value: object) -> str:
    names = {dict: "a nested object", list: "a nested array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
