"""LARR in training (arXiv 2408.11523): the scene's aggregate as one more field, aligned with the scene's embeddings."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from llactr_core.enhancers.base import Enhancer
from llactr_core.enhancers.larr.aggregate import Form, SceneEncoder, aligned
from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.enhancers.larr.scenes import Scenes
from llactr_core.semantics.values.projection import FieldProjection, ValueProjection

ALIGNED_AT_ONCE = 256  # different scenes of a batch


class Larr(Enhancer):
    """The frozen language model's vectors of the scene's values, aggregated into one more field of the row.

    Args:
        scenes: the vectors of all ids of the scene's S fields; they are not trained.
        width: d.
        first_order: whether a row has a first-order weight too.
        options: of stage 3.
    """

    adds_field: ClassVar[bool] = True
    vectors: Tensor
    field_of: Tensor
    fields: Tensor
    slots: Tensor
    shifts: Tensor

    def __init__(self, scenes: Scenes, width: int, first_order: bool, options: LarrOptions) -> None:
        super().__init__()
        self.names, self.width, self.options = scenes.names, width, options
        self.means, self.scales = scenes.means, scenes.scales
        for name in ("vectors", "field_of", "fields", "slots", "shifts"):
            self.register_buffer(name, torch.from_numpy(np.array(getattr(scenes, name))), persistent=False)
        count = len(scenes.names)
        form = Form(count, self.vectors.shape[1], options.width, options.layers, options.heads)
        self.encoder = SceneEncoder(form, width + first_order)
        self.text_head = self.signal_head = None
        if options.align_weight > 0:
            self.text_head = nn.Linear(width, options.width)
            self.signal_head = nn.Linear(count * width, options.width)

    def field(self, ids: Tensor) -> Tensor:
        """The scene's aggregate of rows of ids int64 [B, S'], [B, d (+ 1)]."""
        rows = self.scene_rows()[self.places(ids)]  # [B, S, D']
        aggregate: Tensor = self.encoder(rows)
        return aggregate

    def row_loss(self, v: Tensor, ids: Tensor) -> Tensor | None:
        """The weighted alignment of the aggregate with the embeddings of the scene's fields.

        Those are the collaborative signal: what clicks alone have taught of the same scene. The alignment does not move
        them, or the scene's fields would be spread out for its sake and say less about clicks. Rows of one scene would
        be negatives of themselves, so each scene of the batch counts once.
        """
        if self.text_head is None or self.signal_head is None:
            return None
        first = _first_of_each(ids[:, self.slots]).sort().values[:ALIGNED_AT_ONCE]  # rows are in no order, scenes are
        chosen = v[first].float()  # [N, K + 1, d]
        signals = self.signal_head(chosen[:, self.fields].detach().flatten(1))
        texts = self.text_head(chosen[:, -1])
        return self.options.align_weight * aligned(texts, signals, self.options.align_temperature)

    def scene_rows(self) -> Tensor:
        """What the aggregation encoder reads of every id of the scene's fields, [R, D']."""
        return self.encoder.rows(self.vectors, self.field_of)

    @torch.no_grad()
    def projection(self, recipe: str) -> ValueProjection:
        """How the scene row of a value that train never had follows from its vector; `recipe` is the value table's.

        Without a vector it is the prior's.
        """
        weights = np.ascontiguousarray(self.encoder.project.weight.T.numpy())  # [D, D']
        priors = torch.zeros(self.means.shape)
        bases = self.encoder.rows(priors, torch.arange(len(priors))).numpy()
        parts = zip(self.names, self.means, self.scales, bases, strict=True)
        return ValueProjection(
            {name: FieldProjection(mean, scale * weights, base) for name, mean, scale, base in parts}, recipe
        )

    def places(self, ids: Tensor) -> Tensor:
        """Where the scene of rows of ids int64 [B, S'] stands among `scene_rows`, int64 [B, S]."""
        return ids[:, self.slots].long() + self.shifts


def _first_of_each(scenes: Tensor) -> Tensor:
    """The first row of each different one among scenes [B, S], int64 [N]."""
    _, which = torch.unique(scenes, dim=0, return_inverse=True)
    first = torch.full((int(which.max()) + 1,), len(scenes), device=scenes.device)
    return first.scatter_reduce(0, which, torch.arange(len(scenes), device=scenes.device), "amin")
