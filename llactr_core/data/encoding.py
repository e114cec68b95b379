"""Rows to ids: fitted once on train, saved in the bundle, the same code at training and at serving."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llactr_core.data.canonical import canonical_array
from llactr_core.data.fields import (
    RAW_BYTES,
    CategoricalEncoder,
    FieldEncoder,
    Knots,
    MultiValuedEncoder,
    NumericEncoder,
    flat_array,
    read_numbers,
    split_values,
)
from llactr_core.data.parts import part_values
from llactr_core.data.values.cells import Cells
from llactr_core.data.values.index import FieldIndex, ValueIndex
from llactr_core.data.vocabulary import FIRST_VALUE, MISSING, UNSEEN, Ids, ValueCounter, Vocabulary
from llactr_core.errors import BundleError, DataError, RowError
from llactr_core.schema import Field, Kind, Schema

VOCABULARY_FILE = "vocabulary.arrow"
INDEX_FILE = "index.npy"
ENCODING_FILE = "encoding.json"
SAMPLED_NUMBERS = 131_072


@dataclass(frozen=True)
class Encoded:
    """B rows in S slots: ids int32 [B, S] into the one table of all fields, weights float32 [B, S] or None for ones."""

    ids: Ids
    weights: npt.NDArray[np.float32] | None

    def __len__(self) -> int:
        """The number of rows B."""
        return len(self.ids)


class Encoder:
    """Encodes rows of a schema. Field k owns the ids offsets[k] .. offsets[k] + V_k; `size` is the sum V.

    Args:
        schema: the fields.
        known: the vocabulary of each field, or the knots of a numeric one, [K].
        index: of the values of all vocabularies; by default it is built.
    """

    def __init__(self, schema: Schema, known: Sequence[Vocabulary | Knots], index: ValueIndex | None = None) -> None:
        self.schema = schema
        self.known = tuple(known)
        self.index = index or ValueIndex.build([_values_of(one) for one in known])
        pairs = zip(schema.fields, known, strict=True)
        self.encoders = tuple(_encoder(field, one, self.index.field(k)) for k, (field, one) in enumerate(pairs))
        sizes = [len(e) for e in self.encoders]
        self.offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
        self.size = int(sum(sizes))
        self.slot_field: npt.NDArray[np.int64] = np.repeat(np.arange(len(sizes)), [e.slots for e in self.encoders])
        self.first_slots = np.searchsorted(self.slot_field, np.arange(len(sizes)))
        self._slot_offsets = self.offsets[self.slot_field]
        self.weighted = any(e.kind != Kind.CATEGORICAL for e in schema.fields)
        self._column_of = {column: c for c, column in enumerate(schema.columns)}
        looked_up = [k for k, e in enumerate(self.encoders) if isinstance(e, CategoricalEncoder) and not e.field.part]
        self._looked_up = tuple(looked_up)
        self._others = tuple(k for k in range(len(self.encoders)) if k not in looked_up)
        plan = [(k, self._column_of[schema.fields[k].column], self.first_slots[k]) for k in looked_up]
        self._plan = np.array(plan, np.int64).ravel()

    @classmethod
    def fit(cls, schema: Schema, batches: Iterable[pa.RecordBatch]) -> "Encoder":
        """Learn vocabularies and knots in one streamed pass; memory is bounded by the vocabularies.

        Raises:
            DataError: a column of the schema is missing, or there are no rows.
        """
        fitters = [_FITTERS[field.kind](field) for field in schema.fields]
        rows = 0
        for batch in batches:
            _check_columns(schema, batch.schema.names)
            for fitter in fitters:
                with _naming(fitter.field, DataError):
                    fitter.add(batch.column(fitter.field.column))
            rows += batch.num_rows
        if rows == 0:
            raise DataError("the training data has no rows; give at least one row of each class")
        return cls(schema, [fitter.finish() for fitter in fitters])

    def extended(self, newer: "Encoder") -> "Encoder":
        """This encoder with the values of a newer one added behind its own; knots stay as they are.

        Counts of values that both know are added. Local ids of known values do not change.
        """
        pairs = zip(self.encoders, newer.encoders, strict=True)
        return Encoder(self.schema, [old.extended(new) for old, new in pairs])

    def knowing(self, values: Mapping[str, Sequence[str]]) -> "Encoder":
        """This encoder with ids for these canonical values too, by field, behind its own; a numeric field has none.

        Their count is 0 where train lacks them.
        """
        known: list[Vocabulary | Knots] = []
        for field, own in zip(self.schema.fields, self.known, strict=True):
            added = pa.array(values.get(field.name, ()), pa.large_string())
            if isinstance(own, Vocabulary) and len(added):
                own = own.extended(Vocabulary(added, np.zeros(len(added), np.int64)), len(own.values) + len(added))
            known.append(own)
        return Encoder(self.schema, known)

    def with_more(self, index: ValueIndex) -> "Encoder":
        """This encoder with ids from `size` on for the values of an index, field by field; it has no vocabulary of
        theirs."""
        starts = self.size + index.first[:-1] - self.offsets
        return Encoder(self.schema, self.known, self.index.with_more(index, starts))

    def has(self, field: str, values: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which canonical values of a field with a vocabulary have ids, bool [n]."""
        return self.index.field(self.schema.names.index(field)).ids_of(values) >= FIRST_VALUE

    def ids_of(self, field: str, values: Sequence[str]) -> npt.NDArray[np.int64]:
        """The ids of a field's canonical values, int64 [n]; -1 for those that have none."""
        number = self.schema.names.index(field)
        known = self.known[number]
        if not isinstance(known, Vocabulary):
            return np.full(len(values), -1)
        local = pc.index_in(pa.array(values, pa.large_string()), value_set=known.values.cast(pa.large_string()))
        place = local.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return np.where(place < 0, -1, place + FIRST_VALUE + self.offsets[number])

    def rarer_than(self, count: int) -> npt.NDArray[np.bool_]:
        """Which ids are of values that train had fewer times than this, bool [V]."""
        chosen = np.zeros(self.size, np.bool_)
        for offset, known in zip(self.offsets, self.known, strict=True):
            if isinstance(known, Vocabulary):
                first = offset + FIRST_VALUE
                chosen[first : first + len(known.counts)] = known.counts < count
        return chosen

    def encode_cells(self, cells: Cells) -> Encoded:
        """Encode cells [B, C] of the schema's columns, in their order.

        Raises:
            RowError: a value cannot be read; names row and field.
        """
        ids = np.empty((len(cells), len(self.slot_field)), np.int32)
        weights = np.ones(ids.shape, np.float32) if self.weighted else None
        has_odd = self.index.find(cells, self._plan, ids, RAW_BYTES)
        for k in self._looked_up if has_odd else ():
            encoder, start = self.encoders[k], self.first_slots[k]
            encoder.mend(ids[:, start], cells, self._column_of[encoder.field.column])  # type: ignore[attr-defined]
        for k in self._others:
            encoder, start = self.encoders[k], self.first_slots[k]
            end = start + encoder.slots
            local, weight = encoder.encode_cells(cells, self._column_of[encoder.field.column])
            ids[:, start:end] = local
            if weights is not None and weight is not None:
                weights[:, start:end] = weight
        ids += self._slot_offsets
        return Encoded(ids, weights)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """How often each id was seen in train, int64 [V]; 0 for special ids and for knots."""
        counts = np.zeros(self.size, np.int64)
        for offset, known in zip(self.offsets, self.known, strict=True):
            if isinstance(known, Vocabulary):
                counts[offset + FIRST_VALUE : offset + FIRST_VALUE + len(known.counts)] = known.counts
        return counts

    @property
    def unseen_ids(self) -> Ids:
        """For every id of the table the unseen id of its field, int32 [V]."""
        sizes = [len(e) for e in self.encoders]
        return np.repeat(self.offsets + UNSEEN, sizes).astype(np.int32)

    def encode_batch(self, batch: pa.RecordBatch | pa.Table) -> Encoded:
        """Encode an Arrow batch; a column that is not there is missing in every row.

        Raises:
            RowError: a column is there twice, a value is nested or not UTF-8, or its type cannot be read.
        """
        names = batch.schema.names
        absent = pa.nulls(batch.num_rows, pa.string())
        slots = []
        for encoder in self.encoders:
            column = encoder.field.column
            if names.count(column) > 1:
                raise RowError(f"column {column!r} is there {names.count(column)} times; give it once", field=column)
            with _naming(encoder.field, RowError):
                slots.append(encoder.encode_array(batch.column(column) if column in names else absent))
        return self._fuse(batch.num_rows, slots)

    def encode_rows(self, rows: Sequence[Mapping[str, object]]) -> Encoded:
        """Encode rows given as mappings from column to value.

        Raises:
            RowError: a row is no mapping or a value is nested; names row and field.
        """
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                given = type(row).__name__
                raise RowError(f"row {number} is {given!r}, not an object; give each as {{field: value}}", row=number)
        slots = [e.encode_values([row.get(e.field.column) for row in rows]) for e in self.encoders]
        return self._fuse(len(rows), slots)

    def encode_columns(self, columns: Mapping[str, Sequence[object]]) -> Encoded:
        """Encode columns of equal length, lists or numpy arrays.

        Raises:
            RowError: a column is no list, the lengths differ, or a value is nested.
        """
        length = column_length(columns)
        absent = [None] * length
        slots = [e.encode_values(list(columns.get(e.field.column, absent))) for e in self.encoders]
        return self._fuse(length, slots)

    def flags(self, encoded: Encoded) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which fields of each row were missing and which held an unseen value, two bool [B, K]."""
        local = encoded.ids - self.offsets[self.slot_field]
        missing = np.logical_or.reduceat(local == MISSING, self.first_slots, axis=1)
        return missing, np.logical_or.reduceat(local == UNSEEN, self.first_slots, axis=1)

    def as_trained(self, ids: Ids) -> Ids:
        """Ids [B, S] with the unseen one of its field in place of each from `size` on."""
        return np.where(ids < self.size, ids, self._slot_offsets + UNSEEN)

    def save(self, directory: Path) -> None:
        """Write vocabularies and knots into a directory."""
        counts, knots = [np.empty(0, np.int64)], {}
        for encoder in self.encoders:
            if isinstance(encoder, NumericEncoder):
                knots[encoder.field.name] = encoder.knots.tolist()
            else:
                counts.append(encoder.vocabulary.counts)  # type: ignore[attr-defined]
        owners = np.repeat(np.arange(len(self.encoders), dtype=np.int16), np.diff(self.index.first))
        columns = {"field": pa.array(owners), "value": self.index.values, "count": pa.array(np.concatenate(counts))}
        batch = pa.record_batch(columns)  # one batch: the index tells places in the bytes of all values
        with pa.OSFile(str(directory / VOCABULARY_FILE), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        self.index.save(directory / INDEX_FILE)
        (directory / ENCODING_FILE).write_text(json.dumps({"knots": knots}), encoding="utf-8")

    @classmethod
    def load(cls, schema: Schema, directory: Path) -> "Encoder":
        """Read what `save` wrote.

        Raises:
            BundleError: a file is missing or unreadable.
        """
        try:
            knots = json.loads((directory / ENCODING_FILE).read_text(encoding="utf-8"))["knots"]
            with pa.memory_map(str(directory / VOCABULARY_FILE)) as source:
                table = pa.ipc.open_file(source).read_all()
            return cls._of_tables(schema, knots, table, directory / INDEX_FILE)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise BundleError(f"cannot read the encoding in {directory}: {error!r}; restore or retrain it") from error

    @classmethod
    def _of_tables(
        cls, schema: Schema, knots: Mapping[str, Sequence[float]], table: pa.Table, index_file: Path
    ) -> "Encoder":
        first = np.searchsorted(table["field"].to_numpy(), np.arange(len(schema.fields) + 1))
        values = table["value"].combine_chunks()
        counts = table["count"].to_numpy()
        known: list[Vocabulary | Knots] = []
        for field, start, end in zip(schema.fields, first[:-1], first[1:], strict=True):
            if field.kind == Kind.NUMERIC:
                known.append(np.array(knots[field.name], np.float64))
            else:
                known.append(Vocabulary(values.slice(start, end - start), counts[start:end]))
        if not index_file.exists():  # a bundle of an older format
            return cls(schema, known)
        return cls(schema, known, ValueIndex.load(values, first.astype(np.int64), index_file))

    def _fuse(self, rows: int, slots: Sequence[tuple[Ids, npt.NDArray[np.float32] | None]]) -> Encoded:
        ids = np.empty((rows, len(self.slot_field)), np.int32)
        weights = np.ones(ids.shape, np.float32) if self.weighted else None
        start = 0
        for offset, (local, weight) in zip(self.offsets, slots, strict=True):
            end = start + local.shape[1]
            np.add(local, offset, out=ids[:, start:end])
            if weights is not None and weight is not None:
                weights[:, start:end] = weight
            start = end
        return Encoded(ids, weights)


def column_length(columns: Mapping[str, Sequence[object]]) -> int:
    """The common length B of columns.

    Raises:
        RowError: a column is no list, or the lengths differ.
    """
    lengths = {}
    for name, column in columns.items():
        listed = column.ndim > 0 if isinstance(column, np.ndarray) else isinstance(column, Sequence)
        if isinstance(column, str | bytes) or not listed:
            raise RowError(f"column {name!r} is no list; give each column as a list of values", field=name)
        lengths[name] = len(column)
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise RowError(f"the columns differ in length ({shown}); give every column the same number of values")
    return next(iter(lengths.values()), 0)


class _ValueFitter:
    def __init__(self, field: Field) -> None:
        self.field = field
        self._counter = ValueCounter()

    def add(self, array: pa.Array) -> None:
        if self.field.kind == Kind.MULTI_VALUED:
            parts = [p for value in flat_array(self.field, array).to_pylist() for p in split_values(self.field, value)]
            self._counter.add(pa.array(parts, pa.string()).dictionary_encode())
            return
        array = flat_array(self.field, array)
        self._counter.add(canonical_array(array if self.field.part is None else part_values(self.field, array)))

    def finish(self) -> Vocabulary:
        return self._counter.top(self.field.min_count, self.field.max_vocabulary)


class _NumberFitter:
    """Quantiles of a systematic sample: every n-th number, where n doubles whenever the sample is full."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._sample = np.empty(0)
        self._step = 1
        self._seen = 0

    def add(self, array: pa.Array) -> None:
        numbers, _ = read_numbers(self.field, array)
        numbers = numbers[np.isfinite(numbers)]
        first = -self._seen % self._step
        self._sample = np.concatenate([self._sample, numbers[first :: self._step]])
        self._seen += len(numbers)
        while len(self._sample) > SAMPLED_NUMBERS:
            self._sample = self._sample[::2]
            self._step *= 2

    def finish(self) -> Knots:
        if not len(self._sample):
            return np.empty(0)
        shares = np.linspace(0, 1, self.field.buckets)
        return np.unique(np.quantile(self._sample / 2, shares) * 2)  # no overflow


