"""At most `sam_num` distinct values per field, from a stream, whatever the order of its rows and batches."""

import hashlib
import heapq
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from llactr_core.data.canonical import canonical, canonical_array
from llactr_core.data.parts import part_values
from llactr_core.errors import SchemaError
from llactr_core.schema import Field, Kind, Schema

Samples = dict[str, list[str]]


def draw_samples(schema: Schema, batches: Iterable[pa.RecordBatch], sam_num: int, seed: int) -> Samples:
    """Draw distinct values per field: those with the smallest keyed hashes, sorted.

    One pass; memory is bounded by K * `sam_num` values. The same set of values gives the same sample, however the
    rows are ordered or cut into batches. Missing values are no values; lists are taken apart.

    Raises:
        SchemaError: a batch lacks a column that a field reads.
    """
    keepers = {field.name: _BottomK(sam_num, seed) for field in schema.fields}
    for batch in batches:
        for field in schema.fields:
            keepers[field.name].update(_values(field, batch))
    return {name: keeper.values() for name, keeper in keepers.items()}


def clean_samples(schema: Schema, samples: Mapping[str, Sequence[str]], sam_num: int, seed: int) -> Samples:
    """Samples from anywhere in the form of `draw_samples`: per field distinct, at most `sam_num`, sorted.

    Fields without samples get an empty list.

    Raises:
        SchemaError: samples are given for a field that is not in the schema.
    """
    unknown = [name for name in samples if name not in schema.names]
    if unknown:
        raise SchemaError(
            f"samples are given for {', '.join(map(repr, unknown))}, which the schema {schema.name!r} does not have; "
            f"its fields: {', '.join(schema.names)}",
            field=unknown[0],
        )
    result = {}
    for name in schema.names:
        keeper = _BottomK(sam_num, seed)
        keeper.update(value for value in map(canonical, samples.get(name, ())) if value is not None)
        result[name] = keeper.values()
    return result


class _BottomK:
    """The `size` distinct strings with the smallest keyed hashes of all that were seen."""

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._key = f"llactr-sample-{seed}".encode()
        self._heap: list[tuple[int, str]] = []  # negated hashes: the largest hash is on top
        self._kept: set[str] = set()

    def update(self, values: Iterable[str]) -> None:
        for value in values:
            if value in self._kept:
                continue
            entry = (-self._hash(value), value)
            if len(self._heap) < self._size:
                heapq.heappush(self._heap, entry)
                self._kept.add(value)
            elif entry > self._heap[0]:
                _, dropped = heapq.heapreplace(self._heap, entry)
                self._kept.remove(dropped)
                self._kept.add(value)

    def values(self) -> list[str]:
        return sorted(self._kept)

    def _hash(self, value: str) -> int:
        raw = value.encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(raw, digest_size=8, key=self._key).digest(), "little")


def _values(field: Field, batch: pa.RecordBatch) -> Iterable[str]:
    """The values of a field in a batch: canonical, without missing ones, mostly without repetition."""
    if field.column not in batch.schema.names:
        raise SchemaError(
            f"the data has no column {field.column!r}, which the field {field.name!r} reads; "
            f"its columns: {', '.join(batch.schema.names)}",
            field=field.name,
        )
    column = batch.column(field.column)
    if field.part is not None:
        column = part_values(field, column)
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if lists:
        column = pc.list_flatten(column)
    texts = [text for text in canonical_array(column).unique().to_pylist() if text is not None]
    if field.kind is not Kind.MULTI_VALUED:
        return texts
    # As in encoding, a text is split at the separator and the items of a list are not.
    parts = (canonical(p.strip()) for text in texts for p in ([text] if lists else text.split(field.separator)))
    return (part for part in parts if part is not None)
