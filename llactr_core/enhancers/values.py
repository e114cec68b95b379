"""Value semantics: what a value's text adds to its embedding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llactr_core.semantics.values.features import FieldBasis
from llactr_core.semantics.values.projection import FieldProjection


@dataclass(frozen=True)
class FieldFeatures:
    """The values of one textual field as a model sees them.

    Args:
        name: of the field.
        ids: int64 [n], where they stand in the table of embeddings.
        features: float32 [n, p].
        basis: what made them of the values' vectors.
    """

    name: str
    ids: Tensor
    features: Tensor
    basis: FieldBasis


class ValueOffsets(nn.Module):
    """gate_k(c) * x_v W_k joins the embedding and the first-order weight of a value v that train had c times.

    W_k is shared by all values of the field k, so what is learned from frequent values holds for rare ones of like
    meaning, and for those that train never had: they have no embedding of their own, and here c = 0. The gate is
    a_k + (1 - a_k) * n / (n + c): the text counts less, the more often the value itself was seen; a_k in [0, 1] is
    learned.

    Args:
        fields: the textual fields; at least one.
        counts: int64 [V], how often train had each id.
        width: of a row of the table, d (+ 1).
        trust: n > 0, the count at which a value's own embedding and its text weigh alike.
    """

    places: Tensor
    field_of: Tensor
    counts: Tensor

    def __init__(self, fields: Sequence[FieldFeatures], counts: Tensor, width: int, trust: float) -> None:
        super().__init__()
        self.bases = {field.name: field.basis for field in fields}
        self.trust = trust
        places = torch.zeros(len(counts), dtype=torch.int64)
        field_of = torch.full((len(counts),), -1, dtype=torch.int64)
        for number, field in enumerate(fields):
            places[field.ids] = torch.arange(len(field.ids))
            field_of[field.ids] = number
            self.register_buffer(f"features_{number}", field.features, persistent=False)
        self.register_buffer("places", places, persistent=False)  # of a value among those of its field
        self.register_buffer("field_of", field_of, persistent=False)  # -1: no text
        self.register_buffer("counts", counts.float(), persistent=False)
        self.projections = nn.ParameterList(  # W_k, zero at first: training begins as the plain model's does
            [nn.Parameter(torch.zeros(field.features.shape[1], width)) for field in fields]
        )
        self.levels = nn.Parameter(torch.zeros(len(fields)))  # a_k = sigmoid

    def gate(self, field: int, counts: Tensor) -> Tensor:
        """How much the text of values of a field counts, [R], when train had them `counts` [R] times."""
        level = torch.sigmoid(self.levels[field])
        gate: Tensor = level + (1 - level) * self.trust / (self.trust + counts)
        return gate

    @torch.no_grad()
    def projection(self, field: str, base: Tensor) -> FieldProjection:
        """How the row of a value that train never had follows from its vector; `base` [d (+ 1)] is the unseen id's."""
        number, basis = list(self.bases).index(field), self.bases[field]
        gate = self.gate(number, torch.zeros(1)).numpy()
        weights = gate * (basis.basis @ self.projections[number].detach().numpy())
        return FieldProjection(basis.mean, weights.astype(basis.mean.dtype), base.detach().numpy().copy())

    def forward(self, rows: Tensor) -> Tensor:
        """What is added to the rows of these ids: [R, d (+ 1)] of int64 [R], zero where a value has no text."""
        field_of = self.field_of[rows]
        added = self.projections[0].new_zeros(len(rows), self.projections[0].shape[1])
        for number, projection in enumerate(self.projections):
            which = torch.nonzero(field_of == number).flatten()
            chosen = rows[which]
            features = self.get_buffer(f"features_{number}")[self.places[chosen]]
            gate = self.gate(number, self.counts[chosen]).unsqueeze(1)
            added = added.index_add(0, which, gate * (features @ projection))
        result: Tensor = added
        return result
