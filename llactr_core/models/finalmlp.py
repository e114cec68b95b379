"""FinalMLP: Mao et al., "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction", AAAI 2023.

https://arxiv.org/abs/2304.00902

    e = [v_1; ...; v_K]
    h_s = 2 sigmoid(Gate_s(x_s)) * e                                 for the streams s = 1, 2 (feature selection)
    o_s = MLP_s(h_s)
    y = w_0 + w_1 o_1 + w_2 o_2 + sum_t o_1t^T W_t o_2t              over the heads t (bilinear fusion)

The gates make the streams differ: x_1 are the user's features and x_2 the item's. Where no field has that side, x_s is
a learned vector, as in the paper.
"""

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from llactr_core.models.base import Backbone, BackboneOptions, Shape
from llactr_core.models.mlp import MLP, Hidden, Rate, linear


class FeatureGate(nn.Module):
    """Feature selection of one stream: e [B, K * d] -> 2 sigmoid(MLP(context)) * e, close to e at the start.

    The context are the embeddings of the fields on `side`, or a learned vector [d] where there are none.
    """

    chosen: Tensor

    def __init__(self, shape: Shape, side: str, hidden: tuple[int, ...]) -> None:
        super().__init__()
        fields = [i for i, its in enumerate(shape.sides) if its == side]
        self.register_buffer("chosen", torch.tensor(fields, dtype=torch.long), persistent=False)
        self.context = None if fields else nn.Parameter(torch.randn(1, shape.width) * shape.width**-0.5)
        self.gate = MLP(max(len(fields), 1) * shape.width, hidden, outputs=shape.fields * shape.width)

    def forward(self, v: Tensor) -> Tensor:
        """Gated embeddings [B, K * d] from v [B, K, d]."""
        context = v.index_select(1, self.chosen).flatten(1) if self.context is None else self.context  # [B or 1, n * d]
        weight = 2.0 * torch.sigmoid(self.gate(context))  # [B or 1, K * d]
        return weight * v.flatten(1)  # [B, K * d]


class BilinearFusion(nn.Module):
    """Two streams o_1 [B, p] and o_2 [B, q] -> w_1 o_1 + w_2 o_2 + sum over heads of o_1t^T W_t o_2t: [B]."""

    def __init__(self, p: int, q: int, heads: int) -> None:
        super().__init__()
        self.w_1 = linear(p, 1, bias=False)
        self.w_2 = linear(q, 1, bias=False)
        head = torch.empty(heads, p // heads, q // heads)
        for matrix in head:
            nn.init.xavier_uniform_(matrix)
        self.w_3 = nn.Parameter(head)

    def forward(self, o_1: Tensor, o_2: Tensor) -> Tensor:
        """Logit [B]."""
        heads, p, q = self.w_3.shape
        a = o_1.view(o_1.shape[0], heads, p).transpose(0, 1)  # [heads, B, p / heads]
        b = o_2.view(o_2.shape[0], heads, q).transpose(0, 1)  # [heads, B, q / heads]
        second = (torch.bmm(a, self.w_3) * b).sum((0, 2))  # [B]
        first: Tensor = self.w_1(o_1) + self.w_2(o_2)  # [B, 1]
        return first.squeeze(1) + second  # [B]


class FinalMLP(Backbone):
    """Two gated multi-layer perceptrons, fused by a bilinear form."""

    class Options(BackboneOptions):
        """Hidden widths of the two streams and of the gates, the dropout of the streams, the heads of the fusion."""

        hidden_1: Hidden = (300, 300, 128)
        hidden_2: Hidden = (300, 128)
        gate_hidden: Hidden = (64,)
        heads: int = Field(default=4, ge=1, le=256)
        dropout: Rate = 0.0

        @model_validator(mode="after")
        def _heads_divide_the_streams(self) -> Self:
            if self.hidden_1[-1] % self.heads or self.hidden_2[-1] % self.heads:
                ends = f"{self.hidden_1[-1]} and {self.hidden_2[-1]}"
                raise ValueError(f"heads={self.heads} must divide the last width of hidden_1 and of hidden_2 ({ends})")
            return self

    first_order: ClassVar[bool] = False

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__()
        inputs = shape.fields * shape.width
        self.gate_1 = FeatureGate(shape, "user", options.gate_hidden)
        self.gate_2 = FeatureGate(shape, "item", options.gate_hidden)
        self.mlp_1 = MLP(inputs, options.hidden_1, options.dropout)
        self.mlp_2 = MLP(inputs, options.hidden_2, options.dropout)
        self.fusion = BilinearFusion(self.mlp_1.outputs, self.mlp_2.outputs, options.heads)

    def hidden(self, v: Tensor, w: Tensor) -> Tensor:
        """Both streams, [B, p + q]."""
        return torch.cat(self._streams(v), 1)

    def rest(self, v: Tensor) -> Tensor:
        """All of the logit, [B]."""
        o_1, o_2 = self._streams(v)
        y: Tensor = self.fusion(o_1, o_2)  # [B]
        return y

    def _streams(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """o_1 [B, p] and o_2 [B, q] from v [B, K, d]."""
        return self.mlp_1(self.gate_1(v)), self.mlp_2(self.gate_2(v))
