"""Stage 2 of LARR (arXiv 2408.11523): contrastive tuning makes the language model a text embedder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.enhancers.larr.reader import Reader
from llactr_core.enhancers.larr.texts import KINDS, Kind, Pair
from llactr_core.errors import DataError
from llactr_core.semantics.tokens import Tokens
from llactr_core.semantics.tuning.team import Team

HELD_OUT = 0.1
FEWEST = 4  # pairs of a kind


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
    """Which right sides are negatives of which left ones, bool [B, B]: those of other things than either side's."""
    left = np.array([one.left_key for one in pairs], object)
    right = np.array([one.right_key for one in pairs], object)
    same = (right[:, None] == right[None, :]) | (left[:, None] == left[None, :]) | (left[:, None] == right[None, :])
    apart: npt.NDArray[np.bool_] = ~same.astype(np.bool_)
    return apart


@dataclass(frozen=True)
class Contrast:
    """Stage 2 as the work of a run: example i is the i-th pair of every kind; the last tenth is held out.

    Args:
        reader: what is tuned.
        options: weights and temperature of the losses.
        pairs: as many of each kind.
        rows: the tokens of their left and right sides.
    """

    reader: Reader
    options: LarrOptions
    pairs: Mapping[Kind, Sequence[Pair]]
    rows: Mapping[Kind, Sequence[tuple[Tokens, Tokens]]]

    @classmethod
    def of(cls, reader: Reader, pairs: Mapping[Kind, Sequence[Pair]], options: LarrOptions) -> Self:
        """The work on some pairs.

        Raises:
            DataError: there are too few of a kind that has a weight.
        """
        wanted = [kind for kind in KINDS if weight_of(options, kind) > 0]
        scarce = [kind for kind in wanted if len(pairs.get(kind, ())) < FEWEST]
        if scarce:
            raise DataError(
                f"the clicks have fewer than {FEWEST} pairs of the kind {', '.join(scarce)}, which stage 2 of 'larr' "
                "needs; set the weight of that loss to 0, or larr.contrast_epochs"
            )
        count = max(len(pairs[kind]) for kind in wanted)
        even = {kind: [pairs[kind][i % len(pairs[kind])] for i in range(count)] for kind in wanted}
        rows = {}
        for kind, its in even.items():
            sides = ([one.left for one in its], [one.right for one in its])
            left, right = (reader.encoder.tokenize(side) for side in sides)
            rows[kind] = list(zip(left, right, strict=True))
        return cls(reader, options, even, rows)

    @property
    def count(self) -> int:
        """Pairs of each kind."""
        return len(next(iter(self.pairs.values())))

    @property
    def trained(self) -> int:
        """Those that are not held out."""
        return self.count - max(2, int(HELD_OUT * self.count))

    def batches(self, epoch: int) -> list[list[int]]:
        """All pairs but those held out, shuffled; a batch has two at least."""
        order = np.random.default_rng([self.options.seed, 5, epoch]).permutation(self.trained)
        return [part.tolist() for part in np.array_split(order, max(1, len(order) // self.options.batch_size))]

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
        """The losses of the held-out pairs."""
        held_out, size = range(self.trained, self.count), self.options.batch_size
        parts = [held_out[start : start + size] for start in range(0, len(held_out), size)]
        with torch.inference_mode():
            losses: dict[str, float] = {
                kind: sum(float(self.loss_of(kind, part)) * len(part) for part in parts) / len(held_out)
                for kind in self.pairs
            }
        total = sum(weight_of(self.options, kind) * losses[kind] for kind in self.pairs)
        return {"epoch": epoch, "train_loss": train_loss, "held_out_loss": total, **losses}

    def merit(self, entry: Mapping[str, Any]) -> tuple[float, ...]:
        """The lower the loss, the better."""
        return (-float(entry["held_out_loss"]),)


def weight_of(options: LarrOptions, kind: Kind) -> float:
    """The weight of a kind's loss."""
    return {"user_user": options.user_user, "item_item": options.item_item, "user_item": options.user_item}[kind]
