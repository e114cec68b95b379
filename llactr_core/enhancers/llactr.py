"""LLaCTR's uses of the field vectors in training (arXiv 2505.14057), and ours of the values' vectors."""

import math

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from llactr_core.enhancers.base import Enhancer, Features
from llactr_core.enhancers.options import LlactrOptions
from llactr_core.enhancers.values import ValueOffsets


class FRE(nn.Module):
    """Feature representation enhancement: KL(softmax(W h_k) || softmax(v_bk)), averaged over batch and fields.

    Args:
        vectors: the field vectors h, [K, D].
        width: d.
    """

    vectors: Tensor

    def __init__(self, vectors: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)
        self.projection = nn.Linear(vectors.shape[1], width, bias=False)  # W

    def forward(self, features: Features) -> Tensor:
        """The loss, a scalar >= 0."""
        log_p = functional.log_softmax(self.projection(self.vectors), dim=-1)  # [K, d]
        p = log_p.exp()
        entropy = (p * log_p).sum(-1).mean()  # does not depend on the row
        cross: Tensor = _Cross.apply(features.vectors, p, features.fields, features.shares)  # type: ignore[no-untyped-call]
        return entropy - cross


class _Cross(torch.autograd.Function):
    """sum over n of s_n <p_f(n), log q_n>, with q_n = softmax(v_n): dv_n = s_n (p_f(n) - q_n), as p sums to 1."""

    @staticmethod
    def forward(ctx: FunctionCtx, v: Tensor, p: Tensor, fields: Tensor, shares: Tensor) -> Tensor:
        log_q = functional.log_softmax(v, dim=-1)  # [N, d]
        p_of = p.index_select(0, fields)  # [N, d]
        ctx.save_for_backward(log_q, p_of, fields, shares)
        ctx.fields = len(p)  # type: ignore[attr-defined]
        cross: Tensor = torch.dot(torch.linalg.vecdot(log_q, p_of), shares)
        return cross

    @staticmethod
    def backward(ctx: FunctionCtx, slope: Tensor) -> tuple[Tensor, Tensor, None, None]:
        log_q, p_of, fields, shares = ctx.saved_tensors  # type: ignore[attr-defined]
        scale = (slope * shares).unsqueeze(1)
        of_p = log_q.new_zeros(ctx.fields, log_q.shape[1]).index_add_(0, fields, log_q * scale)  # type: ignore[attr-defined]
        return (p_of - log_q.exp()).mul_(scale), of_p, None, None


class FIE(nn.Module):
    """Feature interaction enhancement: lambda * sum over i < j of g(h_i, h_j) <v_i, v_j> joins the logit.

    g is one function of the two field vectors for all pairs: <P h_i, P h_j> / sqrt(r) with a learned P of rank r, so a
    pair has no weight of its own and what is learned on one pair holds for every pair of like meaning.
    """

    vectors: Tensor

    def __init__(self, vectors: Tensor, rank: int) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)
        self.projection = nn.Linear(vectors.shape[1], rank, bias=False)  # P

    def forward(self) -> Tensor:
        """g for all pairs, symmetric [K, K] with a zero diagonal."""
        h = self.projection(self.vectors)  # [K, r]
        g: Tensor = h @ h.T / math.sqrt(h.shape[1])  # [K, K]
        return g - torch.diag(torch.diag(g))


class Llactr(Enhancer):
    """FRE and FIE on one field table, and the offsets of values.

    Args:
        vectors: the field vectors h, [K, D], in the order of the schema's fields; they are not trained. None where
            neither FRE nor FIE is asked for.
        width: d.
        options: strengths; a part with strength 0 is not built.
        values: what the texts of values add to their embeddings; None for nothing.
    """

    def __init__(
        self, vectors: Tensor | None, width: int, options: LlactrOptions, values: ValueOffsets | None = None
    ) -> None:
        super().__init__()
        self.options = options
        self.values = values
        self.fre = self.fie = None
        if vectors is not None:
            unit = functional.normalize(vectors, dim=-1)  # or a step of Adam would move g by lr * sqrt(D) times as much
            self.fre = FRE(unit, width) if options.fre_weight > 0 else None
            self.fie = FIE(unit, options.fie_rank) if options.fie_weight > 0 else None

    def loss(self, features: Features) -> Tensor:
        """The weighted FRE loss."""
        return features.vectors.new_zeros(()) if self.fre is None else self.options.fre_weight * self.fre(features)

    def offsets(self, rows: Tensor) -> Tensor | None:
        """What the texts of these ids' values add, [R, d (+ 1)]."""
        return None if self.values is None else self.values(rows)

    def pair_weights(self) -> Tensor | None:
        """lambda g(h_i, h_j), [K, K]."""
        return None if self.fie is None else self.options.fie_weight * self.fie()
