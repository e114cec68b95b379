"""What an enhancer adds to a backbone."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Features:
    """The feature embeddings of a batch, equal ones once: vectors [N, d], their fields int64 [N], and shares [N].

    A share says how often an embedding occurs among all B * K of the batch; the shares sum to 1.
    """

    vectors: Tensor
    fields: Tensor
    shares: Tensor

    @classmethod
    def of(cls, v: Tensor) -> "Features":
        """Those of v [B, K, d], every one by itself."""
        batch, fields, width = v.shape
        count = batch * fields
        return cls(
            v.reshape(count, width),
            torch.arange(fields, device=v.device).repeat(batch),
            v.new_full((count,), 1 / count),
        )

    @classmethod
    def of_rows(cls, rows: Tensor, places: Tensor) -> "Features":
        """Those of rows [N, d], each of one field and used by some of `places` [B, K] in its field's column."""
        flat = places.flatten()
        columns = torch.arange(places.shape[1], device=places.device).repeat(len(places))
        fields = torch.zeros(len(rows), dtype=torch.long, device=places.device).scatter_(0, flat, columns)
        return cls(rows, fields, torch.bincount(flat, minlength=len(rows)).to(rows.dtype) / len(flat))

    def mean_square(self) -> Tensor:
        """The mean of |v|^2 over all B * K embeddings, a scalar."""
        return torch.dot(self.vectors.square().sum(1), self.shares)


class Enhancer(nn.Module):
    """Base of the enhancers, and the one that adds nothing.

    `adds_field` says whether `field` gives one: the backbone then reads K + 1 fields.
    """

    adds_field: ClassVar[bool] = False

    def loss(self, features: Features) -> Tensor:
        """What is added to the BCE, a scalar, for the feature embeddings of a batch."""
        return features.vectors.new_zeros(())

    def row_loss(self, v: Tensor, ids: Tensor) -> Tensor | None:
        """What is added to the BCE for the rows of a batch, a scalar; None: nothing.

        Args:
            v: what the backbone read, [B, K, d], or [B, K + 1, d] where `field` adds one.
            ids: int64 [B, S], equal where the rows' values are.
        """
        return None

    def field(self, ids: Tensor) -> Tensor | None:
        """One more field of each row, [B, d (+ 1)] as a row of the table is, from its ids int64 [B, S]; None: none.

        It depends on several ids of a row, so unlike `offsets` it is a part of the serving graph.
        """
        return None

    def offsets(self, rows: Tensor) -> Tensor | None:
        """What joins the table's rows of these ids before they are looked up, [R, d (+ 1)] of int64 [R]; None: nothing.

        It depends on the id alone: after training it is folded into the table, and serving does not know of it.
        """
        return None

    def pair_weights(self) -> Tensor | None:
        """Weights of <v_i, v_j> in the logit, symmetric [K, K] with a zero diagonal; None for no such term.

        They depend on no row: after training they are constants of the serving graph.
        """
        return None
