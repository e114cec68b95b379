"""The valid rows in three parts: for early stopping, for the calibration, and for the gate before a promotion."""

from typing import Any

import numpy as np
import pyarrow as pa

from llactr_core.data.mixing import mixed
from llactr_core.data.read import Source

STOPPING, CALIBRATION, GATE = 0, 1, 2
SEED = 2027
SHARES = 1 << 16

Parts = np.ndarray[Any, np.dtype[np.int8]]


def held_out_parts(first: int, count: int, share: float) -> Parts:
    """The part of each of `count` valid rows from position `first` on, int8 [count].

    A share of 1 - `share` goes to early stopping, and the rest in halves to the calibration and to the gate. The
    position alone decides, so every model that is trained on the same files is judged on the same rows.
    """
    positions = np.arange(first, first + count, dtype=np.uint64)
    place = (mixed(positions + mixed(np.array([SEED], np.uint64))) % np.uint64(SHARES)).astype(np.float64) / SHARES
    return np.select([place >= share, place >= share / 2], [STOPPING, CALIBRATION], GATE).astype(np.int8)


def gate_rows(valid: Source, columns: list[str], share: float, part: int, most: int) -> pa.Table:
    """The first `most` rows of a part, with these columns as they stand in the source."""
    kept: list[pa.RecordBatch] = []
    position = rows = 0
    for batch in valid.batches(columns):
        belongs = held_out_parts(position, batch.num_rows, share) == part
        position += batch.num_rows
        chosen = batch.filter(pa.array(belongs)).slice(0, most - rows)
        rows += chosen.num_rows
        kept.append(chosen)
        if rows >= most:
            break
    return pa.Table.from_batches(kept)
