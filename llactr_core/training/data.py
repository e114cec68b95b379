"""Encoded rows in memory, and the batches of an epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from llactr_core.data.canonical import canonical_array
from llactr_core.data.encoding import Encoded, Encoder
from llactr_core.data.labels import read_labels
from llactr_core.data.read import Source
from llactr_core.errors import DataError
from llactr_core.schema import Schema
from llactr_core.training.seeds import derived_seed


@dataclass(frozen=True)
class Rows:
    """N rows: ids int32 [N, S], weights float32 [N, S] or None, labels float32 [N], groups int64 [N] or None."""

    ids: Tensor
    weights: Tensor | None
    labels: Tensor
    groups: npt.NDArray[np.int64] | None

    def __len__(self) -> int:
        """The number of rows N."""
        return len(self.labels)

    @property
    def encoded(self) -> Encoded:
        """The ids and weights as an encoder gives them."""
        weights: npt.NDArray[np.float32] | None = None if self.weights is None else self.weights.numpy()
        return Encoded(self.ids.numpy(), weights)

    def take(self, chosen: npt.NDArray[np.bool_]) -> "Rows":
        """The chosen ones, by a bool [N]."""
        which = torch.from_numpy(np.flatnonzero(chosen))
        weights = None if self.weights is None else self.weights[which]
        groups = None if self.groups is None else self.groups[chosen]
        return Rows(self.ids[which], weights, self.labels[which], groups)


@dataclass(frozen=True)
class Batch:
    """B of the rows.

    `own` [B, S] are the ids whose rows of the table are taken, `ids` those whose texts are; by default the same ones.
    """

    ids: Tensor
    weights: Tensor | None
    labels: Tensor
    own: Tensor | None = None


def load_rows(source: Source, schema: Schema, encoder: Encoder) -> Rows:
    """Encode a whole source; it holds 4 bytes per row and slot (8 where a field is numeric or multi-valued).

    Raises:
        DataError: the labels are not 0 and 1, or a column is missing.
    """
    if schema.label is None:
        raise DataError(f"schema {schema.name!r} names no label; set 'label' to the column that holds 0 or 1")
    labels = read_labels(source, schema.label)
    ids, weights, groups = [], [], []
    columns = dict.fromkeys([*schema.columns, *([schema.group] if schema.group else [])])
    for batch in source.batches(list(columns)):
        encoded = encoder.encode_batch(batch)
        ids.append(encoded.ids)
        if encoded.weights is not None:
            weights.append(encoded.weights)
        if schema.group is not None:
            groups.append(canonical_array(batch.column(schema.group)))
    return Rows(
        torch.from_numpy(np.concatenate(ids)),
        torch.from_numpy(np.concatenate(weights)) if weights else None,
        torch.from_numpy(labels.astype(np.float32)),
        _group_numbers(groups) if groups else None,
    )


class TrainingBatches:
    """Shuffled batches in which rare values are now and then replaced by the unseen id of their field.

    A value seen c times is replaced with probability z / (z + c), so that the unseen id learns from the values that
    are most like unseen ones (the word dropout of Kiperwasser and Goldberg, TACL 2016, with their z = 0.25).
    Everything random is derived from (seed, epoch): an epoch can be repeated exactly without any saved state.

    Args:
        rows: what is trained on.
        counts: int64 [V], how often each id occurs in train.
        unseen: int32 [V], the unseen id of each id's field.
        batch_size: B; the last batch of an epoch may be smaller.
        unseen_rate: z.
        seed: of the order and of the replacements.
        entities: slots of fields that name one thing together (`entities`).
        cold_rate: how often the fields of one are read as if the thing were not known, all of them at once.
    """

    def __init__(
        self,
        rows: Rows,
        counts: npt.NDArray[np.int64],
        unseen: npt.NDArray[np.int32],
        batch_size: int,
        unseen_rate: float,
        seed: int,
        entities: Sequence[npt.NDArray[np.int64]] = (),
        cold_rate: float = 0.0,
    ) -> None:
        self._entities = [torch.from_numpy(slots) for slots in entities] if cold_rate else []
        self._cold_rate = cold_rate
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        often = torch.from_numpy(counts).float()
        self._replaced = torch.where(often > 0, unseen_rate / (unseen_rate + often.clamp(min=1)), 0.0)
        self._unseen = torch.from_numpy(unseen)[rows.ids[0]]  # [S]: the ids of a slot are of one field

    def __len__(self) -> int:
        """The number of steps in an epoch."""
        return -(-len(self.rows) // self.batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from step `start` on."""
        random = torch.Generator().manual_seed(derived_seed(self.seed, number))
        order = torch.randperm(len(self.rows), generator=random)
        for step in range(start, len(self)):
            yield self._batch(order[step * self.batch_size : (step + 1) * self.batch_size], number, step)

    def _batch(self, which: Tensor, epoch: int, step: int) -> Batch:
        random = torch.Generator().manual_seed(derived_seed(self.seed, epoch, step))
        ids = self.rows.ids.index_select(0, which)
        replaced = self._replaced.index_select(0, ids.flatten()).view_as(ids)
        ids = torch.where(torch.rand(ids.shape, generator=random) < replaced, self._unseen, ids)
        weights = None if self.rows.weights is None else self.rows.weights[which]
        own = self._cold(ids, random) if self._entities else None
        return Batch(ids, weights, self.rows.labels[which], own)

    def _cold(self, ids: Tensor, random: torch.Generator) -> Tensor:
        own = ids.clone()
        for slots in self._entities:
            rows = torch.nonzero(torch.rand(len(ids), generator=random) < self._cold_rate)  # [n, 1]
            own[rows, slots] = self._unseen[slots]
        return own


def _group_numbers(groups: list[pa.DictionaryArray]) -> npt.NDArray[np.int64]:
    unified = pa.chunked_array(groups).combine_chunks()
    numbers: npt.NDArray[np.int64] = unified.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers
