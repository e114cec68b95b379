"""Which fields have values that a language model can read."""

import re
from collections.abc import Sequence
from itertools import islice

from llactr_core.data.encoding import Encoder
from llactr_core.data.vocabulary import Vocabulary
from llactr_core.schema import Field

LOOKED_AT = 1000  # the most frequent values
WORD = re.compile(r"(?<![^\W_])[^\W\d_]{2,}(?![^\W_])")  # letters only; what holds a digit ("B00005N7P0") is an id


def is_worded(values: Sequence[str]) -> bool:
    """Whether at least half of the values hold a word of two letters or more."""
    worded = sum(WORD.search(value) is not None for value in values)
    return bool(values) and 2 * worded >= len(values)


def textual_values(encoder: Encoder) -> dict[str, list[str]]:
    """The values that train had of each textual field, in the encoder's canonical text, by name.

    `Field.textual` decides; where it says nothing, the most frequent values do (`is_worded`). Numeric fields and parts
    of dates have no texts.
    """
    found = {}
    for field, known in zip(encoder.schema.fields, encoder.known, strict=True):
        if isinstance(known, Vocabulary) and field.part is None:
            values: list[str] = known.values.to_pylist()
            if _is_textual(field, values):
                found[field.name] = values
    return found


def _is_textual(field: Field, values: Sequence[str]) -> bool:
    if field.textual is not None:
        return field.textual
    return is_worded(list(islice(values, LOOKED_AT)))
