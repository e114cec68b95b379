"""The canary of an adapter: texts with known vectors, by which a wrong load is told before anything is published."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from llactr_core.errors import ArtifactError
from llactr_core.files import write_atomic
from llactr_core.semantics.table import Vectors

FILE = "canary.safetensors"
FORMAT = "llactr.canary/1"
LEAST_COSINE = 0.999
LEAST_DEPARTURE = 10.0
_NOISE_FLOOR = float(np.finfo(np.float32).eps)
Distances = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Canary:
    """C texts, and what transformers and PEFT make of them: base (untuned) and adapted vectors, float32 [C, D] each.

    Raises (on construction):
        ArtifactError: shapes differ, or there is no text.
    """

    texts: tuple[str, ...]
    base: Vectors
    adapted: Vectors

    def __post_init__(self) -> None:
        if not self.texts or self.base.shape != self.adapted.shape or len(self.base) != len(self.texts):
            raise ArtifactError(
                f"a canary needs texts and two vectors for each; given {len(self.texts)} texts, "
                f"{self.base.shape} and {self.adapted.shape}"
            )

    def check(self, served_base: Vectors, served_adapted: Vectors) -> None:
        """Whether an engine serves the adapter that was tuned.

        The engine's noise is the largest distance (1 - cosine) between what it serves of the untuned model and the
        reference; one text at least must be served further than ten times that from the untuned model.

        Args:
            served_base: the texts by the engine's untuned model, float32 [C, D].
            served_adapted: the texts by the engine with the adapter, float32 [C, D].

        Raises:
            ArtifactError: a text is not served as it was tuned, or the adapter has no effect.
        """
        for name, served in (("untuned", served_base), ("tuned", served_adapted)):
            if served.shape != self.base.shape or not np.isfinite(served).all():
                raise ArtifactError(
                    f"the engine's {name} vectors of the canary have the shape {served.shape} or are not finite; "
                    f"expected {self.base.shape}: the engine serves another model than the one that was tuned"
                )
        wrong = distances(served_adapted, self.adapted)
        worst = int(wrong.argmax())
        if wrong[worst] > 1 - LEAST_COSINE:
            raise ArtifactError(
                f"the engine serves a wrong vector for the canary {self.texts[worst][:80]!r}: its cosine to the tuned "
                f"model's is {1 - wrong[worst]:.6f}, at least {LEAST_COSINE} is needed; nothing was published"
            )
        noise = max(float(distances(served_base, self.base).max()), _NOISE_FLOOR)
        left = float(distances(served_adapted, served_base).max())
        if left <= LEAST_DEPARTURE * noise:
            raise ArtifactError(
                f"the adapter has no effect that can be told from the engine's noise: no canary has left the untuned "
                f"model by more than {left:.1e} (1 - cosine), {LEAST_DEPARTURE:.0f} times the noise are "
                f"{LEAST_DEPARTURE * noise:.1e}; nothing was published"
            )

    def save(self, folder: Path) -> None:
        """Write the canary beside the adapter, atomically; equal canaries make equal bytes."""
        metadata = {"canary": json.dumps({"format": FORMAT, "texts": self.texts})}
        write_atomic(folder / FILE, save_tensors({"base": self.base, "adapted": self.adapted}, metadata=metadata))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The canary of the adapter in a folder.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        try:
            with safe_open(folder / FILE, framework="numpy") as file:
                facts = json.loads((file.metadata() or {})["canary"])
                base, adapted = file.get_tensor("base"), file.get_tensor("adapted")
            if facts["format"] != FORMAT:
                raise ValueError(f"its format is {facts['format']!r}, expected {FORMAT!r}")
            return cls(tuple(facts["texts"]), base, adapted)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"cannot read the canary of the adapter {folder.name[:12]!r} ({error}); refresh the fields"
            ) from error


def distances(one: Vectors, other: Vectors) -> Distances:
    """1 - cosine per row, float64 [C], of vectors [C, D]; 1 where a vector is zero."""
    left, right = one.astype(np.float64), other.astype(np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products = (left * right).sum(axis=1)
    cosines = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    result: Distances = 1 - cosines
    return result


def canary_texts(field_texts: Sequence[str], prompts: Sequence[str], most_prompts: int = 8) -> tuple[str, ...]:
    """The texts of the fields, and prompts of values taken evenly from all that were sampled."""
    step = max(1, len(prompts) // most_prompts)
    return tuple(dict.fromkeys([*field_texts, *prompts[::step][:most_prompts]]))
