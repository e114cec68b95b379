"""FwFM: Pan et al., "Field-weighted Factorization Machines for Click-Through Rate Prediction", WWW 2018.

https://arxiv.org/abs/1806.03514

    y = w_0 + sum_i w_i + sum_{i<j} r_{F(i),F(j)} <v_i, v_j>

One weight r per pair of fields says how strongly these two interact. Of the paper's three forms of the linear term
this is the plain one, with a weight w_i per value (FwFM_LW).
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from llactr_core.models.base import Backbone, BackboneOptions, Shape


class FwFM(Backbone):
    """A factorization machine whose pairs are weighted by their fields.

    The K(K-1)/2 weights `r` are in the order of `torch.triu_indices`: (0, 1), (0, 2), ..., (K-2, K-1). They start at
    one, so that training starts from an FM.
    """

    class Options(BackboneOptions):
        """FwFM has no hyper-parameters of its own."""

    first_order: ClassVar[bool] = True
    cell: Tensor

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__()
        k = shape.fields
        pairs = k * (k - 1) // 2
        self.r = nn.Parameter(torch.ones(pairs))
        cell = torch.full((k, k), pairs)  # where in (r, 0) the weight of a pair stands; the zero for i >= j
        cell[tuple(torch.triu_indices(k, k, offset=1))] = torch.arange(pairs)
        self.register_buffer("cell", cell.flatten(), persistent=False)

    def pair_weights(self) -> Tensor:
        """r as a matrix, [K, K], strictly upper triangular."""
        k = math.isqrt(len(self.cell))
        return torch.cat([self.r, self.r.new_zeros(1)])[self.cell].view(k, k)

    def rest(self, v: Tensor) -> None:
        """Nothing."""
