"""The embeddings of all fields in one table."""

import torch
from torch import Tensor, nn
from torch.nn import functional

INITIAL_STD = 0.01


class FeatureEmbedding(nn.Module):
    """One table [V, d] (or [V, d + 1], whose last column is the first-order weight) for the ids of all K fields.

    Args:
        size: V, the number of ids over all fields.
        width: d.
        slot_field: int64 [S], the field that each slot of a row belongs to.
        first_order: whether the last column holds first-order weights.
    """

    slot_field: Tensor

    def __init__(self, size: int, width: int, slot_field: Tensor, first_order: bool) -> None:
        super().__init__()
        self.width = width
        self.first_order = first_order
        self.fields = int(slot_field[-1]) + 1
        table = torch.randn(size, width + first_order).mul_(INITIAL_STD)  # in place: there is no room for two of them
        if first_order:
            table[:, -1] = 0
        self.table = nn.Parameter(table)
        self.register_buffer("slot_field", slot_field, persistent=False)

    def forward(self, ids: Tensor, weights: Tensor | None, table: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings v [B, K, d] and first-order weights w [B, K] ([B, 0] without) of ids and weights [B, S].

        The ids are places in `table` [R, d (+ 1)], all or some of its rows.
        """
        if weights is None and torch.is_grad_enabled():  # split before rows are repeated: less to copy, also backwards
            v, w = (functional.embedding(ids, part.contiguous()) for part in split_rows(table, self.width))
            return v, w.flatten(1)
        rows = functional.embedding(ids, table)  # [B, S, d (+ 1)]
        if weights is not None:
            rows = rows * weights.unsqueeze(-1)
            empty = rows.new_zeros(len(rows), self.fields, rows.shape[-1])
            rows = empty.index_add(1, self.slot_field, rows)  # [B, K, d (+ 1)]
        return split_rows(rows, self.width)


def split_rows(rows: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """v [B, K, d] and w [B, K], or [B, 0] where rows [B, K, d] have no first-order column."""
    v, w = rows[..., :width], rows[..., width:]
    return v, w.flatten(1)
