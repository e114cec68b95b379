"""The multi-layer perceptron that the deep backbones share."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

Units = Annotated[int, Field(ge=1, le=8192)]
Hidden = Annotated[tuple[Units, ...], Field(min_length=1, max_length=8)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer with Xavier-uniform weights and zero bias."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class MLP(nn.Module):
    """Layers of linear -> ReLU -> dropout, then a plain linear layer to `outputs` where that is asked for.

    A single output has no bias: it is a part of a logit, and the model as a whole has the bias w_0.

    Example:
        >>> MLP(104, (300, 128), dropout=0.1, outputs=1)(torch.zeros(32, 104)).shape
        torch.Size([32, 1])
    """

    def __init__(self, inputs: int, hidden: Sequence[int], dropout: float = 0.0, outputs: int | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((inputs, *hidden[:-1]), hidden, strict=True):
            layers += [linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        if outputs is not None:
            layers.append(linear(hidden[-1], outputs, bias=outputs > 1))
        self.layers = nn.Sequential(*layers)
        self.outputs = hidden[-1] if outputs is None else outputs

    def hidden(self, x: Tensor) -> Tensor:
        """[B, inputs] -> the last hidden layer [B, hidden[-1]], where a linear layer to `outputs` follows."""
        y: Tensor = self.layers[:-1](x)
        return y

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs] -> [B, outputs], or the last hidden layer [B, hidden[-1]] where no `outputs` were asked for."""
        y: Tensor = self.layers(x)
        return y
