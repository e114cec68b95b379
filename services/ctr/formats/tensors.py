"""Tensors of the Open Inference Protocol <-> columns of values: the data types, as JSON and as bytes."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from llactr_core.errors import InputError, RowError
from llactr_core.schema import Field, Kind, Schema
from services.ctr.formats.decoding import Scalar

BYTES, BOOL = "BYTES", "BOOL"
NUMBERS = {
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
DATATYPES = (BYTES, BOOL, *NUMBERS)
NARROW = ("FP16", "FP32")
_LENGTH = struct.Struct("<I")


def datatype_of(schema: Schema, column: str) -> str:
    """The data type in which a column of the schema is asked for; the others are read as well."""
    readers = [field for field in schema.fields if field.column == column]
    return "FP64" if all(_is_number(field) for field in readers) else BYTES


def _is_number(field: Field) -> bool:
    return field.kind == Kind.NUMERIC and field.part is None


def check_datatype(name: str, datatype: str) -> None:
    """Refuse what cannot be read.

    Raises:
        InputError: there is no such data type.
    """
    if datatype not in DATATYPES:
        raise InputError(
            f"input {name!r} has the datatype {datatype[:50]!r}; give one of {', '.join(DATATYPES)}", field=name
        )


def row_count(name: str, shape: Sequence[int]) -> int:
    """B of a tensor [B] or [B, 1].

    Raises:
        InputError: it has another shape.
    """
    if len(shape) in (1, 2) and shape[0] >= 0 and shape[1:] in ([], [1]):
        return shape[0]
    raise InputError(f"input {name!r} has the shape {list(shape)[:9]}; give [B] or [B, 1] for B rows", field=name)


def values_of_json(name: str, datatype: str, data: Sequence[object], rows: int) -> list[Scalar]:
    """The B values of a tensor whose data are plain JSON, flat or one list per row; null is missing.

    Raises:
        InputError: there are not B of them; `RowError` where one is not of the data type.
    """
    flat = [_only(name, row, part) if isinstance(part, list) else part for row, part in enumerate(data)]
    _check_count(name, len(flat), rows)
    is_of_type = _CHECKS[datatype]
    values: list[Scalar] = []
    for row, value in enumerate(flat):
        if value is not None and not is_of_type(value):
            raise RowError(f"input {name!r}, row {row}: {_shown(value)} is no {datatype}", row=row, field=name)
        values.append(value)  # type: ignore[arg-type]
    return _narrowed(name, datatype, values) if datatype in NARROW else values


def values_of_bytes(name: str, datatype: str, data: bytes, rows: int) -> list[Scalar]:
    """The same of a tensor whose data are bytes: little-endian; BYTES are a length in 4 bytes and the text, in turn.

    Raises:
        InputError: they are not B values; `RowError` where a text is not UTF-8.
    """
    if datatype == BYTES:
        texts = _texts(name, data, rows)
        _check_count(name, len(texts), rows)
        return list(texts)
    kind = np.dtype(np.uint8) if datatype == BOOL else NUMBERS[datatype]
    if len(data) != rows * kind.itemsize:
        raise InputError(
            f"input {name!r} has {len(data)} bytes of data; {rows} rows of {datatype} have {rows * kind.itemsize}",
            field=name,
        )
    numbers = np.frombuffer(data, kind)
    if datatype in NARROW:
        return _shortest(numbers)
    values: list[Scalar] = (numbers != 0).tolist() if datatype == BOOL else numbers.tolist()
    return values


def _narrowed(name: str, datatype: str, values: Sequence[Scalar]) -> list[Scalar]:
    """JSON numbers as the data type holds them, so that they are those of the same tensor sent as bytes."""
    given = np.array([np.nan if value is None else float(value) for value in values], np.float64)
    with np.errstate(over="ignore"):
        held = given.astype(NUMBERS[datatype])
    beyond = np.flatnonzero(np.isinf(held))
    if len(beyond):
        row = int(beyond[0])
        raise RowError(f"input {name!r}, row {row}: {_shown(values[row])} is no {datatype}", row=row, field=name)
    return [None if value is None else number for value, number in zip(values, _shortest(held), strict=True)]


def _shortest(numbers: "np.ndarray[Any, Any]") -> list[Scalar]:
    """The shortest decimals that the narrow floats [B] stand for: 0.1 and not 0.10000000149, as in training."""
    decimals: list[Scalar] = numbers.astype(np.str_).astype(np.float64).tolist()
    return decimals


def _texts(name: str, data: bytes, rows: int) -> list[str]:
    texts: list[str] = []
    place = 0
    while place < len(data) and len(texts) <= rows:
        start = place + _LENGTH.size
        length = _LENGTH.unpack_from(data, place)[0] if start <= len(data) else len(data)
        if start + length > len(data):
            raise InputError(f"input {name!r}: the text of row {len(texts)} ends beyond the data", field=name)
        try:
            texts.append(data[start : start + length].decode())
        except UnicodeDecodeError as error:
            row = len(texts)
            raise RowError(f"input {name!r}, row {row}: the text is not UTF-8", row=row, field=name) from error
        place = start + length
    return texts


def _only(name: str, row: int, part: list[object]) -> object:
    if len(part) == 1 and not isinstance(part[0], list | dict):
        return part[0]
    raise RowError(
        f"input {name!r}, row {row}: a row has one value; a multi-valued field takes one text with its separator",
        row=row,
        field=name,
    )


def _check_count(name: str, found: int, rows: int) -> None:
    if found != rows:
        many = f"{found} values" if found <= rows else f"more than {rows} values"
        raise InputError(f"input {name!r} has {many}; its shape says {rows}", field=name)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:50]}..."


def _is_integer(datatype: str) -> Callable[[object], bool]:
    signed, bits = datatype.startswith("INT"), 8 * NUMBERS[datatype].itemsize
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return lambda value: type(value) is int and low <= value <= high


_CHECKS: dict[str, Callable[[object], bool]] = {
    BYTES: lambda value: type(value) is str,
    BOOL: lambda value: type(value) is bool,
    **{name: _is_integer(name) for name in NUMBERS if not name.startswith("FP")},
    **{name: lambda value: type(value) in (int, float) for name in NUMBERS if name.startswith("FP")},
}
