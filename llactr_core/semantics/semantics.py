"""All that a language model has said of a dataset."""

from dataclasses import dataclass

from llactr_core.semantics.table import FieldTable
from llactr_core.semantics.values.table import ValueTable


@dataclass(frozen=True)
class Semantics:
    """The vectors of the fields, and those of the values of textual fields; None for what was not asked."""

    fields: FieldTable | None = None
    values: ValueTable | None = None