_FITTERS: dict[Kind, type[_ValueFitter] | type[_NumberFitter]] = {
    Kind.CATEGORICAL: _ValueFitter,
    Kind.MULTI_VALUED: _ValueFitter,
    Kind.NUMERIC: _NumberFitter,
}


def _values_of(known: Vocabulary | Knots) -> pa.Array:
    return known.values if isinstance(known, Vocabulary) else pa.array([], pa.large_string())


def _encoder(field: Field, known: Vocabulary | Knots, index: FieldIndex) -> FieldEncoder:
    if not isinstance(known, Vocabulary):
        return NumericEncoder(field, known)
    made = MultiValuedEncoder if field.kind == Kind.MULTI_VALUED else CategoricalEncoder
    return made(field, known, index)


@contextmanager
def _naming(field: Field, kind: type[DataError] | type[RowError]) -> Iterator[None]:
    """Whatever a column cannot be read for becomes an error of one kind that names the field."""
    try:
        yield
    except RowError as error:
        raise kind(error.detail, row=error.row if kind is RowError else None, field=field.column) from error
    except (DataError, pa.ArrowException, ValueError, OverflowError) as error:
        raise kind(f"field {field.name!r}: its column cannot be read: {error}", field=field.column) from error


def _check_columns(schema: Schema, names: Sequence[str]) -> None:
    absent = [c for c in schema.columns if c not in names]
    if absent:
        raise DataError(
            f"the data lacks the column(s) {', '.join(map(repr, absent))} of schema {schema.name!r}; "
            f"it has {', '.join(map(repr, names))}"
        )
