"""The flat hash from the bytes of a value to its id, for all fields of a schema: built once, then memory-mapped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llactr_core.data.values import hashing
from llactr_core.data.values.cells import Cells
from llactr_core.data.vocabulary import FIRST_VALUE, UNSEEN, Ids
from llactr_core.errors import BundleError

LOAD = 0.6  # of the slots are taken
LONGEST = 2**16 - 1  # bytes of a canonical value, and more than it can have
Slots = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class More:
    """Values that are looked for where an index has no place for them.

    Args:
        index: of the same fields.
        shifts: what is added to the place of a value among those of its field for its local id, int64 [K].
        fields: which fields have such values, bool [K].
    """

    index: "ValueIndex"
    shifts: npt.NDArray[np.int64]
    fields: npt.NDArray[np.bool_]

    def find(self, cells: Cells, plan: npt.NDArray[np.int64], out: Ids, longest: int) -> None:
        """Put the local ids of those that are unseen in `out` and found here in their places."""
        if UNSEEN not in out:
            return
        steps = plan.reshape(-1, 3)
        steps = steps[self.fields[steps[:, 0]]]
        if not len(steps):
            return
        columns = steps[:, 2]
        found = np.empty((len(out), len(steps)), np.int32)
        own = np.column_stack([steps[:, :2], np.arange(len(steps))])
        self.index.find(cells, own.ravel(), found, longest)
        before = out[:, columns]
        is_here = (before == UNSEEN) & (found >= FIRST_VALUE)
        out[:, columns] = np.where(is_here, found - FIRST_VALUE + self.shifts[steps[:, 0]], before)


class ValueIndex:
    """Finds local ids of values; safe to share between threads, and its memory between processes.

    Args:
        values: the values of all fields in turn, one array of large strings [V].
        first: the number of each field's first value, and V behind them, int64 [K + 1].
        slots: the hash, uint64 [2 n] (`llactr_core.data.values.hashing`).
        more: what is looked for behind them; None for nothing.
    """

    def __init__(
        self, values: pa.LargeStringArray, first: npt.NDArray[np.int64], slots: Slots, more: More | None = None
    ) -> None:
        self.values = values
        self.first = first
        self.slots = slots
        self._more = more
        self._texts, _ = _buffers(values)

    @classmethod
    def build(cls, vocabularies: Sequence[pa.Array]) -> "ValueIndex":
        """An index over the distinct values of K fields; a field without a vocabulary has an empty array.

        Frequent values come first in a vocabulary, and so into the places where they are found at once.
        """
        counts = [len(values) for values in vocabularies]
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        values = pa.concat_arrays([pa.array([], pa.large_string()), *(v.cast(pa.large_string()) for v in vocabularies)])
        slots = np.zeros(2 * (int(len(values) / LOAD) + 1), np.uint64)
        texts, ends = _buffers(values)
        hashing.fill(slots, texts, ends, np.repeat(np.arange(len(counts)), counts))
        return cls(values, first, slots)

    @classmethod
    def of_texts(cls, texts: Sequence[Sequence[str]]) -> "ValueIndex":
        """An index over the canonical values of each field in turn."""
        return cls.build([pa.array(values, pa.large_string()) for values in texts])

    def with_more(self, index: "ValueIndex", starts: npt.NDArray[np.int64]) -> "ValueIndex":
        """This index, which looks for what it lacks in another one.

        Args:
            index: of the same fields.
            starts: the local id of each field's first value there, int64 [K].
        """
        more = More(index, starts, np.diff(index.first) > 0)
        return ValueIndex(self.values, self.first, self.slots, more)

    @classmethod
    def load(cls, values: pa.LargeStringArray, first: npt.NDArray[np.int64], path: Path) -> "ValueIndex":
        """The index that `save` wrote for these values, memory-mapped.

        Raises:
            BundleError: the file is of other values.
        """
        slots = np.load(path, mmap_mode="r")
        if slots.dtype != np.uint64 or slots.ndim != 1 or len(slots) != 2 * (int(len(values) / LOAD) + 1):
            raise BundleError(f"{path} is no index of the {len(values)} values beside it; restore or retrain it")
        return cls(values, first, np.asarray(slots))

    def save(self, path: Path) -> None:
        """Write the slots; the values are the caller's to write."""
        np.save(path, self.slots)

    @property
    def nbytes(self) -> int:
        """Bytes of the slots and the texts."""
        return int(self.slots.nbytes + self._texts.nbytes) + (0 if self._more is None else self._more.index.nbytes)

    def find(self, cells: Cells, plan: npt.NDArray[np.int64], out: Ids, longest: int = LONGEST) -> bool:
        """Put local ids of cells into `out`; whether some are odd (-1), since they are not in canonical form.

        Args:
            cells: [B, C].
            plan: for each of F fields [its number, its column in the cells, its column in out], int64 [3 F].
            out: int32 [B, S].
            longest: bytes beyond which a text may have another canonical form.
        """
        given = (cells.data, cells.starts, cells.lengths, cells.kinds)
        odd: int = hashing.find(self.slots, self._texts, *given, plan, self.first, longest, out)
        if self._more is not None:
            self._more.find(cells, plan, out, longest)
        return odd > 0

    def field(self, number: int) -> "FieldIndex":
        """The view of one field."""
        return FieldIndex(self, number)


class FieldIndex:
    """The values of one field in an index."""

    def __init__(self, index: ValueIndex, number: int) -> None:
        self._index = index
        self._plan = np.array([number, 0, 0], np.int64)

    def ids_of(self, texts: Sequence[str | None]) -> Ids:
        """Local ids of canonical texts, int32 [B]; None is the missing one."""
        return self.ids_of_cells(Cells.of_texts(texts), LONGEST)[0]

    def ids_of_cells(self, cells: Cells, longest: int) -> tuple[Ids, bool]:
        """Local ids of cells [B, 1], int32 [B], and whether some are odd (-1), as those beyond `longest` bytes."""
        out = np.empty((len(cells), 1), np.int32)
        has_odd = self._index.find(cells, self._plan, out, longest)
        return out[:, 0], has_odd


def _buffers(values: pa.LargeStringArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of all texts, at least one, and where each ends, [V + 1]."""
    _, ends, texts = values.buffers()
    places: Any = np.frombuffer(ends, np.int64) if ends is not None and ends.size else np.zeros(1, np.int64)
    data: Any = np.frombuffer(texts, np.uint8) if texts is not None and texts.size else np.zeros(1, np.uint8)
    return data, places[values.offset : values.offset + len(values) + 1]
