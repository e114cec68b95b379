"""Parts of the judged rows by what train knew of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from llactr_core.data.encoding import Encoder
from llactr_core.data.vocabulary import UNSEEN
from llactr_core.training.data import Rows
from llactr_core.training.entities import entities

RARE = 5  # a value seen less often in train


@dataclass(frozen=True)
class Sides:
    """Which columns name users and which name items, and who says so.

    Args:
        users: names of fields.
        items: names of fields.
        said_by: "the schema", "the caller", or how they were found.
    """

    users: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    said_by: str = "nobody"

    @classmethod
    def of(cls, encoder: Encoder, train: Rows, user: str | None = None, item: str | None = None) -> Self:
        """Those that the schema names; else the columns given; else the items that a name and a text tell together."""
        fields = encoder.schema.fields
        users, items = (tuple(f.name for f in fields if f.side == side) for side in ("user", "item"))
        if users or items:
            return cls(users, items, "the schema")
        by_column = {f.column: f.name for f in fields}
        users, items = ((by_column[one],) if one in by_column else () for one in (user, item))
        if users or items:
            return cls(users, items, "the caller")
        groups = entities(encoder, train)
        slots = {int(slot): name for slot, name in zip(encoder.first_slots, encoder.schema.names, strict=True)}
        found = tuple(slots[int(slot)] for group in groups for slot in group)
        return cls((), found, "their values, which go together one to one with a text") if found else cls()

    def __str__(self) -> str:
        """In a sentence."""
        if not self.users and not self.items:
            return (
                "Nothing says which fields name users or items; a row is cold where a field's value was not in train."
            )
        named = [
            f"{what}: {', '.join(names)}" for what, names in (("users", self.users), ("items", self.items)) if names
        ]
        return f"Named by {self.said_by}: {'; '.join(named)}. Cold rows have a user or an item that train never had."


def slices_of(encoder: Encoder, train: Rows, rows: Rows, sides: Sides) -> dict[str, npt.NDArray[np.bool_]]:
    """Named bool [N] over the rows; only those that are neither empty nor everything.

    "cold" rows have an unseen value in a field that names a user or an item (in any field, where none is known to),
    "warm" ones have none; "cold user" and "cold item" tell which; "rare F" rows have a value of field F that train had
    less than five times or never.
    """
    counts = np.bincount(train.ids.numpy().ravel(), minlength=encoder.size)
    unseen, rare = {}, {}
    for number, field in enumerate(encoder.schema.fields):
        slots = np.flatnonzero(encoder.slot_field == number)
        if len(slots) > 1:  # lists: no single value that could be rare
            continue
        its = rows.ids.numpy()[:, slots[0]]
        unseen[field.name] = its == encoder.offsets[number] + UNSEEN
        unseen[field.name] |= counts[its] == 0  # a value that only its text is known of
        rare[f"rare {field.name}"] = counts[its] < RARE
    named = [name for name in (*sides.users, *sides.items) if name in unseen] or list(unseen)
    cold = _any(unseen, named, len(rows))
    found = {"cold": cold, "warm": ~cold}
    if sides.users and sides.items:
        found |= {"cold user": _any(unseen, sides.users, len(rows)), "cold item": _any(unseen, sides.items, len(rows))}
    found |= rare
    return {name: rows_of for name, rows_of in found.items() if 0 < rows_of.sum() < len(rows_of)}


def _any(unseen: dict[str, npt.NDArray[np.bool_]], names: Sequence[str], rows: int) -> npt.NDArray[np.bool_]:
    found = np.zeros(rows, np.bool_)
    for name in names:
        found |= unseen.get(name, False)
    return found
