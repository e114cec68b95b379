"""The terms of a trained model's logit, in ONNX: what `llactr_core.explainer` reads."""

from pathlib import Path

import torch
from torch import Tensor, nn

from llactr_core.enhancers.base import pair_terms
from llactr_core.enhancers.model import CTRModel
from llactr_core.export.onnx_file import write_onnx
from llactr_core.models.embedding import split_rows

Named = dict[str, Tensor]


class ExplanationGraph(nn.Module):
    """Looked-up rows [B, K, d (+ 1)] -> those of first [B, K], fm and fie [B, K, K], rest [B] that exist."""

    pairs: Tensor | None

    def __init__(self, model: CTRModel) -> None:
        super().__init__()
        self.width = model.embedding.width
        self.backbone = model.backbone
        pairs = model.enhancer.pair_weights()
        self.register_buffer("pairs", None if pairs is None else pairs.detach())

    def forward(self, rows: Tensor) -> Named:
        """The terms by name; with w_0 they sum to the logit."""
        v, w = split_rows(rows, self.width)
        terms = self.backbone.terms(v, w)
        fie = None if self.pairs is None else pair_terms(v, self.pairs)
        parts = {"first": terms.first, "fm": terms.pairs, "rest": terms.rest, "fie": fie}
        return {name: part for name, part in parts.items() if part is not None}


def export_explanation(model: CTRModel, path: Path) -> None:
    """Write the terms of the logit as ONNX; a term that the model does not have is no output."""
    graph = ExplanationGraph(model).eval()
    example = torch.zeros(2, model.embedding.fields, model.embedding.table.shape[1])
    write_onnx(graph, {"rows": example}, list(graph(example)), path)
