"""A trained model's serving graph, in ONNX."""

from pathlib import Path

import torch
from torch import Tensor

from llactr_core.enhancers.model import CTRModel, ServingGraph
from llactr_core.export.onnx_file import write_onnx


def export_graph(model: CTRModel, path: Path) -> None:
    """Write logit [B] = graph(rows [B, K, d (+ 1)]) as ONNX, without the embedding table."""
    write_onnx(ServingGraph(model).eval(), example_rows(model), ["logit"], path)


def example_rows(model: CTRModel) -> Tensor:
    """Looked-up rows [2, K, d (+ 1)] of the model's shape."""
    embedding = model.embedding
    return torch.zeros(2, embedding.fields, embedding.table.shape[1])
