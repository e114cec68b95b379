"""What an engine is: a language model, tuned or not, as a function from texts to vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Voice:
    """A language model by the name that it is loaded by, with the folder of an adapter where one is asked for.

    The folder is named by the adapter's content and holds its canary (`llactr_core.semantics.canary`).
    """

    model: str
    adapter: Path | None = None


@dataclass(frozen=True)
class Embedded:
    """Vectors float32 [B, D] in the order of the texts, and how many tokens each of them took."""

    vectors: npt.NDArray[np.float32]
    tokens: tuple[int, ...]


class Engine(Protocol):
    """Texts to vectors. Whoever loads an adapter checks its canary before the first vector leaves the engine."""

    def embed(self, voice: Voice, texts: Sequence[str]) -> Embedded:
        """Embed B texts as the model's template says; the first call of a voice loads it, which takes seconds.

        Raises:
            RateError: too many calls wait already.
            NotFoundError, ArtifactError: the model or the adapter is not here, damaged, or serves wrong vectors.
            UnavailableError: the engine does not answer, or makes room for a tuning.
        """

    def check(self) -> None:
        """Whether the engine can embed now.

        Raises:
            UnavailableError: it cannot; the detail says why.
        """

    def pause(self) -> None:
        """Free the accelerator for a tuning; until `resume`, calls raise UnavailableError."""

    def resume(self) -> None:
        """Take the accelerator back; also after a `pause` that failed half way."""

    def close(self) -> None:
        """End every process and connection of the engine."""
