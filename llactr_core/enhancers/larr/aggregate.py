"""Stage 3 of LARR (arXiv 2408.11523): the vectors of a scene's values become one more field of the row."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from llactr_core.models.embedding import INITIAL_STD


@dataclass(frozen=True)
class Form:
    """The shape of an aggregation encoder: S fields, vectors of length D, its own width D', layers, heads."""

    fields: int
    text_width: int
    width: int
    layers: int
    heads: int


class Attention(nn.Module):
    """One layer of a transformer that sees both ways (pre-norm), for some of the places only."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, places: int) -> Tensor:
        """The first `places` of x [B, T, D'], after they have looked at all: [B, places, D']."""
        batch, length, width = x.shape
        shape = (batch, 1, length, self.heads, width // self.heads)
        normed = self.norm(x)
        query = self.query(normed[:, :places]).view(batch, places, 1, *shape[3:])
        key, value = self.key_value(normed).split(width, 2)
        # Products and sums, not matrix products: thousands of those of a few numbers take four times as long.
        scores = (query * key.view(shape)).sum(4, keepdim=True) * shape[4] ** -0.5  # [B, places, T, heads, 1]
        seen = (torch.softmax(scores, 2) * value.view(shape)).sum(2).view(batch, places, width)
        x = x[:, :places] + self.out(seen)
        result: Tensor = x + self.feed_forward(x)
        return result


class SceneEncoder(nn.Module):
    """A small bidirectional transformer over a scene's vectors; its <agg> token becomes a row of d (+ 1) numbers.

    Args:
        form: its shape.
        columns: d (+ 1).
    """

    def __init__(self, form: Form, columns: int) -> None:
        super().__init__()
        self.project = nn.Linear(form.text_width, form.width)
        self.field = nn.Parameter(torch.randn(form.fields, form.width) * 0.02)
        self.agg = nn.Parameter(torch.randn(form.width) * 0.02)
        self.layers = nn.ModuleList([Attention(form.width, form.heads) for _ in range(form.layers)])
        last = nn.Linear(form.width, columns)
        nn.init.normal_(last.weight, std=INITIAL_STD)  # as small as the embeddings begin
        nn.init.zeros_(last.bias)
        self.out = nn.Sequential(nn.LayerNorm(form.width), nn.Linear(form.width, form.width), nn.GELU(), last)

    def rows(self, vectors: Tensor, field_of: Tensor) -> Tensor:
        """What the encoder reads of vectors [R, D] of values of the fields int64 [R]: [R, D']."""
        result: Tensor = self.project(vectors) + self.field[field_of]
        return result

    def forward(self, rows: Tensor) -> Tensor:
        """The aggregate [B, d (+ 1)] of the scenes' rows [B, S, D']."""
        x = torch.cat([self.agg.expand(len(rows), 1, -1), rows], 1)  # [B, 1 + S, D']
        for layer in self.layers[:-1]:
            x = layer(x, x.shape[1])
        x = self.layers[-1](x, 1)  # of the last layer only <agg> is read
        result: Tensor = self.out(x[:, 0])
        return result


def aligned(texts: Tensor, signals: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE of N pairs, all others of the batch being negatives: [N, a], [N, a] -> scalar."""
    cosines = functional.normalize(texts, dim=-1) @ functional.normalize(signals, dim=-1).T / temperature  # [N, N]
    target = torch.arange(len(cosines), device=cosines.device)
    return 0.5 * (functional.cross_entropy(cosines, target) + functional.cross_entropy(cosines.T, target))
