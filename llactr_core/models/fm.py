"""Factorization machine: Rendle, "Factorization Machines", ICDM 2010, https://doi.org/10.1109/ICDM.2010.127.

    y = w_0 + sum_i w_i + sum_{i<j} <v_i, v_j>

The features x_i are one-hot within their field, so w_i and v_i are those of the K values that a row has.
"""

from typing import ClassVar

import torch
from torch import Tensor

from llactr_core.models.base import Backbone, BackboneOptions, Shape
from llactr_core.models.pairs import pairwise


class FM(Backbone):
    """First-order weights and the inner products of all pairs; no parameters besides the embeddings."""

    class Options(BackboneOptions):
        """FM has no hyper-parameters of its own."""

    first_order: ClassVar[bool] = True

    def __init__(self, shape: Shape, options: BackboneOptions) -> None:
        super().__init__()
        self.fields = shape.fields

    def pair_weights(self) -> Tensor:
        """One for each pair."""
        return torch.ones(self.fields, self.fields)

    def pairs(self, v: Tensor, more: Tensor | None) -> Tensor | None:
        """The sum over i < j of (1 + more_ij) <v_i, v_j>, [B]."""
        return pairwise(v) if more is None else super().pairs(v, more)

    def rest(self, v: Tensor) -> Tensor | None:
        """Nothing."""
        return None
