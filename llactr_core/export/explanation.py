"""The terms of a trained model's logit, in ONNX: what `llactr_core.explainer` reads."""

from pathlib import Path

from torch import Tensor

from llactr_core.enhancers.model import CTRModel, ServingGraph
from llactr_core.export.graph import example_rows
from llactr_core.export.onnx_file import write_onnx

Named = dict[str, Tensor]


class ExplanationGraph(ServingGraph):
    """Looked-up rows [B, K, d (+ 1)] -> those of first [B, K], fm and fie [B, K, K], rest [B] that exist."""

    def forward(self, rows: Tensor) -> Named:  # type: ignore[override]
        """The terms by name; with w_0 they sum to the logit."""
        terms, fie = self.terms(rows)
        parts = {"first": terms.first, "fm": terms.pairs, "rest": terms.rest, "fie": fie}
        return {name: part for name, part in parts.items() if part is not None}


def export_explanation(model: CTRModel, path: Path) -> None:
    """Write the terms of the logit as ONNX; a term that the model does not have is no output."""
    graph, example = ExplanationGraph(model).eval(), example_rows(model)
    write_onnx(graph, example, list(graph(example)), path)
