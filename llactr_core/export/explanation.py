"""The terms of a trained model's logit, in ONNX: what `llactr_core.explainer` reads."""

import torch
from torch import Tensor, nn

from llactr_core.enhancers.larr.larr import Larr
from llactr_core.enhancers.model import CTRModel, with_field
from llactr_core.export.onnx_file import onnx_of
from llactr_core.models.base import Terms
from llactr_core.models.embedding import split_rows
from llactr_core.models.pairs import pair_terms

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
        fie = None if self.pairs is None else pair_terms(v, self.pairs)
        return _named(self.backbone.terms(v, w), fie)


class SceneExplanationGraph(nn.Module):
    """Rows [B, K, d (+ 1) + D'], the last columns being what the scene's fields tell, -> terms by name.

    The aggregate is made of all of the scene's fields, so its terms cannot be told apart by field: they are of the
    rest, which is shared out among the fields as deep parts are.
    """

    def __init__(self, model: CTRModel, enhancer: Larr) -> None:
        super().__init__()
        self.width = model.embedding.width
        self.columns = model.embedding.table.shape[1]
        self.scene = enhancer.fields.tolist()
        self.encoder = enhancer.encoder
        self.backbone = model.backbone

    def forward(self, rows: Tensor) -> Named:
        """The terms by name; with w_0 they sum to the logit."""
        v, w = split_rows(rows[:, :, : self.columns], self.width)
        scenes = torch.stack([rows[:, k, self.columns :] for k in self.scene], 1)  # [B, S, D']
        terms = self.backbone.terms(*with_field(v, w, self.encoder(scenes)))
        rest = rows.new_zeros(rows.shape[0]) if terms.rest is None else terms.rest
        first, pairs = terms.first, terms.pairs
        if first is not None:
            first, rest = first[:, :-1], rest + first[:, -1]
        if pairs is not None:
            pairs, rest = pairs[:, :-1, :-1], rest + pairs[:, :, -1].sum(1)
        return _named(Terms(first, pairs, rest), None)


def exported_explanation(model: CTRModel) -> bytes:
    """The terms of the logit as ONNX; a term that the model does not have is no output."""
    columns = model.embedding.table.shape[1]
    graph: nn.Module = ExplanationGraph(model)
    if isinstance(model.enhancer, Larr):
        columns += model.enhancer.options.width
        graph = SceneExplanationGraph(model, model.enhancer)
    example = torch.zeros(2, model.embedding.fields, columns)
    return onnx_of(graph.eval(), {"rows": example}, list(graph(example)))


def _named(terms: Terms, fie: Tensor | None) -> Named:
    parts = {"first": terms.first, "fm": terms.pairs, "rest": terms.rest, "fie": fie}
    return {name: part for name, part in parts.items() if part is not None}
