"""Wukong: Zhang et al., "Wukong: Towards a Scaling Law for Large-Scale Recommendation", ICML 2024.

https://arxiv.org/abs/2403.02545

    X_0 = [v_1, ..., v_K]                                                  embeddings as rows, n of them in a layer
    X_{l+1} = LN([FMB(X_l); LCB(X_l)] + X_l)                               n_F + n_L embeddings
    FMB(X) = reshape(MLP(LN(flatten(X X^T Y))))                            factorization machine block
    LCB(X) = W_L X                                                         linear compression block
    y = w_0 + MLP(flatten(X_L))

Each layer doubles the highest order of interaction. Y [n, k] keeps the products of the pairs at n k instead of n^2,
and X (X^T Y) their cost at n d k. Where a layer changes the number of embeddings, the residual is projected.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from llactr_core.errors import OptionError
from llactr_core.models.base import Backbone, BackboneOptions, Shape
from llactr_core.models.mlp import MLP, Hidden, Rate


def _mixing(outputs: int, inputs: int) -> nn.Parameter:
    """A matrix [outputs, inputs] that mixes the embeddings of a row."""
    matrix = torch.empty(outputs, inputs)
    nn.init.xavier_uniform_(matrix)
    return nn.Parameter(matrix)


class FactorizationMachineBlock(nn.Module):
    """FMB: n embeddings [B, n, d] -> n_F embeddings [B, n_F, d], by way of the inner products of all pairs."""

    def __init__(self, n: int, d: int, outputs: int, rank: int, hidden: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.outputs, self.width = outputs, d
        self.y = _mixing(n, rank)
        self.norm = nn.LayerNorm(n * rank)
        self.mlp = MLP(n * rank, hidden, dropout, outputs=outputs * d)

    def forward(self, x: Tensor, xty: Tensor) -> Tensor:
        """X [B, n, d] and X^T Y [B, d, k] -> [B, n_F, d]."""
        products = torch.bmm(x, xty)  # [B, n, k]: X X^T Y
        mixed: Tensor = self.mlp(self.norm(products.flatten(1)))  # [B, n * k] -> [B, n_F * d]
        return mixed.view(x.shape[0], self.outputs, self.width)  # [B, n_F, d]


class WukongLayer(nn.Module):
    """One interaction layer: n embeddings [B, n, d] -> n_F + n_L embeddings [B, n_F + n_L, d]."""

    def __init__(self, n: int, d: int, options: "Wukong.Options") -> None:
        super().__init__()
        outputs = options.fmb + options.lcb
        self.fmb = FactorizationMachineBlock(n, d, options.fmb, options.rank, options.fmb_hidden, options.dropout)
        self.lcb = _mixing(options.lcb, n)
        self.residual = None if outputs == n else _mixing(outputs, n)
        self.norm = nn.LayerNorm(d)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, d] -> [B, n_F + n_L, d]."""
        xty, compressed, old = self._mixed(x)
        new = torch.cat([self.fmb(x, xty), compressed], 1)  # [B, n_F + n_L, d]
        y: Tensor = self.norm(new + old)
        return y

    def _mixed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """X^T Y [B, d, k], the linear compression [B, n_L, d] and the residual [B, n_F + n_L, d].

        While training they are one batched product: X would else be transposed in memory for each, also backwards.
        """
        y, lcb, residual = self.fmb.y, self.lcb, self.residual
        if not torch.is_grad_enabled():
            old = x if residual is None else torch.matmul(residual, x)
            return torch.matmul(x.transpose(1, 2), y), torch.matmul(lcb, x), old
        matrices = [y.T, lcb] if residual is None else [y.T, lcb, residual]
        mixed = torch.bmm(torch.cat(matrices).expand(len(x), -1, -1), x)
        ytx, compressed, *rest = torch.split(mixed, [len(matrix) for matrix in matrices], 1)
        return ytx.transpose(1, 2), compressed, rest[0] if rest else x


class Wukong(Backbone):
    """Stacked layers of factorization machine and linear compression, then a multi-layer perceptron."""

    class Options(BackboneOptions):
        """Layers; embeddings n_F and n_L that a layer makes; rank k of Y; hidden widths in FMB and in the head."""

        layers: int = Field(default=3, ge=1, le=16)
        fmb: int = Field(default=16, ge=1, le=1024)
        lcb: int = Field(default=16, ge=1, le=1024)
        rank: int = Field(default=16, ge=1, le=1024)
        fmb_hidden: Hidden = (128,)
        hidden: Hidden = (256, 128)
        dropout: Rate = 0.0

    first_order: ClassVar[bool] = False

    def __init__(self, shape: Shape, options: Options) -> None:
        """Build the layers.

        Raises:
            OptionError: the embeddings have a single dimension, which a LayerNorm would make constant.
        """
        super().__init__()
        if shape.width < 2:
            raise OptionError(f"wukong normalises each embedding: give an embedding width >= 2, not {shape.width}")
        n = options.fmb + options.lcb
        counts = (shape.fields, *[n] * (options.layers - 1))
        self.layers = nn.Sequential(*(WukongLayer(count, shape.width, options) for count in counts))
        self.mlp = MLP(n * shape.width, options.hidden, options.dropout, outputs=1)

    def hidden(self, v: Tensor, w: Tensor) -> Tensor:
        """The last hidden layer of the head, [B, hidden[-1]]."""
        x: Tensor = self.layers(v)
        return self.mlp.hidden(x.flatten(1))

    def rest(self, v: Tensor) -> Tensor:
        """All of the logit, [B]."""
        x: Tensor = self.layers(v)  # [B, K, d] -> [B, n_F + n_L, d]
        y: Tensor = self.mlp(x.flatten(1))  # [B, (n_F + n_L) * d] -> [B, 1]
        return y.squeeze(1)  # [B]
