"""Embedding, backbone and enhancer as one trainable model."""

import torch
from torch import Tensor, nn

from llactr_core.enhancers.base import Enhancer, pair_logit, pair_terms
from llactr_core.models.base import Backbone, Terms
from llactr_core.models.embedding import FeatureEmbedding, split_rows


class CTRModel(nn.Module):
    """logit = w_0 + backbone(v, w) + the enhancer's pair term."""

    def __init__(self, embedding: FeatureEmbedding, backbone: Backbone, enhancer: Enhancer) -> None:
        super().__init__()
        self.embedding = embedding
        self.backbone = backbone
        self.enhancer = enhancer
        self.bias = nn.Parameter(torch.zeros(()))  # w_0

    def forward(self, ids: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logit [B] and feature embeddings v [B, K, d] of ids and weights [B, S]."""
        v, w = self.embedding(ids, weights)
        return _logit(self.bias, self.backbone, v, w, self.enhancer.pair_weights()), v


class ServingGraph(nn.Module):
    """The part of a trained model behind the table look-up, with the enhancer folded into constants.

    Input: looked-up rows [B, K, d] or [B, K, d + 1] with the first-order weight last; output: logit [B].
    """

    pairs: Tensor | None

    def __init__(self, model: CTRModel) -> None:
        super().__init__()
        self.width = model.embedding.width
        self.backbone = model.backbone
        self.bias = model.bias
        pairs = model.enhancer.pair_weights()
        self.register_buffer("pairs", None if pairs is None else pairs.detach())

    def forward(self, rows: Tensor) -> Tensor:
        """Logit [B]."""
        v, w = split_rows(rows, self.width)
        return _logit(self.bias, self.backbone, v, w, self.pairs)

    def terms(self, rows: Tensor) -> tuple[Terms, Tensor | None]:
        """The backbone's terms, and FIE's [B, K, K] where there is one; with w_0 they sum to the logit."""
        v, w = split_rows(rows, self.width)
        return self.backbone.terms(v, w), None if self.pairs is None else pair_terms(v, self.pairs)


def _logit(bias: Tensor, backbone: Backbone, v: Tensor, w: Tensor, pairs: Tensor | None) -> Tensor:
    logit: Tensor = bias + backbone(v, w)
    return logit if pairs is None else logit + pair_logit(v, pairs)
