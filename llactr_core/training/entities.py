"""Which fields name one and the same thing: a film's number and its title, an item's code and its description."""

import numpy as np
import numpy.typing as npt

from llactr_core.data.encoding import Encoder
from llactr_core.schema import Kind
from llactr_core.semantics.values.textual import textual_values
from llactr_core.training.data import Rows

LIKE = 0.5  # of the smaller number of values to the larger one
LOOSE = 1.1  # pairs of values to values: more than one to one, for a few spellings
FEWEST = 20  # values: what has fewer is a property and no name


def entities(encoder: Encoder, train: Rows) -> list[npt.NDArray[np.int64]]:
    """The slots of each group of fields that name one thing and of which one at least is textual.

    Two single-valued fields name one thing where their values go together one to one: about as many of either, and
    hardly more pairs of them in train than values.
    """
    fields = encoder.schema.fields
    textual = {encoder.schema.names.index(name) for name in textual_values(encoder)}
    singles = [k for k, field in enumerate(fields) if field.kind == Kind.CATEGORICAL and _values(encoder, k) >= FEWEST]
    found = []
    taken: set[int] = set()
    for text in (k for k in singles if k in textual):
        group = [k for k in singles if k == text or (k not in taken and _go_together(encoder, train, text, k))]
        if text not in taken and len(group) > 1:
            taken.update(group)
            found.append(encoder.first_slots[group])
    return found


def _values(encoder: Encoder, field: int) -> int:
    return len(encoder.encoders[field])


def _go_together(encoder: Encoder, train: Rows, one: int, other: int) -> bool:
    sizes = sorted((_values(encoder, one), _values(encoder, other)))
    if sizes[0] < LIKE * sizes[1]:
        return False
    ids = train.ids.numpy()
    first, second = (ids[:, encoder.first_slots[k]].astype(np.int64) for k in (one, other))
    pairs = len(np.unique(first * encoder.size + second))
    return pairs <= LOOSE * max(len(np.unique(first)), len(np.unique(second)))
