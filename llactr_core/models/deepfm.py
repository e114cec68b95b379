"""DeepFM: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.

https://arxiv.org/abs/1703.04247

    y = y_FM + y_DNN,    y_FM = sum_i w_i + sum_{i<j} <v_i, v_j>,    y_DNN = MLP([v_1; ...; v_K])

Both parts share the embeddings.
"""

from torch import Tensor

from llactr_core.models.base import BackboneOptions, Shape
from llactr_core.models.fm import FM
from llactr_core.models.mlp import MLP, Hidden, Rate


class DeepFM(FM):
    """A factorization machine beside a multi-layer perceptron on the concatenated embeddings."""

    class Options(BackboneOptions):
        """Hidden widths of the perceptron, and its dropout."""

        hidden: Hidden = (300, 300, 128)
        dropout: Rate = 0.0

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__(shape, options)
        self.dnn = MLP(shape.fields * shape.width, options.hidden, options.dropout, outputs=1)

    def hidden(self, v: Tensor, w: Tensor) -> Tensor:
        """The last hidden layer of the perceptron, [B, hidden[-1]]."""
        return self.dnn.hidden(v.flatten(1))

    def rest(self, v: Tensor) -> Tensor:
        """y_DNN, [B]."""
        y_dnn: Tensor = self.dnn(v.flatten(1))  # [B, K * d] -> [B, 1]
        return y_dnn.squeeze(1)
