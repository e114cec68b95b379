"""The six backbones on FuxiCTR 2.3.10: its wheel has base class, layers and training loop, but none of these models.

Each is written here in its published form on FuxiCTR's `BaseModel` and out of FuxiCTR's layers where it has one
(`FeatureEmbedding`, `LogisticRegression`, `FactorizationMachine`, `InnerProductInteraction`, `MLP_Block`), with the
option values that are LLaCTR's defaults, so that the parameters have the same shapes on both sides.
"""

import torch
from fuxictr.pytorch.layers import (  # type: ignore[import-not-found]
    FactorizationMachine,
    FeatureEmbedding,
    InnerProductInteraction,
    LogisticRegression,
    MLP_Block,
)
from fuxictr.pytorch.models import BaseModel  # type: ignore[import-not-found]
from torch import Tensor, nn

Inputs = dict[str, Tensor]


class Model(BaseModel):  # type: ignore[misc]
    """Embeddings of width d, and a logit that a subclass makes of them."""

    def __init__(self, feature_map: object, width: int, learning_rate: float, folder: str) -> None:
        super().__init__(feature_map, model_id=type(self).__name__, verbose=0, model_root=folder, metrics=["AUC"])
        self.fields, self.width = feature_map.num_fields, width  # type: ignore[attr-defined]
        self.embedding_layer = FeatureEmbedding(feature_map, width)
        self.make()
        self.compile("adam", "binary_cross_entropy", learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def make(self) -> None:
        """Make the layers behind the embeddings."""

    def logit(self, inputs: Inputs, v: Tensor) -> Tensor:
        """[B, 1] from the inputs by field and their embeddings v [B, K, d]."""
        raise NotImplementedError

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """The prediction as FuxiCTR's loop reads it."""
        x = self.get_inputs(inputs)
        return {"y_pred": self.output_activation(self.logit(x, self.embedding_layer(x)))}


class FM(Model):
    """Rendle, ICDM 2010."""

    def make(self) -> None:
        """One layer of FuxiCTR."""
        self.fm = FactorizationMachine(self.feature_map)

    def logit(self, inputs: Inputs, v: Tensor) -> Tensor:
        """[B, 1]."""
        return self.fm(inputs, v)  # type: ignore[no-any-return]


class DeepFM(FM):
    """Guo et al., IJCAI 2017."""

    def make(self) -> None:
        """FM beside a perceptron."""
        super().make()
        self.mlp = MLP_Block(self.fields * self.width, [300, 300, 128], output_dim=1)

    def logit(self, inputs: Inputs, v: Tensor) -> Tensor:
        """[B, 1]."""
        return super().logit(inputs, v) + self.mlp(v.flatten(start_dim=1))  # type: ignore[no-any-return]


class FwFM(Model):
    """Pan et al., WWW 2018, with a linear weight per value."""

    def make(self) -> None:
        """A weight per pair on FuxiCTR's inner products."""
        self.first = LogisticRegression(self.feature_map)
        self.products = InnerProductInteraction(self.fields, output="inner_product")
        self.weights = nn.Linear(self.fields * (self.fields - 1) // 2, 1, bias=False)

    def logit(self, inputs: Inputs, v: Tensor) -> Tensor:
        """[B, 1]."""
        return self.first(inputs) + self.weights(self.products(v))  # type: ignore[no-any-return]


class FmFM(Model):
    """Sun et al., WWW 2021, with a full matrix per pair."""

    def make(self) -> None:
        """A matrix per pair of fields."""
        self.first = LogisticRegression(self.feature_map)
        left, right = torch.triu_indices(self.fields, self.fields, offset=1)
        self.register_buffer("left", left)
        self.register_buffer("right", right)
        self.matrices = nn.Parameter(torch.eye(self.width).repeat(len(left), 1, 1))

    def logit(self, inputs: Inputs, v: Tensor) -> Tensor:
        """[B, 1]."""
        left, right = v.index_select(1, self.left), v.index_select(1, self.right)  # [B, P, d]
        moved = torch.matmul(left.unsqueeze(2), self.matrices).squeeze(2)  # [B, P, d]
        return self.first(inputs) + (moved * right).sum((1, 2)).unsqueeze(1)  # type: ignore[no-any-return]


class FinalMLP(Model):
    """Mao et al., AAAI 2023. Fields 0-3 are the user's and 4-6 the item's; the gates read the shared embeddings."""

    def make(self) -> None:
        """Two gated streams and their bilinear fusion."""
        flat = self.fields * self.width
        self.gate_1 = MLP_Block(4 * self.width, [64], output_dim=flat, output_activation="Sigmoid")
        self.gate_2 = MLP_Block(3 * self.width, [64], output_dim=flat, output_activation="Sigmoid")
        self.mlp_1 = MLP_Block(flat, [300, 300, 128])
        self.mlp_2 = MLP_Block(flat, [300, 128])
        self.w_1, self.w_2 = nn.Linear(128, 1), nn.Linear(128, 1)
        self.w_3 = nn.Parameter(torch.empty(4, 32, 32))
        nn.init.xavier_normal_(self.w_3)

    def logit(self, inputs: Inputs, v: Tensor) -> Tensor:
        """[B, 1]."""
        flat = v.flatten(start_dim=1)
        a = self.mlp_1(flat * self.gate_1(v[:, :4].flatten(1)) * 2)
        b = self.mlp_2(flat * self.gate_2(v[:, 4:7].flatten(1)) * 2)
        heads = torch.matmul(a.view(-1, 4, 1, 32), self.w_3).squeeze(2)  # [B, 4, 32]
        second = (heads * b.view(-1, 4, 32)).sum((1, 2)).unsqueeze(1)
        return self.w_1(a) + self.w_2(b) + second  # type: ignore[no-any-return]


class WukongLayer(nn.Module):
    """FMB and LCB of 16 embeddings each, rank 16, a hidden layer of 128, the residual and LayerNorm."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.y = nn.Linear(n, 16, bias=False)
        self.norm_in = nn.LayerNorm(n * 16)
        self.mlp = MLP_Block(n * 16, [128], output_dim=16 * d)
        self.lcb = nn.Linear(n, 16, bias=False)
        self.residual = nn.Identity() if n == 32 else nn.Linear(n, 32, bias=False)
        self.norm = nn.LayerNorm(d)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, d] -> [B, 32, d]."""
        turned = x.transpose(1, 2)  # [B, d, n]
        products = torch.bmm(x, self.y(turned))  # [B, n, 16]
        fmb = self.mlp(self.norm_in(products.flatten(1))).view(len(x), 16, -1)
        new = torch.cat([fmb, self.lcb(turned).transpose(1, 2)], dim=1)
        return self.norm(new + self.residual(turned).transpose(1, 2))  # type: ignore[no-any-return]


class WuKong(Model):
    """Zhang et al., ICML 2024, three layers."""

    def make(self) -> None:
        """The layers and the head."""
        self.layers = nn.Sequential(*(WukongLayer(n, self.width) for n in (self.fields, 32, 32)))
        self.mlp = MLP_Block(32 * self.width, [256, 128], output_dim=1)

    def logit(self, inputs: Inputs, v: Tensor) -> Tensor:
        """[B, 1]."""
        return self.mlp(self.layers(v).flatten(start_dim=1))  # type: ignore[no-any-return]


MODELS = {"fm": FM, "deepfm": DeepFM, "fwfm": FwFM, "fmfm": FmFM, "finalmlp": FinalMLP, "wukong": WuKong}
