"""DeepFM: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.

https://arxiv.org/abs/1703.04247

    y = y_FM + y_DNN,    y_FM = sum_i w_i + sum_{i<j} <v_i, v_j>,    y_DNN = MLP([v_1; ...; v_K])

Both parts share the embeddings.
"""

from typing import ClassVar

import torch
from torch import Tensor

from llactr_core.models.base import Backbone, BackboneOptions, Shape, Terms
from llactr_core.models.fm import pair_products, pairwise
from llactr_core.models.mlp import MLP, Hidden, Rate


class DeepFM(Backbone):
    """A factorization machine beside a multi-layer perceptron on the concatenated embeddings."""

    class Options(BackboneOptions):
        """Hidden widths of the perceptron, and its dropout."""

        hidden: Hidden = (300, 300, 128)
        dropout: Rate = 0.0

    first_order: ClassVar[bool] = True

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__()
        self.fields = shape.fields
        self.dnn = MLP(shape.fields * shape.width, options.hidden, options.dropout, outputs=1)

    def forward(self, v: Tensor, w: Tensor) -> Tensor:
        """Logit [B] from v [B, K, d] and w [B, K]."""
        y_fm = w.sum(1) + pairwise(v)  # [B]
        return y_fm + self.rest(v)  # [B]

    def hidden(self, v: Tensor, w: Tensor) -> Tensor:
        """The last hidden layer of the perceptron, [B, hidden[-1]]."""
        return self.dnn.hidden(v.flatten(1))

    def pair_weights(self) -> Tensor:
        """One for each pair."""
        return torch.ones(self.fields, self.fields)

    def rest(self, v: Tensor) -> Tensor:
        """y_DNN, [B]."""
        y_dnn: Tensor = self.dnn(v.flatten(1))  # [B, K * d] -> [B, 1]
        return y_dnn.squeeze(1)

    def terms(self, v: Tensor, w: Tensor) -> Terms:
        """y_FM by field and by pair; the rest is y_DNN."""
        return Terms(first=w, pairs=pair_products(v), rest=self.rest(v))
