"""What is left of a trained model behind the table look-up and the weighted pairs, in ONNX."""

import torch
from torch import Tensor, nn

from llactr_core.enhancers.larr.larr import Larr
from llactr_core.enhancers.model import CTRModel
from llactr_core.export.onnx_file import onnx_of
from llactr_core.models.base import Backbone


class RestGraph(nn.Module):
    """The backbone's rest: v [B, K, d] -> [B]; with LARR the scene's aggregate is one more of the K fields."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, v: Tensor) -> Tensor | None:
        """[B], or None where nothing is left."""
        return self.backbone.rest(v)


def exported_graph(model: CTRModel) -> bytes | None:
    """rest [B] = graph(v [B, K, d]) as ONNX; None where the logit has no rest."""
    fields = model.embedding.fields + model.enhancer.adds_field
    example = torch.zeros(2, fields, model.embedding.width)
    graph = RestGraph(model.backbone).eval()
    return None if graph(example) is None else onnx_of(graph, {"v": example}, ["rest"])


def exported_scene_graph(model: CTRModel) -> bytes | None:
    """LARR's aggregate [B, d (+ 1)] = graph(scenes [B, S, D']) as ONNX; None with another enhancer."""
    enhancer = model.enhancer
    if not isinstance(enhancer, Larr):
        return None
    scenes = torch.zeros(2, len(enhancer.slots), enhancer.options.width)
    return onnx_of(enhancer.encoder.eval(), {"scenes": scenes}, ["aggregate"])
