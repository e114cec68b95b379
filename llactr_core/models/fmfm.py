"""FmFM: Sun et al., "FM^2: Field-matrixed Factorization Machines for Recommender Systems", WWW 2021.

https://arxiv.org/abs/2102.12994

    y = w_0 + sum_i w_i + sum_{i<j} <v_i M_{F(i),F(j)}, v_j>

One matrix M [d, d] per pair of fields moves v_i into the space of field j. FM (M = 1) and FwFM (M = r 1) are
special cases.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from llactr_core.models.base import Backbone, BackboneOptions, Shape, Terms


class FmFM(Backbone):
    """A factorization machine with a matrix per pair of fields.

    The K(K-1)/2 matrices `m` are in the order of `torch.triu_indices`: (0, 1), (0, 2), ..., (K-2, K-1). They start at
    the identity, so that training starts from an FM.

    The sum over the pairs is one quadratic form of the concatenated embeddings in a block-triangular matrix, so no
    tensor has more than B * K * d or (K * d)^2 elements; the pairs themselves, [B, P, d], never exist.
    """

    class Options(BackboneOptions):
        """FmFM has no hyper-parameters of its own."""

    first_order: ClassVar[bool] = True
    cell: Tensor

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__()
        k, d = shape.fields, shape.width
        pairs = k * (k - 1) // 2
        self.m = nn.Parameter(torch.eye(d).repeat(pairs, 1, 1))  # [P, d, d]
        cell = torch.full((k, k), pairs)  # where in (m, 0) the matrix of a pair stands; the zero for i >= j
        cell[tuple(torch.triu_indices(k, k, offset=1))] = torch.arange(pairs)
        self.register_buffer("cell", cell.flatten(), persistent=False)

    def forward(self, v: Tensor, w: Tensor, more: Tensor | None = None) -> Tensor:
        """Logit [B] from v [B, K, d] and w [B, K]; `more` joins the diagonals of the matrices."""
        return w.sum(1) + _form(v, self.matrix(more))  # [B]

    def rest(self, v: Tensor) -> Tensor:
        """sum_{i<j} v_i M_ij v_j, [B]."""
        return _form(v, self.matrix())

    def matrix(self, more: Tensor | None = None) -> Tensor:
        """All matrices in one, [K * d, K * d]: block (i, j) is M_ij + more_ij I for i < j, else 0."""
        k, d = math.isqrt(len(self.cell)), self.m.shape[-1]
        blocks = torch.cat([self.m, self.m.new_zeros(1, d, d)])[self.cell]  # [K * K, d, d]
        if more is not None:
            blocks = blocks + more.triu(1).view(-1, 1, 1) * torch.eye(d, device=more.device)
        return blocks.view(k, k, d, d).transpose(1, 2).reshape(k * d, k * d)

    def terms(self, v: Tensor, w: Tensor) -> Terms:
        """Every part is of one field or of one pair."""
        k, d = v.shape[1], v.shape[2]
        rows = self.matrix().view(k, d, k * d)  # row i holds M_ij of all j
        moved = torch.matmul(v.transpose(0, 1), rows)  # [K, B, K * d]: (i, j) is v_i M_ij
        pairs = (moved.view(k, -1, k, d) * v).sum(3)  # [K, B, K]
        return Terms(first=w, pairs=pairs.transpose(0, 1))


def _form(v: Tensor, matrix: Tensor) -> Tensor:
    """The quadratic form [B] of the concatenated embeddings v [B, K, d] in a matrix [K * d, K * d]."""
    flat = v.flatten(1)
    return (torch.matmul(flat, matrix) * flat).sum(1)
