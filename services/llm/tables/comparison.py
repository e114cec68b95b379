"""How two versions of a schema's field table differ: field by field, and in how alike they find the fields."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llactr_core.semantics.table import FieldTable


@dataclass(frozen=True)
class Comparison:
    """Two tables over the S fields that both have.

    Attributes:
        shared: the names of the S fields, in the order of the first table.
        only_a: fields of the first table alone.
        only_b: fields of the second table alone.
        cosines: of each shared field's two vectors, float64 [S]; None where the tables have other widths or models,
            since vectors of different models have no common axes.
        change: cosines between the shared fields in the second table less those in the first, float32 [S, S].
    """

    shared: tuple[str, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    cosines: npt.NDArray[np.float64] | None
    change: npt.NDArray[np.float32]

    @property
    def largest_change(self) -> float:
        """The largest absolute change between two different fields; 0 where there are no two."""
        return float(np.abs(self.change).max(initial=0.0))

    @property
    def mean_change(self) -> float:
        """The mean absolute change over the S (S - 1) / 2 pairs of different fields; 0 where there are none."""
        pairs = np.abs(self.change[np.triu_indices(len(self.shared), k=1)])
        return float(pairs.mean()) if pairs.size else 0.0


def compare(a: FieldTable, b: FieldTable) -> Comparison:
    """Compare two tables."""
    shared = tuple(name for name in a.fields if name in b.fields)
    return Comparison(
        shared=shared,
        only_a=tuple(name for name in a.fields if name not in b.fields),
        only_b=tuple(name for name in b.fields if name not in a.fields),
        cosines=_cosines(a.select(shared), b.select(shared)) if have_common_axes(a, b) else None,
        change=_similarity(b, shared) - _similarity(a, shared),
    )


def have_common_axes(a: FieldTable, b: FieldTable) -> bool:
    """Whether both tables were made by the same language model, tuned or not."""
    models = [(table.model, table.provenance.get("model_digest"), table.vectors.shape[1]) for table in (a, b)]
    return models[0] == models[1]


def _cosines(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Of row i of a and row i of b, float64 [S]; 0 where one of them is zero."""
    one, other = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products = (one * other).sum(axis=1)
    cosines: npt.NDArray[np.float64] = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return np.clip(cosines, -1.0, 1.0, out=cosines)


def _similarity(table: FieldTable, names: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """Cosines between these fields, float32 [S, S]."""
    places = [table.fields.index(name) for name in names]
    return table.similarity()[np.ix_(places, places)]
