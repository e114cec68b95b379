"""What is left of a trained model behind the table look-up and the weighted pairs, in ONNX."""

import torch
from torch import Tensor, nn

from llactr_core.enhancers.larr.larr import Larr
from llactr_core.enhancers.model import CTRModel, with_field
from llactr_core.export.onnx_file import onnx_of
from llactr_core.models.base import Backbone


class RestGraph(nn.Module):
    """The backbone's rest: v [B, K, d] -> [B]."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, v: Tensor) -> Tensor | None:
        """[B], or None where nothing is left."""
        return self.backbone.rest(v)


class SceneGraph(nn.Module):
    """The rest with the scene's aggregate as field K + 1: v [B, K, d] and scene rows [B, S, D'] -> [B].

    The look-up knows neither the aggregate's first-order weight nor its pairs, so they are a part of the rest.
    """

    pairs: Tensor

    def __init__(self, model: CTRModel, enhancer: Larr) -> None:
        super().__init__()
        self.encoder = enhancer.encoder
        self.backbone = model.backbone
        fields = model.embedding.fields
        pairs = model.constant_pairs()
        self.register_buffer("pairs", torch.zeros(fields) if pairs is None else pairs[:fields, fields])  # [K]

    def forward(self, v: Tensor, scenes: Tensor) -> Tensor:
        """[B]."""
        whole, w = with_field(v, v.new_zeros(len(v), 0), self.encoder(scenes))  # [B, K + 1, d], [B, 1] or [B, 0]
        mixed = (v * self.pairs.unsqueeze(1)).sum(1)  # [B, d]
        logit: Tensor = (mixed * whole[:, -1]).sum(1) + w.sum(1)
        rest = self.backbone.rest(whole)
        return logit if rest is None else logit + rest


def exported_graph(model: CTRModel) -> bytes | None:
    """rest [B] = graph(v [B, K, d]) as ONNX; None where the logit has no rest.

    With LARR it is graph(v, scenes [B, S, D']).
    """
    example = torch.zeros(2, model.embedding.fields, model.embedding.width)
    if isinstance(model.enhancer, Larr):
        scenes = torch.zeros(2, len(model.enhancer.slots), model.enhancer.options.width)
        return onnx_of(SceneGraph(model, model.enhancer).eval(), {"v": example, "scenes": scenes}, ["rest"])
    graph = RestGraph(model.backbone).eval()
    return None if graph(example) is None else onnx_of(graph, {"v": example}, ["rest"])
