"""AutoInt: Song et al., "AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks".

CIKM 2019, https://arxiv.org/abs/1810.11921

    a_ij = softmax over j of <Q x_i, K x_j>                       for each head, without a scale, as in the paper
    x'_i = ReLU([sum_j a_ij V x_j, of all heads] + R x_i)         one interacting layer; x_1, ..., x_K are its fields
    y = w_0 + w^T [x'_1; ...; x'_K]                               of the last layer
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from llactr_core.models.base import Backbone, BackboneOptions, Shape
from llactr_core.models.mlp import Rate, linear


class InteractingLayer(nn.Module):
    """Multi-head self-attention over the fields: [B, K, n] -> [B, K, heads * width]."""

    def __init__(self, inputs: int, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.query, self.key, self.value, self.residual = (linear(inputs, heads * width, bias=False) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """The fields, each with what it attends to."""
        query, key, value = (self._by_head(part(x)) for part in (self.query, self.key, self.value))
        attention = self.dropout(torch.softmax(torch.matmul(query, key.transpose(2, 3)), dim=-1))  # [B, heads, K, K]
        mixed = torch.matmul(attention, value).transpose(1, 2).flatten(2)  # [B, K, heads * width]
        return torch.relu(mixed + self.residual(x))

    def _by_head(self, x: Tensor) -> Tensor:
        """[B, K, heads * width] -> [B, heads, K, width]."""
        return x.view(*x.shape[:2], self.heads, self.width).transpose(1, 2)


class AutoInt(Backbone):
    """Stacked interacting layers, and one weight per number that they make."""

    class Options(BackboneOptions):
        """Layers; their heads, and the width of one; the dropout of the attention."""

        layers: int = Field(default=3, ge=1, le=16)
        heads: int = Field(default=2, ge=1, le=64)
        head_width: int = Field(default=32, ge=1, le=1024)
        dropout: Rate = 0.0

    first_order: ClassVar[bool] = False

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__()
        outputs = options.heads * options.head_width
        inputs = (shape.width, *[outputs] * (options.layers - 1))
        self.layers = nn.Sequential(
            *(InteractingLayer(n, options.heads, options.head_width, options.dropout) for n in inputs)
        )
        self.head = linear(shape.fields * outputs, 1, bias=False)

    def hidden(self, v: Tensor, w: Tensor) -> Tensor:
        """The fields after the last layer, [B, K * heads * width]."""
        x: Tensor = self.layers(v)
        return x.flatten(1)

    def rest(self, v: Tensor) -> Tensor:
        """All of the logit, [B]."""
        x: Tensor = self.layers(v)  # [B, K, d] -> [B, K, heads * width]
        y: Tensor = self.head(x.flatten(1))  # [B, 1]
        return y.squeeze(1)
