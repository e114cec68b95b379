"""What is left of a trained model behind the table look-up and the weighted pairs, in ONNX."""

from pathlib import Path

import torch
from torch import Tensor, nn

from llactr_core.enhancers.model import CTRModel
from llactr_core.export.onnx_file import write_onnx
from llactr_core.models.base import Backbone


class RestGraph(nn.Module):
    """The backbone's rest: v [B, K, d] -> [B]."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, v: Tensor) -> Tensor | None:
        """[B], or None where nothing is left."""
        return self.backbone.rest(v)


def export_graph(model: CTRModel, path: Path) -> None:
    """Write rest [B] = graph(v [B, K, d]) as ONNX; no file where the logit has no rest."""
    graph = RestGraph(model.backbone).eval()
    example = torch.zeros(2, model.embedding.fields, model.embedding.width)
    if graph(example) is not None:
        write_onnx(graph, {"v": example}, ["rest"], path)
