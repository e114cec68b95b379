"""Sums over the pairs of a row's embeddings."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


def pairwise(v: Tensor) -> Tensor:
    """Sum over i<j of <v_i, v_j>: [B, K, d] -> [B], in O(Kd) by lemma 3.1 of Rendle's paper on FM.

    Twice the sum over the pairs is the square of the sum minus the sum of the squares, in each of the d dimensions.
    """
    logit: Tensor = _Pairwise.apply(v)  # type: ignore[no-untyped-call]
    return logit


def pair_logit(v: Tensor, weights: Tensor) -> Tensor:
    """Sum over i<j of weights_ij <v_i, v_j>: [B] from v [B, K, d] and [K, K], whose part above the diagonal counts.

    It is in the precision of v, also under autocast.
    """
    with torch.autocast(v.device.type, enabled=False):
        upper = weights.to(v.dtype).triu(1)
        logit: Tensor = _PairLogit.apply(v, upper + upper.T)  # type: ignore[no-untyped-call]
    return logit


def pair_terms(v: Tensor, weights: Tensor) -> Tensor:
    """The parts of `pair_logit`: [B, K, K], strictly upper triangular."""
    return (weights * torch.matmul(v, v.transpose(1, 2))).triu(1)


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


class _PairLogit(torch.autograd.Function):
    """With symmetric weights G and P_b = v_b v_b^T: y_b = 1/2 <G, P_b>, dy_b/dv_b = G v_b, dy_b/dG = 1/2 P_b."""

    @staticmethod
    def forward(ctx: FunctionCtx, v: Tensor, weights: Tensor) -> Tensor:
        products = torch.bmm(v, v.transpose(1, 2)).flatten(1)  # [B, K * K]
        ctx.save_for_backward(v, weights, products)
        logit: Tensor = 0.5 * torch.mv(products, weights.flatten())
        return logit

    @staticmethod
    def backward(ctx: FunctionCtx, slope: Tensor) -> tuple[Tensor, Tensor]:
        v, weights, products = ctx.saved_tensors  # type: ignore[attr-defined]
        return torch.bmm(slope.view(-1, 1, 1) * weights, v), 0.5 * torch.mv(products.T, slope).view_as(weights)
