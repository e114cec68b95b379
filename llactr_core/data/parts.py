"""Parts of a date or time: what a field with `part` reads from its source column. Everything is in UTC.

A moment may be an Arrow timestamp or date, a datetime, ISO-8601 text, or a number: Unix seconds, milliseconds,
microseconds or nanoseconds, told apart by size for each value, or a calendar date written YYYYMMDD. A number written
as text (as in CSV) counts as that number. A date without a time is midnight, and a time without a zone is UTC.
"""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llactr_core.data.canonical import plain_array
from llactr_core.errors import SchemaError
from llactr_core.schema import Field

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAY = 86_400
_SECOND_LIMIT, _MILLI_LIMIT, _MICRO_LIMIT, _NANO_LIMIT = 10**11, 10**14, 10**17, 2**63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_FIRST, _DAY_LAST = 1900_01_01, 2100_12_31

Ints = np.ndarray[Any, np.dtype[np.int64]]


def part_value(field: Field, value: object) -> str | None:
    """The part of one moment as a string, or None where the value is missing or no moment.

    "hour" gives "0".."23", "weekday" gives "Monday".."Sunday", "elapsed_days" whole days since 1970-01-01.

    Raises:
        SchemaError: the field is no part of a moment.
    """
    part = _part_of(field)
    seconds = unix_seconds(value)
    return None if seconds is None else part(seconds)


def part_values(field: Field, array: pa.Array) -> pa.Array:
    """`part_value` of a whole column.

    Args:
        field: a field with `part` set.
        array: [B] of any type; other than moments become null.

    Returns:
        [B] string array.

    Raises:
        SchemaError: the field is no part of a moment.
    """
    part = _part_of(field)
    seconds = unix_seconds_array(array).dictionary_encode()
    texts = pa.array([part(s) for s in seconds.dictionary.to_pylist()], pa.string())
    return texts.take(seconds.indices)


def unix_seconds(value: object) -> int | None:
    """Whole seconds since 1970-01-01 UTC of a moment in any accepted form; None where it is none."""
    if isinstance(value, np.generic):
        value = value.astype("datetime64[us]").item() if isinstance(value, np.datetime64) else value.item()
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return _from_number(value)
    if isinstance(value, date):
        return _from_date(value)
    return _from_text(value) if isinstance(value, str) else None


def unix_seconds_array(array: pa.Array) -> pa.Array:
    """`unix_seconds` of a whole column: int64 [B], null where a value is no moment."""
    array = plain_array(array)
    kind = array.type
    if pa.types.is_dictionary(kind):
        return unix_seconds_array(array.dictionary).take(array.indices)
    if pa.types.is_timestamp(kind):
        return _divided(array.cast(pa.int64()), _PER_SECOND[kind.unit])
    if pa.types.is_date(kind):
        return pc.multiply(array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), _DAY)
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return _numbers(array.cast(pa.int64()))
    if pa.types.is_null(kind) or pa.types.is_boolean(kind):
        return pa.nulls(len(array), pa.int64())
    if pa.types.is_nested(kind):
        return pa.nulls(len(array), pa.int64())
    encoded = array.dictionary_encode()
    seconds = [unix_seconds(v) for v in encoded.dictionary.to_pylist()]
    return pa.array(seconds, pa.int64()).take(encoded.indices)


def _part_of(field: Field) -> Callable[[int], str]:
    if field.part is None:
        raise SchemaError(f"field {field.name!r} is no part of a date or time; set 'source' and 'part'")
    return _PARTS[field.part]


def _hour(seconds: int) -> str:
    return str(seconds % _DAY // 3600)


def _weekday(seconds: int) -> str:
    return WEEKDAYS[(seconds // _DAY + 3) % 7]  # 1970-01-01 was a Thursday


def _elapsed_days(seconds: int) -> str:
    return str(seconds // _DAY)


_PARTS: dict[str, Callable[[int], str]] = {"hour": _hour, "weekday": _weekday, "elapsed_days": _elapsed_days}


def _from_number(value: int | float) -> int | None:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    size = abs(value)
    if size >= _NANO_LIMIT:
        return None
    if _DAY_FIRST <= value <= _DAY_LAST and value == int(value):
        return _from_calendar(int(value))
    unit = 1 if size < _SECOND_LIMIT else 10**3 if size < _MILLI_LIMIT else 10**6 if size < _MICRO_LIMIT else 10**9
    return int(value // unit)


def _from_calendar(number: int) -> int:
    """Seconds of a date written YYYYMMDD; a number that is no such date is Unix seconds."""
    try:
        return _from_date(date(number // 10_000, number // 100 % 100, number % 100)) or 0
    except ValueError:
        return number


def _from_date(value: date) -> int | None:
    if value != value:  # pandas.NaT is a datetime that differs from itself
        return None
    if not isinstance(value, datetime):
        return (value - _EPOCH.date()).days * _DAY
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(seconds=1)


def _from_text(text: str) -> int | None:
    text = text.strip()
    try:
        return _from_number(int(text))
    except ValueError:
        pass
    try:
        return _from_date(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        pass
    try:
        return _from_number(float(text))
    except ValueError:
        return None


def _numbers(array: pa.Array) -> pa.Array:
    """Unix seconds of an int64 array, the unit of each value by its size; only YYYYMMDD values take the slow way."""
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    size = np.abs(values)
    unit = np.select([size < _SECOND_LIMIT, size < _MILLI_LIMIT, size < _MICRO_LIMIT], [1, 10**3, 10**6], 10**9)
    seconds: Ints = values // unit
    written = (values >= _DAY_FIRST) & (values <= _DAY_LAST)
    if written.any():
        seconds[written] = [_from_calendar(int(v)) for v in values[written]]
    missing = array.is_null().to_numpy(zero_copy_only=False) | (size < 0)  # the one value without a positive size
    return pa.array(seconds, pa.int64(), mask=missing)


def _divided(array: pa.Array, unit: int) -> pa.Array:
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    return pa.array(values // unit, pa.int64(), mask=array.is_null().to_numpy(zero_copy_only=False))
