"""Parts of the judged rows by what train knew of them."""

import numpy as np
import numpy.typing as npt

from llactr_core.data.encoding import Encoder
from llactr_core.data.vocabulary import UNSEEN
from llactr_core.training.data import Rows

RARE = 5  # a value seen less often in train


def slices_of(encoder: Encoder, train: Rows, rows: Rows) -> dict[str, npt.NDArray[np.bool_]]:
    """Named bool [N] over the rows; only those that are neither empty nor everything.

    "cold" rows have an unseen value in a field that names a user or an item (`Field.side`; where the schema does not
    say, in any field), "warm" ones have none; "rare F" rows have a value of field F that train had less than five
    times or never.
    """
    ids = rows.ids.numpy()
    fields = encoder.schema.fields
    counts = np.bincount(train.ids.numpy().ravel(), minlength=encoder.size)
    sided = [field.side in ("user", "item") for field in fields]
    chosen = sided if any(sided) else [True] * len(fields)
    cold = np.zeros(len(ids), np.bool_)
    found = {}
    for number, field in enumerate(fields):
        slots = np.flatnonzero(encoder.slot_field == number)
        if len(slots) > 1:  # numbers and lists: no single value that could be rare
            continue
        its = ids[:, slots[0]]
        if chosen[number]:
            cold |= its == encoder.offsets[number] + UNSEEN
        found[f"rare {field.name}"] = counts[its] < RARE
    found = {"cold": cold, "warm": ~cold, **found}
    return {name: rows_of for name, rows_of in found.items() if 0 < rows_of.sum() < len(rows_of)}
