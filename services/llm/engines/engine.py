"""What an engine is: a language model, tuned or not, as a function from texts to vectors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from llactr_core.errors import ArtifactError
from llactr_core.semantics.weights import model_digest, model_label, resolve_model


@dataclass(frozen=True)
class Voice:
    """A language model by the name that it is loaded by, with the folder of an adapter where one is asked for.

    The folder is named by the adapter's content and holds its canary (`llactr_core.semantics.canary`). The digest is
    that of the model's files; without one, the files are taken as they are.
    """

    model: str
    adapter: Path | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Embedded:
    """Vectors float32 [B, D] in the order of the texts, and how many tokens each of them took.

    Raises (on construction):
        ArtifactError: a vector is not finite.
    """

    vectors: npt.NDArray[np.float32]
    tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        wrong = np.flatnonzero(~np.isfinite(self.vectors).all(axis=1))
        if len(wrong):
            raise ArtifactError(
                f"the language model makes vectors that are not finite of {len(wrong)} texts of {len(self.vectors)}; "
                "its weights are damaged, or too large for the type in which the engine computes"
            )


class Engine(Protocol):
    """Texts to vectors. Whoever loads an adapter checks its canary before the first vector leaves the engine."""

    def embed(self, voice: Voice, texts: Sequence[str]) -> Embedded:
        """Embed B texts as the model's template says; the first call of a voice loads it, which takes seconds.

        Raises:
            RateError: too many calls wait already.
            TooLargeError: a text has more tokens than the model reads; `row` is its index.
            NotFoundError, ArtifactError: the model or the adapter is not here, damaged, or serves wrong vectors; or
                the model's files have another digest than the voice names.
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
        """End every process and connection of the engine, and soon the calls at work: they raise UnavailableError."""


def pinned(voice: Voice) -> Voice:
    """The voice with the digest of its model's files.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or its files have another digest than the voice names.
    """
    found = model_digest(resolve_model(voice.model))
    if voice.digest not in (None, found):
        raise ArtifactError(
            f"the files of the model {model_label(voice.model)} have changed; put them back, or restart the service"
        )
    return replace(voice, digest=found)
