"""What stands beside the way of a scoring request: who picks the arm, who fills in features, who looks on.

The route knows these protocols only; `services.ctr.traffic` and `services.ctr.lookup` implement them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from llactr_core.schema import Schema
from services.ctr.formats.decoding import Batch
from services.ctr.serving.pool import Loaded


@dataclass(frozen=True)
class Scored:
    """One answered request. `scores` are the calibrated probabilities, float64 [B]; `arm` is the alias that an
    experiment chose, None without one; `row_ids` are the caller's names of the rows, None where none were given; `size`
    is the request's body in bytes.
    """

    request_id: str
    loaded: Loaded
    arm: str | None
    batch: Batch
    scores: npt.NDArray[np.float64]
    row_ids: Sequence[str | None] | None
    size: int = 0


@dataclass(frozen=True)
class Filled:
    """A batch with looked-up features, and for each row the entities that the store does not have ("user_id=17")."""

    batch: Batch
    absent: Sequence[Sequence[str]]


class Routing(Protocol):
    """Picks the arm of an experiment."""

    def deals(self, model: str) -> bool:
        """Whether another alias than the champion may answer."""

    def arm(self, model: str, key: str) -> str | None:
        """The alias that answers requests with this routing key; None where the model has no experiment.

        Never waits for anything; the same key gets the same arm as long as the weights stay.
        """


class Filling(Protocol):
    """Fills in features from an online store."""

    def applies(self, schema: Schema) -> bool:
        """Whether rows of this schema are looked up at all; costs nothing."""

    def entities(self, schema: Schema) -> Collection[str]:
        """The columns that name the entities of rows of this schema."""

    def fill(self, schema: Schema, batch: Batch) -> Filled:
        """The batch with what the store knows of its entities; what the caller gave stays. Waits, so call in a thread.

        A store that does not answer within its time leaves the batch as it is and is reported like absent entities.
        """


class Watching(Protocol):
    """Looks on: logs, compares, counts."""

    def saw(self, scored: Scored) -> None:
        """Take note of an answered request. Never waits and never raises; what there is no room for is counted."""
