"""Embedding, backbone and enhancer as one trainable model."""

import torch
from torch import Tensor, nn

from llactr_core.enhancers.base import Enhancer
from llactr_core.models.base import Backbone
from llactr_core.models.embedding import FeatureEmbedding, split_rows


class CTRModel(nn.Module):
    """logit = w_0 + backbone(v, w), the enhancer's pair weights among its own; the enhancer may add a field to v and w.

    Args:
        embedding: the table of embeddings, of V ids.
        backbone: what is made of them.
        enhancer: what joins them.
        origins: int64 [V], the id whose own row each id has: itself, or the unseen id of its field where train had the
            value too rarely for a row, or never: then only its text is known. None where each id has its own.
    """

    origins: Tensor | None

    def __init__(
        self, embedding: FeatureEmbedding, backbone: Backbone, enhancer: Enhancer, origins: Tensor | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("origins", origins, persistent=False)
        self.embedding = embedding
        self.backbone = backbone
        self.enhancer = enhancer
        self.bias = nn.Parameter(torch.zeros(()))  # w_0

    def forward(
        self, ids: Tensor, weights: Tensor | None, table: Tensor | None = None, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logit [B] and what the backbone read, v [B, K, d] or [B, K + 1, d], of ids and weights [B, S].

        The ids are places in `table` [R, d (+ 1)], the rows of the ids `known` [R] with their offsets; by default the
        table is all of them.
        """
        table = self.folded() if table is None else table
        v, w = self.embedding(ids, weights, table)
        if self.enhancer.adds_field:
            v, w = with_field(v, w, self.enhancer.field(ids if known is None else known[ids]))
        logit: Tensor = self.bias + self.backbone(v, w, self.enhancer.pair_weights())
        return logit, v

    @torch.no_grad()
    def folded(self) -> Tensor:
        """The table with the enhancer's offsets in it, [V, d (+ 1)]: what is looked up when the model is served.

        Where there are no offsets it is the table itself, not a copy.
        """
        table: Tensor = self.embedding.table
        if self.origins is not None:
            table = table[self.origins]
        offsets = self.enhancer.offsets(torch.arange(len(table), device=table.device))
        return table if offsets is None else table + offsets

    @torch.no_grad()
    def constant_pairs(self) -> Tensor | None:
        """Weights of <v_i, v_j> in the logit that no row changes, the backbone's and the enhancer's, [K, K].

        With one more field they are [K + 1, K + 1]. Those above the diagonal count; None where there is no such term.
        """
        parts = [part for part in (self.backbone.pair_weights(), self.enhancer.pair_weights()) if part is not None]
        return torch.stack(parts).sum(0).triu(1) if parts else None


def with_field(v: Tensor, w: Tensor, row: Tensor | None) -> tuple[Tensor, Tensor]:
    """v [B, K, d] and w [B, K] (or [B, 0]) with one more field, of a row [B, d (+ 1)]."""
    if row is None:
        return v, w
    more_v, more_w = split_rows(row.unsqueeze(1), v.shape[2])  # [B, 1, d], [B, 1]
    return torch.cat([v, more_v], 1), torch.cat([w, more_w], 1)
