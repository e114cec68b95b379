"""What every backbone is: embedded features in, a logit out."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """What a backbone must know of its input: K fields of width d; `sides` names user, item or context fields."""

    fields: int
    width: int
    sides: tuple[str | None, ...]


class BackboneOptions(BaseModel):
    """Hyper-parameters of a backbone; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Backbone(nn.Module):
    """Base of the backbones. `first_order` says whether the model has a linear weight per feature value."""

    Options: ClassVar[type[BackboneOptions]]
    first_order: ClassVar[bool]

    @abstractmethod
    def forward(self, v: Tensor, w: Tensor) -> Tensor:
        """Logit [B] from feature embeddings v [B, K, d] and first-order weights w [B, K] ([B, 0] without them).

        The global bias w_0 is not part of a backbone: `llactr_core.enhancers.model.CTRModel` adds it.
        """
