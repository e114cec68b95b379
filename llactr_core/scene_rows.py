"""What the aggregation encoder of a bundle reads of each id of the scene's fields (LARR, arXiv 2408.11523)."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from llactr_core.data.encoding import Encoder
from llactr_core.data.vocabulary import Ids
from llactr_core.errors import BundleError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SceneRows:
    """A second table beside that of the embeddings, of the S fields of the scene alone.

    Args:
        table: float32 [R, D'], one row per id of these fields, then those of an overlay.
        fields: int64 [S], their places in the schema.
        slots: int64 [S], where a row of ids has theirs.
        shifts: int64 [S], what is added to an id for its place in the table.
        size: V, the ids that the bundle knows; beyond are those of an overlay.
        known: R without an overlay.
    """

    table: Floats
    fields: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    shifts: npt.NDArray[np.int64]
    size: int
    known: int

    @classmethod
    def of(cls, encoder: Encoder, table: Floats) -> Self:
        """The rows of the fields that the encoder's schema marks as the scene's.

        Raises:
            BundleError: the table is not of these fields.
        """
        fields = [k for k, field in enumerate(encoder.schema.fields) if field.scene]
        sizes = [len(encoder.encoders[k]) for k in fields]
        if len(table) != sum(sizes) or not fields:
            raise BundleError("the scene's rows are not those of the scene's fields; restore or retrain the bundle")
        starts = np.cumsum([0, *sizes[:-1]])
        shifts = (starts - encoder.offsets[fields]).astype(np.int64)
        slots = encoder.first_slots[fields].astype(np.int64)
        return cls(table, np.array(fields), slots, shifts, encoder.size, len(table))

    def with_rows(self, rows: Floats) -> Self:
        """These with the rows [n, D'] of the ids V .. V + n - 1 of an overlay; those of other fields are not read."""
        return replace(self, table=np.concatenate([self.table[: self.known], rows]))

    def places(self, ids: Ids) -> npt.NDArray[np.int64]:
        """Where the scenes of ids int32 [B, S'] stand in the table, [B, S]."""
        chosen = ids.take(self.slots, axis=1)
        places = chosen + self.shifts
        if len(self.table) > self.known:
            places = np.where(chosen < self.size, places, chosen - self.size + self.known)
        return places

    def beside(self, rows: Floats, ids: Ids) -> Floats:
        """Rows [B, K, c] of the ids with their scene rows behind them, zero for other fields: [B, K, c + D']."""
        scenes = np.zeros((*rows.shape[:2], self.table.shape[1]), np.float32)
        scenes[:, self.fields] = self.table.take(self.places(ids), axis=0)
        return np.concatenate([rows, scenes], axis=2)
