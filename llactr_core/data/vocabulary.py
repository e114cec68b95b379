"""The values of a field and their ids: three special ids, then the values from the most to the least frequent."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

PADDING, MISSING, UNSEEN, FIRST_VALUE = 0, 1, 2, 3

Ids = npt.NDArray[np.int32]


class Vocabulary:
    """The canonical strings of one field from local id 3 on, and how often train had each; immutable.

    Args:
        values: distinct, [V_k - 3].
        counts: int64 [V_k - 3].
    """

    def __init__(self, values: pa.Array, counts: npt.NDArray[np.int64]) -> None:
        self.values = values
        self.counts = counts

    def __len__(self) -> int:
        """The number of ids V_k, the special ones included."""
        return FIRST_VALUE + len(self.values)

    def extended(self, newer: "Vocabulary", most: int) -> "Vocabulary":
        """This vocabulary with the values of a newer one added behind its own, until there are `most`.

        Counts of values that both know are added.
        """
        values, theirs = (v.cast(pa.large_string()) for v in (self.values, newer.values))
        places = pc.index_in(theirs, value_set=values)
        known = places.is_valid().to_numpy(zero_copy_only=False)
        counts = self.counts.copy()
        counts[places.drop_null().to_numpy()] += newer.counts[known]
        room = max(0, most - len(values))
        values = pa.concat_arrays([values, theirs.filter(pa.array(~known)).slice(0, room)])
        return Vocabulary(values, np.concatenate([counts, newer.counts[~known][:room]]))


class ValueCounter:
    """Counts the distinct values of a stream of any length in bounded memory.

    At most `limit` distinct values are held. Past it the rarer half is dropped, as lossy counting does (Manku and
    Motwani, VLDB 2002): a value can only be undercounted, and only one that was rare when it was dropped.
    """

    def __init__(self, limit: int = 8_000_000) -> None:
        self.limit = limit
        self.dropped = 0
        self._total = _count_table(pa.array([], pa.string()), pa.array([], pa.int64()))
        self._pending: list[pa.Table] = []
        self._pending_rows = 0

    def add(self, values: pa.DictionaryArray) -> None:
        """Count the canonical values of one batch; nulls are not counted."""
        counts = np.bincount(pc.fill_null(values.indices, len(values.dictionary)), minlength=len(values.dictionary) + 1)
        self._pending.append(_count_table(values.dictionary, pa.array(counts[:-1], pa.int64())))
        self._pending_rows += len(values.dictionary)
        if self._pending_rows > max(100_000, self._total.num_rows):
            self._merge()

    def top(self, min_count: int, most: int) -> Vocabulary:
        """The values seen at least `min_count` times, at most `most` of them, the most frequent first."""
        self._merge()
        kept = self._total.filter(pc.field("count") >= min_count)
        kept = kept.sort_by([("count", "descending"), ("value", "ascending")]).slice(0, most)
        return Vocabulary(kept["value"].combine_chunks(), kept["count"].to_numpy())

    def _merge(self) -> None:
        merged = pa.concat_tables([self._total, *self._pending]).group_by("value").aggregate([("count", "sum")])
        merged = _count_table(merged["value"], merged["count_sum"])
        if merged.num_rows > self.limit:
            self.dropped += merged.num_rows - self.limit // 2
            merged = merged.sort_by([("count", "descending"), ("value", "ascending")]).slice(0, self.limit // 2)
        self._total, self._pending, self._pending_rows = merged, [], 0


def _count_table(values: pa.Array, counts: pa.Array) -> pa.Table:
    return pa.table({"value": values, "count": counts})
