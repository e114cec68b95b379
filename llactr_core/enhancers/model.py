"""Embedding, backbone and enhancer as one trainable model."""

import torch
from torch import Tensor, nn

from llactr_core.enhancers.base import Enhancer, pair_logit
from llactr_core.models.base import Backbone
from llactr_core.models.embedding import FeatureEmbedding


class CTRModel(nn.Module):
    """logit = w_0 + backbone(v, w) + the enhancer's pair term.

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

    def forward(self, ids: Tensor, weights: Tensor | None, table: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logit [B] and feature embeddings v [B, K, d] of ids and weights [B, S].

        The ids are places in `table` [R, d (+ 1)], some rows with their offsets; by default it is all of them.
        """
        table = self.folded() if table is None else table
        v, w = self.embedding(ids, weights, table)
        return _logit(self.bias, self.backbone, v, w, self.enhancer.pair_weights()), v

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

        Those above the diagonal count; None where there is no such term.
        """
        parts = [part for part in (self.backbone.pair_weights(), self.enhancer.pair_weights()) if part is not None]
        return torch.stack(parts).sum(0).triu(1) if parts else None


def _logit(bias: Tensor, backbone: Backbone, v: Tensor, w: Tensor, pairs: Tensor | None) -> Tensor:
    logit: Tensor = bias + backbone(v, w)
    return logit if pairs is None else logit + pair_logit(v, pairs)
