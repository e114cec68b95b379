"""The label column: 0 or 1 for every row, both of them present."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llactr_core.data.canonical import canonical_array
from llactr_core.data.read import Source, require_column
from llactr_core.errors import DataError

_MEANING = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "False": 0.0, "True": 1.0, "FALSE": 0.0, "TRUE": 1.0}
_MEANING |= {"0.0": 0.0, "1.0": 1.0}  # what a float column looks like in a CSV file
_SHOWN = 5

Labels = np.ndarray[Any, np.dtype[np.float32]]


def read_labels(source: Source, label: str) -> Labels:
    """The labels of a whole file: float32 [N], each 0 or 1.

    Raises:
        DataError: there is no such column, a value is missing or neither 0 nor 1, or all rows have the same label.
    """
    require_column(source, label)
    parts: list[Labels] = []
    rows = 0
    for batch in source.batches([label]):
        parts.append(label_values(batch.column(0), label, first_row=rows + 1))
        rows += batch.num_rows
    labels = np.concatenate(parts) if parts else np.empty(0, np.float32)
    require_both_classes(int(labels.sum()), rows, label, str(source.path))
    return labels


def label_values(array: pa.Array, label: str, first_row: int = 1) -> Labels:
    """The labels of one batch: float32 [B], each 0 or 1.

    Accepted are 0 and 1 as integers, floats, text or booleans, and "true" and "false".

    Args:
        array: [B], the label's column.
        label: its name, for messages.
        first_row: the number of the batch's first row in its file, counted from 1.

    Raises:
        DataError: a value is missing or neither 0 nor 1; the message names the row and up to five values found.
    """
    encoded = canonical_array(array)
    texts = encoded.dictionary.to_pylist()
    meaning = np.array([_MEANING.get(text, np.nan) for text in texts] + [np.nan], np.float32)
    indices = pc.fill_null(encoded.indices, len(texts)).to_numpy(zero_copy_only=False)
    labels: Labels = meaning[indices]
    wrong = np.flatnonzero(np.isnan(labels))
    if wrong.size:
        raise _refusal(texts, int(indices[wrong[0]]), first_row + int(wrong[0]), label)
    return labels


def require_both_classes(positives: int, rows: int, label: str, where: str) -> None:
    """Check that there are both clicks and non-clicks to tell apart.

    Raises:
        DataError: there are no rows, or all of them have the same label.
    """
    if rows == 0:
        raise DataError(f"{where}: there are no rows", field=label)
    if positives in (0, rows):
        raise DataError(
            f"{where}: all {rows} rows have the label {int(positives > 0)} in {label!r}; both 0 and 1 have to occur",
            field=label,
        )


def _refusal(texts: list[str], bad: int, row: int, label: str) -> DataError:
    if bad == len(texts):
        return DataError(
            f"column {label!r} has no label in row {row}; every row needs 0 or 1: drop the rows without",
            row=row,
            field=label,
        )
    shown = ", ".join(repr(text[:40]) for text in texts[:_SHOWN]) + (", ..." if len(texts) > _SHOWN else "")
    return DataError(
        f"column {label!r} is no 0/1 label: row {row} has {texts[bad][:40]!r}; values found: {shown}. Turn it into 0 "
        "and 1 (true and false also do), or name another column as the label",
        row=row,
        field=label,
    )
