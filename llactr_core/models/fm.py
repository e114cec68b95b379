"""Factorization machine: Rendle, "Factorization Machines", ICDM 2010, https://doi.org/10.1109/ICDM.2010.127.

    y = w_0 + sum_i w_i + sum_{i<j} <v_i, v_j>

The features x_i are one-hot within their field, so w_i and v_i are those of the K values that a row has.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from llactr_core.models.base import Backbone, BackboneOptions, Shape, Terms


def pairwise(v: Tensor) -> Tensor:
    """Sum over i<j of <v_i, v_j>: [B, K, d] -> [B], in O(Kd) by the paper's lemma 3.1.

    Twice the sum over the pairs is the square of the sum minus the sum of the squares, in each of the d dimensions.
    """
    logit: Tensor = _Pairwise.apply(v)  # type: ignore[no-untyped-call]
    return logit


class _Pairwise(torch.autograd.Function):
    """The gradient of v_i is the sum of the others."""

    @staticmethod
    def forward(ctx: FunctionCtx, v: Tensor) -> Tensor:
        total = v.sum(1)  # [B, d]
        ctx.save_for_backward(v, total)
        flat = v.flatten(1)
        logit: Tensor = 0.5 * (torch.linalg.vecdot(total, total) - torch.linalg.vecdot(flat, flat))  # [B]
        return logit

    @staticmethod
    def backward(ctx: FunctionCtx, slope: Tensor) -> Tensor:
        v, total = ctx.saved_tensors  # type: ignore[attr-defined]
        gradient: Tensor = (total.unsqueeze(1) - v).mul_(slope.view(-1, 1, 1))
        return gradient


def pair_products(v: Tensor) -> Tensor:
    """<v_i, v_j> of each pair i<j: [B, K, d] -> [B, K, K], strictly upper triangular."""
    return torch.matmul(v, v.transpose(1, 2)).triu(1)


class FM(Backbone):
    """First-order weights and the inner products of all pairs; no parameters besides the embeddings."""

    class Options(BackboneOptions):
        """FM has no hyper-parameters of its own."""

    first_order: ClassVar[bool] = True

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__()
        self.fields = shape.fields

    def forward(self, v: Tensor, w: Tensor) -> Tensor:
        """Logit [B] from v [B, K, d] and w [B, K]."""
        return w.sum(1) + pairwise(v)

    def pair_weights(self) -> Tensor:
        """One for each pair."""
        return torch.ones(self.fields, self.fields)

    def rest(self, v: Tensor) -> None:
        """Nothing."""

    def terms(self, v: Tensor, w: Tensor) -> Terms:
        """Every part is of one field or of one pair."""
        return Terms(first=w, pairs=pair_products(v))
