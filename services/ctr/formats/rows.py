"""What the service itself reads of decoded features: one column of them, whatever form they came in."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from llactr_core.data.canonical import canonical
from llactr_core.errors import DataError, InputError, RowError
from llactr_core.schema import Schema
from services.ctr.formats.decoding import Batch, Features, PlainRows

ROW_ID = "row_id"
LONGEST_ID = 200


def row_ids(batch: Batch, column: str) -> list[str | None] | None:
    """The caller's names of the rows, [B], or None where no row has one.

    Raises:
        RowError: one is neither a text nor a whole number, or longer than 200 characters; names row and field.
    """
    if isinstance(batch.given, PlainRows) and not batch.given.may_have(column):
        return None
    values = values_of(batch.features, column)
    if values is None or not any(value is not None for value in values):
        return None
    return [_row_id(value, number, column) for number, value in enumerate(values)]


def routing_key(batch: Batch, schema: Schema) -> str:
    """What an experiment tells callers apart by where they do not say: the first row's value of the schema's group
    column if it is there, else of its first field, in canonical form; "" where it is missing.
    """
    for column in (schema.group, schema.fields[0].column):
        if column is not None and batch.rows:
            text = _first(batch.features, column)
            if text:
                return text
    return ""


def _row_id(value: object, number: int, column: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, str | int) and not isinstance(value, bool):
        text = str(value)
        if 0 < len(text) <= LONGEST_ID:
            return text
    raise RowError(
        f"row {number}: {column!r} names the row, so it has to be a text of 1 to {LONGEST_ID} characters or a whole "
        "number; give it so, leave it out, or name another column with ?row_id=COLUMN",
        row=number,
        field=column,
    )


def _first(features: Features, column: str) -> str | None:
    try:
        if isinstance(features, pa.Table):
            values = values_of(features.slice(0, 1), column)
            return canonical(values[0]) if values else None
        if isinstance(features, Mapping):
            return canonical(features[column][0]) if features.get(column) else None
        return canonical(features[0].get(column))
    except DataError:  # a list, or what the encoder refuses with its row and field
        return None


def values_of(features: Features, column: str) -> Sequence[Any] | None:
    """A column's values, [B]; None where no row has it.

    Raises:
        InputError: it cannot be read.
    """
    if isinstance(features, pa.Table):
        if column not in features.column_names:
            return None
        try:
            values: list[Any] = features[column].to_pylist()
            return values
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise InputError(
                f"column {column!r} cannot be read: {error}; send text or numbers", field=column
            ) from error
    if isinstance(features, Mapping):
        return features.get(column)
    return [row.get(column) for row in features]
