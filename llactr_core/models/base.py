"""What every backbone is: embedded features in, a logit out."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from llactr_core.models.pairs import pair_logit, pair_terms


@dataclass(frozen=True)
class Shape:
    """What a backbone must know of its input: K fields of width d; `sides` names user, item or context fields."""

    fields: int
    width: int
    sides: tuple[str | None, ...]


class BackboneOptions(BaseModel):
    """Hyper-parameters of a backbone; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Terms:
    """A logit [B] in parts; it is the sum of them all. None stands for a part that the model does not have.

    Args:
        first: [B, K], what each field adds by itself.
        pairs: [B, K, K], strictly upper triangular: what each pair of fields adds.
        rest: [B], what cannot be told apart by field.
    """

    first: Tensor | None = None
    pairs: Tensor | None = None
    rest: Tensor | None = None


class Backbone(nn.Module):
    """Base of the backbones. `first_order` says whether the model has a linear weight per feature value."""

    Options: ClassVar[type[BackboneOptions]]
    first_order: ClassVar[bool]

    def forward(self, v: Tensor, w: Tensor, more: Tensor | None = None) -> Tensor:
        """Logit [B] from feature embeddings v [B, K, d] and first-order weights w [B, K] ([B, 0] without them).

        `more`, symmetric [K, K] with a zero diagonal, joins the weights that <v_i, v_j> have in the logit. The global
        bias w_0 is not part of a backbone: `llactr_core.enhancers.model.CTRModel` adds it.
        """
        logit = w.sum(1)
        for part in (self.pairs(v, more), self.rest(v)):
            logit = logit if part is None else logit + part
        return logit

    def hidden(self, v: Tensor, w: Tensor) -> Tensor:
        """What the last layer reads, [B, H], from v [B, K, d] and w as `forward` does; by default the embeddings."""
        return v.flatten(1)

    def pair_weights(self) -> Tensor | None:
        """Weights of <v_i, v_j> in the logit, [K, K], those above the diagonal count; None for no such term."""
        return None

    def pairs(self, v: Tensor, more: Tensor | None) -> Tensor | None:
        """The sum over i < j of weights_ij <v_i, v_j>, [B], the weights being its own and `more`; None for neither."""
        parts = [part for part in (self.pair_weights(), more) if part is not None]
        return pair_logit(v, torch.stack([part.to(v.device) for part in parts]).sum(0)) if parts else None

    @abstractmethod
    def rest(self, v: Tensor) -> Tensor | None:
        """The logit [B] without first-order weights and weighted pairs, from v [B, K, d]; None where nothing is left.

        It is what has to be computed as a graph when the model is served.
        """

    def terms(self, v: Tensor, w: Tensor) -> Terms:
        """The same logit in parts, for explanations; it takes more time and memory than `forward`."""
        weights = self.pair_weights()
        pairs = None if weights is None else pair_terms(v, weights)
        return Terms(w if self.first_order else None, pairs, self.rest(v))
