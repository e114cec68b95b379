"""An MLP behind a language model's pooling. No torch: an engine that gets raw vectors from elsewhere applies it too."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from llactr_core.errors import ArtifactError
from llactr_core.files import write_atomic
from llactr_core.semantics.table import Vectors

FILE = "head.safetensors"
NAMES = ("inner.weight", "inner.bias", "outer.weight", "outer.bias")


@dataclass(frozen=True, eq=False)
class Head:
    """x + MLP(x) of vectors x, with one hidden layer of D and GELU in its tanh form; part of an adapter's folder.

    Args:
        inner: float32 [D, D], rows are outputs.
        inner_bias: float32 [D].
        outer: float32 [D, D].
        outer_bias: float32 [D].
    """

    inner: Vectors
    inner_bias: Vectors
    outer: Vectors
    outer_bias: Vectors

    @classmethod
    def of(cls, weights: Mapping[str, Vectors]) -> Self:
        """The head with weights by the names NAMES."""
        return cls(*(np.ascontiguousarray(weights[name], dtype=np.float32) for name in NAMES))

    def __call__(self, vectors: Vectors, *, normalise: bool) -> Vectors:
        """float32 [B, D] of vectors [B, D], of length 1 where `normalise` says so."""
        x = vectors @ self.inner.T + self.inner_bias
        gelu = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        found = vectors + gelu @ self.outer.T + self.outer_bias
        if normalise:
            found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        result: Vectors = found.astype(np.float32)
        return result

    def save(self, folder: Path) -> None:
        """Write it beside an adapter's weights, atomically."""
        parts = (self.inner, self.inner_bias, self.outer, self.outer_bias)
        write_atomic(folder / FILE, save(dict(zip(NAMES, parts, strict=True))))

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The head in an adapter's folder; None where the adapter has none.

        Raises:
            ArtifactError: its file is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            weights = load_file(path)
            if set(weights) != set(NAMES):
                raise ValueError(f"it holds {', '.join(sorted(weights))}")
            return cls.of(weights)
        except (OSError, SafetensorError, ValueError) as error:
            raise ArtifactError(f"cannot read the head of the adapter {folder.name[:12]!r}: {error}") from error
