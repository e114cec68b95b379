"""What stages 1 and 2 of LARR read: items and users in words, with a mark before each attribute."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from llactr_core.data.canonical import canonical_array
from llactr_core.data.encoding import Encoder
from llactr_core.data.labels import label_values
from llactr_core.data.read import Source
from llactr_core.enhancers.ctrl.sentences import readable_texts
from llactr_core.enhancers.larr.texts import Thing, mark
from llactr_core.errors import DataError
from llactr_core.schema import Field, Kind, Schema
from llactr_core.semantics.values.textual import textual_values

MOST_CLICKS = 1_000_000  # the first ones; far more than pairs are drawn from
CLICKED = "clicked"  # the mark of what a user clicked


@dataclass(frozen=True)
class Corpus:
    """The clicks of train in words.

    Args:
        items: by what names them in the data.
        users: likewise; they may have no attribute.
        clicks: (user, item) in the order of the data, each once, a million at most.
        described: the item's attribute that the others have to predict, the longest one.
        marks: the special tokens of all attributes.
    """

    items: Mapping[str, Thing]
    users: Mapping[str, Thing]
    clicks: tuple[tuple[str, str], ...]
    described: str
    marks: tuple[str, ...]

    @classmethod
    def read(cls, schema: Schema, encoder: Encoder, train: Source) -> Self:
        """The corpus of a training source.

        Raises:
            DataError: the schema names no side "item" or "user", or items have fewer than two attributes in words.
        """
        texts = textual_values(encoder)
        sides = {side: [f for f in schema.fields if f.side == side] for side in ("user", "item")}
        worded = {side: [f.name for f in fields if f.name in texts] for side, fields in sides.items()}
        if not sides["user"] or len(worded["item"]) < 2:
            raise DataError(
                f"stages 1 and 2 of 'larr' read users and items in words, but schema {schema.name!r} has "
                f"{len(sides['user'])} fields of side 'user' and {len(worded['item'])} textual ones of side 'item' "
                "(two are needed); name the sides, or set larr.pretrain_epochs and larr.contrast_epochs to 0"
            )
        names = {side: _naming(encoder, fields) for side, fields in sides.items()}
        items, users, clicks = _gathered(schema, train, names, worded)
        if len(items) < 2 or not clicks:
            raise DataError("stages 1 and 2 of 'larr' need clicks on two items at least; set their epochs to 0")
        lengths = {name: np.mean([len(value) for value in texts[name]]) for name in worded["item"]}
        marks = tuple(mark(name) for name in (*worded["user"], *worded["item"], CLICKED))
        return cls(items, users, tuple(clicks), max(lengths, key=lambda name: lengths[name]), marks)


def _naming(encoder: Encoder, fields: Sequence[Field]) -> str:
    """The field with the most values, one a row: it tells one user, or item, from another."""
    single = [field for field in fields if field.kind != Kind.MULTI_VALUED]
    if not single:
        raise DataError(
            f"{', '.join(field.name for field in fields)} hold lists only, so that nothing names who is who"
        )
    sizes = {field.name: len(encoder.encoders[encoder.schema.names.index(field.name)]) for field in single}
    return max(sizes, key=lambda name: sizes[name])


def _gathered(
    schema: Schema, train: Source, names: Mapping[str, str], worded: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Thing], dict[str, Thing], dict[tuple[str, str], None]]:
    things: dict[str, dict[str, Thing]] = {"user": {}, "item": {}}
    clicks: dict[tuple[str, str], None] = {}
    columns = dict.fromkeys([*names.values(), *worded["user"], *worded["item"], str(schema.label)])
    for batch in train.batches([_column(schema, name) for name in columns]):
        keys = {side: _keys(batch.column(_column(schema, name))) for side, name in names.items()}
        known = {
            field.name: readable_texts(field, batch.column(field.column)).cast(pa.string()).to_pylist()
            for field in schema.fields
            if field.name in {*worded["user"], *worded["item"]}
        }
        for side, its in things.items():
            for row, key in enumerate(keys[side]):
                if key is not None and key not in its:
                    pairs = ((name, known[name][row]) for name in worded[side])
                    its[key] = Thing(tuple((name, value) for name, value in pairs if value))
        clicked = label_values(batch.column(str(schema.label)), str(schema.label), 1).astype(bool)
        for user, item, click in zip(keys["user"], keys["item"], clicked, strict=True):
            if click and user is not None and item is not None and len(clicks) < MOST_CLICKS:
                clicks[user, item] = None
    return things["item"], things["user"], clicks


def _column(schema: Schema, name: str) -> str:
    return next((field.column for field in schema.fields if field.name == name), name)


def _keys(column: pa.Array) -> list[str | None]:
    found: list[str | None] = canonical_array(column).cast(pa.string()).to_pylist()
    return found


def distinct(things: Iterable[Thing]) -> list[Thing]:
    """Each different one once, in order."""
    return list(dict.fromkeys(things))
