"""The vectors of a field's values in few dimensions: centred, in the directions in which they differ most."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from llactr_core.semantics.table import Vectors


@dataclass(frozen=True)
class FieldBasis:
    """An affine map of vectors [n, D] to features [n, p]: x = (h - mean) @ basis.

    Args:
        mean: [D], of the field's values.
        basis: [D, p], the first p principal directions, scaled so that a value's features have length 1 on average.
    """

    mean: Vectors
    basis: Vectors

    @classmethod
    def fit(cls, vectors: Vectors, most: int) -> Self | None:
        """The basis of a field's values; None where they do not differ.

        Args:
            vectors: float32 [n, D].
            most: the largest p.
        """
        wide = vectors.astype(np.float64)
        if len(wide) < 2:
            return None
        mean = wide.mean(0)
        centred = wide - mean
        spread, directions = np.linalg.eigh(centred.T @ centred / len(wide))  # ascending
        kept = min(most, int((spread > 1e-10).sum()), len(wide) - 1)
        if kept < 1:
            return None
        chosen = directions[:, ::-1][:, :kept]
        signs = np.sign(chosen[np.abs(chosen).argmax(0), np.arange(kept)])  # an eigenvector has none of its own
        scaled = chosen * signs / np.sqrt(spread[::-1][:kept].sum())
        return cls(mean.astype(np.float32), scaled.astype(np.float32))

    def features(self, vectors: Vectors) -> Vectors:
        """Features float32 [n, p] of vectors [n, D]."""
        return ((vectors - self.mean) @ self.basis).astype(np.float32, copy=False)
