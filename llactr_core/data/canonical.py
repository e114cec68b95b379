"""The canonical string of a value: one form, whether it came from JSON, from Parquet or from a Python caller.

A vocabulary is fitted on strings and looked up by strings, so 3 (JSON), 3.0 (a float column) and "3" (CSV) have to be
the same value, in training and in serving. Text stays as it is: "3.0" written as text is another value than the number.
"""

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llactr_core.errors import DataError

LONGEST = 256
KEPT = 200
_EXACT = 2.0**53


def canonical(value: object) -> str | None:
    """The string under which one value is known, or None where it is missing.

    None, NaN, infinities and "" are missing. True -> "true", 3 and 3.0 -> "3", 0.5 -> "0.5" (the shortest decimal
    form, for float32 too). Dates and times are ISO-8601, those with a time zone in UTC. Text longer than 256
    characters becomes its first 200 characters, "#" and a 16-byte BLAKE2b digest in hex.

    Raises:
        DataError: the value is nested (a list or an object), bytes that are not UTF-8, or of an unknown type.
    """
    if type(value) is str:  # exact types: subclasses, as numpy's, have a repr of their own
        return _text(value)
    if value is None:
        return None
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    if type(value) is float:
        return _number(value)
    return _other(value)


def canonical_array(array: pa.Array) -> pa.DictionaryArray:
    """`canonical` of a whole Arrow array, worked out once per distinct value.

    Args:
        array: [B] of any scalar type, dictionary-encoded or not.

    Returns:
        [B] dictionary array of int32 indices into distinct, non-null strings; missing values are null.

    Raises:
        DataError: the array is nested, or text in it is not UTF-8.
    """
    array = plain_array(array)
    if pa.types.is_null(array.type):
        return pa.DictionaryArray.from_arrays(pa.nulls(len(array), pa.int32()), pa.array([], pa.string()))
    if pa.types.is_nested(array.type):
        raise DataError(f"a column of type {array.type} is nested; only plain values have a canonical form")
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    texts = _canonical_values(encoded.dictionary)
    indices = encoded.indices.cast(pa.int32())
    if texts.null_count == 0 and pc.count_distinct(texts).as_py() == len(texts):
        return pa.DictionaryArray.from_arrays(indices, texts)
    return texts.take(indices).dictionary_encode()


def plain_array(array: pa.Array) -> pa.Array:
    """An array in one piece, its type one that Arrow can dictionary-encode and Python can hold; nested ones as is."""
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    kind = array.type
    if pa.types.is_string(kind):
        return array
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(array.indices, plain_array(array.dictionary))
    if pa.types.is_run_end_encoded(kind):
        return plain_array(pc.run_end_decode(array))
    if kind == pa.uuid():
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())
    if isinstance(array, pa.ExtensionArray):
        return plain_array(array.storage)
    if pa.types.is_timestamp(kind):
        return array.cast(pa.timestamp("us", "UTC" if kind.tz else None), safe=False)
    if pa.types.is_time64(kind) or pa.types.is_duration(kind):
        return array.cast(pa.time64("us") if pa.types.is_time64(kind) else pa.duration("us"), safe=False)
    if kind in (pa.string_view(), pa.binary_view()):
        return array.cast(pa.string() if kind == pa.string_view() else pa.binary())
    return array


def _canonical_values(values: pa.Array) -> pa.Array:
    """Canonical strings [U] of U distinct values; null where a value counts as missing."""
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return values.cast(pa.string())
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        return pa.array([_other(v) for v in values.to_numpy(zero_copy_only=False)], pa.string())
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind):
        return _canonical_texts(values)
    if pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _canonical_texts(values.cast(pa.binary()))
    return pa.array([canonical(v) for v in values.to_pylist()], pa.string())


def texts_of(values: pa.Array) -> pa.Array:
    """An Arrow array of strings, large strings or bytes as valid strings.

    Raises:
        DataError: a text is no UTF-8.
    """
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    try:
        texts = values if is_text else values.cast(pa.string())
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DataError(f"text is not valid UTF-8 ({error}); convert the data to UTF-8") from error
    return texts


def _canonical_texts(values: pa.Array) -> pa.Array:
    texts = texts_of(values).cast(pa.string())
    lengths = pc.binary_length(texts)
    bounds = pc.min_max(lengths).as_py()
    if len(texts) == 0 or (bounds["min"] is not None and bounds["min"] > 0 and bounds["max"] <= LONGEST):
        return texts
    return pa.array([canonical(text) for text in texts.to_pylist()], pa.string())


def _text(value: str) -> str | None:
    if len(value) <= LONGEST:
        return value or None
    digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{value[:KEPT]}#{digest}"


def _number(value: float) -> str | None:
    if not math.isfinite(value):
        return None
    if value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return repr(value)


def _other(value: object) -> str | None:
    """Values of other types than JSON has: numpy scalars, bytes, decimals, dates and times, subclasses."""
    if isinstance(value, np.generic):
        return _numpy(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value))
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, (date, time)):
        return _moment(value)
    if isinstance(value, (timedelta, UUID)):
        return str(value)
    for base in (str, bool, int, float):
        if isinstance(value, base):
            return canonical(base(value))
    raise DataError(f"a {type(value).__name__} is no plain value; use text, a number, true, false or null")


def _numpy(value: np.generic) -> str | None:
    if isinstance(value, np.floating):
        return _number(float(str(value)))  # numpy prints the shortest form of its own precision
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else canonical(value.astype("datetime64[us]").item())
    return canonical(value.item())


def _bytes(value: bytes) -> str | None:
    try:
        return _text(value.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"text is not valid UTF-8 ({error}); convert the data to UTF-8") from error


def _decimal(value: Decimal) -> str | None:
    if not value.is_finite():
        return None
    near = _number(float(value))
    if near is not None and abs(value) < _EXACT and Decimal(near) == value:
        return near
    text = format(value, "f")  # exact; Decimal.normalize would round to 28 digits
    return text.rstrip("0").rstrip(".") if "." in text else text


def _moment(value: date | time) -> str | None:
    if value != value:  # pandas.NaT is a datetime that differs from itself
        return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC)
    return value.isoformat()
