"""An Arrow IPC stream from outside -> a table, with bounded memory whatever the stream claims.

Three things let a small stream become large: compressed buffers, many values that share one piece of text (views,
dictionaries within lists, run ends), and rows without bytes. Each is added up from what the stream declares, before
anything is inflated or copied.
"""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
from flatbuffers import number_types as numbers
from flatbuffers.table import Table as FlatTable

from llactr_core.errors import InputError, MalformedError, RowError, TooLargeError

# Positions in the tables of Arrow's Message.fbs, which is frozen: 4 + 2 * the field's number.
_HEADER, _BUFFERS, _COMPRESSION, _DATA = 8, 8, 10, 6
_VALUE_BYTES = 8  # of a value in a list, which may have no byte of its own in the stream
_BUFFER_BYTES = 16  # struct Buffer {offset: int64, length: int64}
_DICTIONARY, _RECORDS = "dictionary", "record batch"


def read_table(body: bytes, max_rows: int, max_bytes: int) -> pa.Table:
    """The table of a stream, its values validated.

    Raises:
        MalformedError: it is no Arrow stream, or its parts contradict each other.
        InputError: a column is there twice; `RowError` where it is nested.
        TooLargeError: more than `max_rows` rows, or more than `max_bytes` bytes once it is inflated.
    """
    try:
        _check_inflated(body, max_bytes)
        table = _read(body, max_rows, max_bytes)
        counts = Counter(table.column_names)  # decoded only now; they may be no UTF-8
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise MalformedError(f"the body cannot be parsed as an Arrow IPC stream: {error}") from error
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise InputError(f"column names must be unique; given more than once: {', '.join(twice)}")
    for field in table.schema:
        _check_type(field)
    return table


def check_rows(rows: int, max_rows: int) -> None:
    """Refuse too many rows.

    Raises:
        TooLargeError: there are more than `max_rows`.
    """
    if rows > max_rows:
        raise TooLargeError(f"the request has {rows:,} rows or more; the limit is {max_rows:,}: send several requests")


def _read(body: bytes, max_rows: int, max_bytes: int) -> pa.Table:
    batches, rows, shared = [], 0, 0
    with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
        for batch in reader:
            rows += batch.num_rows
            check_rows(rows, max_rows)
            batch.validate(full=True)  # offsets from outside may point anywhere
            shared += sum(_shared(column, False) for column in batch.columns)
            _check_bytes(shared, max_bytes)
            batches.append(batch)
        return pa.Table.from_batches(batches, schema=reader.schema)


def _check_inflated(body: bytes, max_bytes: int) -> None:
    total = 0
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
        if message.type in (_DICTIONARY, _RECORDS):
            total += _inflated(message)
            _check_bytes(total, max_bytes)


def _inflated(message: pa.Message) -> int:
    """The bytes that the compressed buffers of a message say they inflate to; 0 where it is not compressed."""
    metadata = memoryview(message.metadata)
    root = FlatTable(metadata, int.from_bytes(metadata[:4], "little"))
    header = _table_at(root, _HEADER)
    if header is not None and message.type == _DICTIONARY:
        header = _table_at(header, _DATA)
    if header is None or not header.Offset(_COMPRESSION) or not header.Offset(_BUFFERS):
        return 0
    total, place = 0, header.Offset(_BUFFERS)
    for number in range(header.VectorLen(place)):
        at = header.Vector(place) + number * _BUFFER_BYTES
        start, length = (int(header.Get(numbers.Int64Flags, at + part)) for part in (0, 8))
        declared = int.from_bytes(memoryview(message.body)[start : start + 8], "little", signed=True) if length else 0
        total += max(declared, 0)  # -1: stored as it is
    return total


def _table_at(table: FlatTable, field: int) -> FlatTable | None:
    place = table.Offset(field)
    return FlatTable(table.Bytes, table.Indirect(place + table.Pos)) if place else None


def _shared(column: pa.Array, in_list: bool) -> int:
    """At most so many bytes do the values of a column have that are not bytes of the stream of their own."""
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return _shared(column.storage, in_list)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _VALUE_BYTES * len(column.values) + _shared(column.values, True)
    if pa.types.is_run_end_encoded(kind):
        return len(column) * _longest(column.values) + _shared(column.values, in_list)
    if pa.types.is_dictionary(kind):
        repeated = len(column) * _longest(column.dictionary) if in_list else _repeated(column)
        return repeated + _shared(column.dictionary, in_list)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _view_bytes(column)
    return 0


def _repeated(column: pa.DictionaryArray) -> int:
    """The bytes of a dictionary column's values, each counted as often as a row points at it."""
    if pa.types.is_string(column.type.value_type) or pa.types.is_large_string(column.type.value_type):
        return pc.sum(pc.take(pc.binary_length(column.dictionary), column.indices)).as_py() or 0
    return len(column) * _longest(column.dictionary)


def _longest(values: pa.Array) -> int:
    kind = values.type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _view_bytes(values)
    if (
        pa.types.is_binary(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_large_string(kind)
    ):
        return pc.max(pc.binary_length(values)).as_py() or 0
    return 0 if pa.types.is_primitive(kind) else values.nbytes


def _view_bytes(column: pa.Array) -> int:
    """A view is 16 bytes, and the first four of them are its length."""
    views = pa.Array.from_buffers(pa.int32(), 4 * (column.offset + len(column)), [None, column.buffers()[1]])
    lengths = views.to_numpy()[4 * column.offset :: 4]
    return int(lengths.sum(dtype="int64"))


def _check_bytes(total: int, max_bytes: int) -> None:
    if total > max_bytes:
        raise TooLargeError(
            f"the Arrow stream stands for {total:,} bytes or more; the limit is {max_bytes:,}: send several requests"
        )


def _check_type(field: pa.Field) -> None:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if pa.types.is_nested(kind):
        raise RowError(
            f"column {field.name!r} has the nested type {field.type}; send scalars or lists of scalars",
            field=field.name,
        )
