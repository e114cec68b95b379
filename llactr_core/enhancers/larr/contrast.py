"""Stage 2 of LARR (arXiv 2408.11523): contrastive tuning makes the language model a text embedder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.enhancers.larr.reader import Reader
from llactr_core.enhancers.larr.split import kinds_of, split, weight_of
from llactr_core.enhancers.larr.texts import Kind, Pair
from llactr_core.semantics.tokens import Tokens
from llactr_core.semantics.tuning.team import Team


def info_nce(left: Tensor, right: Tensor, temperature: float, apart: Tensor) -> Tensor:
    """-log softmax of the pairs' cosines among all other right sides of the batch, averaged over the B pairs.

    Args:
        left: [B, D].
        right: [B, D].
        temperature: tau.
        apart: bool [B, B], which right sides are negatives of which left ones.
    """
    cosines = functional.normalize(left, dim=-1) @ functional.normalize(right, dim=-1).T / temperature  # [B, B]
    counted = apart | torch.eye(len(left), dtype=torch.bool, device=left.device)
    target = torch.arange(len(left), device=left.device)
    return functional.cross_entropy(cosines.masked_fill(~counted, -torch.inf), target)


def negatives(pairs: Sequence[Pair]) -> npt.NDArray[np.bool_]:
    """Which right sides are negatives of which left ones, bool [B, B].

    Those of other things than either side's, and of other texts: equal ones cannot be told apart.
    """
    same = np.zeros((len(pairs), len(pairs)), np.bool_)
    for sides in ([(one.left_key, one.right_key) for one in pairs], [(one.left, one.right) for one in pairs]):
        left, right = (np.array(side, object) for side in zip(*sides, strict=True))
        for one, other in ((right, right), (left, left), (left, right)):
            same |= (one[:, None] == other[None, :]).astype(np.bool_)
    return ~same


@dataclass(frozen=True)
class Contrast:
    """Stage 2 as the work of a run: example i < `trained` is the i-th training pair of every kind.

    Args:
        reader: what is tuned.
        options: weights and temperature of the losses.
        trained: examples of an epoch; a kind with fewer training pairs has them more often.
        pairs: of each kind, as many to train as there are examples, and behind them its own held-out ones, once each.
        rows: the tokens of their left and right sides.
    """

    reader: Reader
    options: LarrOptions
    trained: int
    pairs: Mapping[Kind, Sequence[Pair]]
    rows: Mapping[Kind, Sequence[tuple[Tokens, Tokens]]]

    @classmethod
    def of(cls, reader: Reader, pairs: Mapping[Kind, Sequence[Pair]], options: LarrOptions) -> Self:
        """The work on some pairs, enough of each kind that has a weight (`check_texts`)."""
        parts = {kind: split(pairs[kind]) for kind in kinds_of(options)}
        trained = max(len(its) for its, _ in parts.values())
        chosen = {kind: [*islice(cycle(its), trained), *held_out] for kind, (its, held_out) in parts.items()}
        rows = {}
        for kind, its in chosen.items():
            sides = ([one.left for one in its], [one.right for one in its])
            left, right = (reader.encoder.tokenize(side) for side in sides)
            rows[kind] = list(zip(left, right, strict=True))
        return cls(reader, options, trained, chosen, rows)

    def batches(self, epoch: int) -> list[list[int]]:
        """All examples, shuffled; a batch has two at least."""
        order = np.random.default_rng([self.options.seed, 5, epoch]).permutation(self.trained)
        return self._parts(order.tolist())

    def _parts(self, examples: Sequence[int]) -> list[list[int]]:
        """In batches of about the size that was chosen, none of them much smaller."""
        return [part.tolist() for part in np.array_split(examples, max(1, len(examples) // self.options.batch_size))]

    def length(self, example: int) -> int:
        """The tokens of a pair of every kind."""
        return sum(len(left) + len(right) for left, right in (rows[example] for rows in self.rows.values()))

    def loss(self, examples: Sequence[int], epoch: int) -> Tensor:
        """The weighted sum of the losses of the kinds."""
        parts = [weight_of(self.options, kind) * self.loss_of(kind, examples) for kind in self.pairs]
        return torch.stack(parts).sum()

    def loss_of(self, kind: Kind, examples: Sequence[int]) -> Tensor:
        """The InfoNCE of one kind."""
        rows = [self.rows[kind][i] for i in examples]
        left = self.reader.forward([one for one, _ in rows])
        right = self.reader.forward([other for _, other in rows])
        apart = torch.from_numpy(negatives([self.pairs[kind][i] for i in examples])).to(left.device)
        return info_nce(left, right, self.options.text_temperature, apart)

    def judged(self, epoch: int, train_loss: float | None, team: Team) -> dict[str, Any]:
        """The losses of the held-out pairs of each kind, and their weighted sum."""
        losses: dict[str, float] = {}
        with torch.inference_mode():
            for kind, pairs in self.pairs.items():
                parts = self._parts(range(self.trained, len(pairs)))
                total = sum(float(self.loss_of(kind, part)) * len(part) for part in parts)
                losses[kind] = total / (len(pairs) - self.trained)
        weighted = sum(weight_of(self.options, kind) * losses[kind] for kind in self.pairs)
        return {"epoch": epoch, "train_loss": train_loss, "held_out_loss": weighted, **losses}

    def merit(self, entry: Mapping[str, Any]) -> tuple[float, ...]:
        """The lower the loss, the better."""
        return (-float(entry["held_out_loss"]),)
