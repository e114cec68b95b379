"""Rows of values that appeared after training, beside a bundle that does not change."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from llactr_core.data.encoding import Encoder
from llactr_core.data.values.index import ValueIndex
from llactr_core.errors import ArtifactError
from llactr_core.schema import Kind

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OverlayRow:
    """What a value is looked up as, though the bundle's vocabulary does not have it.

    Args:
        field: the name of its field.
        value: in its canonical form.
        row: float32 [c], as those of the bundle's table.
        scene: float32 [D'], what the aggregation encoder reads of a value of a scene field; None for other fields.
    """

    field: str
    value: str
    row: Floats
    scene: Floats | None = None

    def chained(self, previous: str) -> str:
        """The digest of an overlay whose digest was `previous` and which this row joins: SHA-256 of both, in hex."""
        scene = b"" if self.scene is None else self.scene.tobytes()
        named = json.dumps([previous, self.field, self.value, len(self.row), len(scene)], ensure_ascii=True)
        return hashlib.sha256(named.encode() + self.row.tobytes() + scene).hexdigest()


@dataclass(frozen=True, eq=False)
class Overlay:
    """Rows in the order in which they were added; of two for one value the first counts.

    Args:
        rows: all of them.
        digest: of the bundle's version and all rows in turn (`OverlayRow.chained`), so equal digests are equal scores.
    """

    rows: tuple[OverlayRow, ...]
    digest: str

    @classmethod
    def of(cls, version: str, rows: Sequence[OverlayRow] = ()) -> Self:
        """An overlay on the bundle of a version."""
        return cls((), version).extended(rows)

    def extended(self, rows: Sequence[OverlayRow]) -> Self:
        """This overlay with more rows behind its own."""
        digest = self.digest
        for row in rows:
            digest = row.chained(digest)
        return type(self)((*self.rows, *rows), digest)


@dataclass(frozen=True, eq=False)
class Added:
    """An overlay as a scorer reads it: its ids begin where those of the bundle end.

    Args:
        index: finds the values, field by field.
        table: [n, c], in the order of the ids.
        scenes: [n, D'], zero for fields that are no scene's; None where the bundle reads none.
    """

    index: ValueIndex
    table: Floats
    scenes: Floats | None

    @classmethod
    def of(cls, overlay: Overlay, encoder: Encoder, width: int, scene_width: int | None) -> Self:
        """Arrange an overlay for a bundle whose table is `width` wide and whose scene rows are `scene_width`.

        Raises:
            ArtifactError: a row does not fit the bundle.
        """
        for row in overlay.rows:
            _check(row, encoder, width, scene_width)
        number = {name: k for k, name in enumerate(encoder.schema.names)}
        by_field = sorted(overlay.rows, key=lambda row: number[row.field])
        texts: list[list[str]] = [[] for _ in encoder.encoders]
        for row in by_field:
            texts[number[row.field]].append(row.value)
        table = np.array([row.row for row in by_field], np.float32).reshape(len(by_field), width)
        scenes = None
        if scene_width is not None:
            nothing = np.zeros(scene_width, np.float32)
            found = [nothing if row.scene is None else row.scene for row in by_field]
            scenes = np.array(found, np.float32).reshape(len(found), scene_width)
        return cls(ValueIndex.of_texts(texts), table, scenes)


def _check(row: OverlayRow, encoder: Encoder, width: int, scene_width: int | None) -> None:
    field = next((field for field in encoder.schema.fields if field.name == row.field), None)
    what = f"the row of {row.value[:100]!r} in field {row.field!r}"
    if field is None or field.kind == Kind.NUMERIC:
        known = ", ".join(f.name for f in encoder.schema.fields if f.kind != Kind.NUMERIC)
        raise ArtifactError(f"{what} is of no field with values; those that have: {known}")
    if row.row.shape != (width,) or not np.isfinite(row.row).all():
        raise ArtifactError(f"{what} must be {width} finite numbers; it has the shape {row.row.shape}")
    wanted = scene_width if field.scene else None
    given = None if row.scene is None else row.scene.shape
    if given != (None if wanted is None else (wanted,)) or not (row.scene is None or np.isfinite(row.scene).all()):
        raise ArtifactError(f"{what} must have {wanted or 'no'} scene numbers, all finite; it has the shape {given}")
