"""The scene of a row: which fields tell it, what is read of their values, and the vectors of all their ids."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from llactr_core.data.encoding import Encoder
from llactr_core.data.vocabulary import Vocabulary
from llactr_core.errors import OptionError, SchemaError
from llactr_core.schema import Schema
from llactr_core.semantics.table import Vectors
from llactr_core.semantics.values.table import ValueTable


def scene_fields(schema: Schema) -> tuple[int, ...]:
    """The places of the scene's fields in the schema.

    Raises:
        OptionError: the schema marks none.
    """
    found = tuple(k for k, field in enumerate(schema.fields) if field.scene)
    if not found:
        raise OptionError(
            f"enhancer 'larr' needs a scene, but schema {schema.name!r} marks none; set 'scene: true' on the "
            "categorical fields that tell when, where and how a request comes (time of day, weather, device)",
            field="enhancer",
        )
    return found


def scene_values(encoder: Encoder) -> dict[str, list[str]]:
    """The values that train had of each of the scene's fields, in the encoder's canonical text, by name.

    Raises:
        OptionError: the schema marks no field as the scene's, or train has no value of one.
    """
    found = {}
    for k in scene_fields(encoder.schema):
        known = encoder.known[k]
        name = encoder.schema.names[k]
        if isinstance(known, Vocabulary):
            found[name] = known.values.to_pylist()
            if not found[name]:
                raise OptionError(
                    f"field {name!r} is marked as one of the scene, but train has no value of it that is frequent "
                    "enough; take 'scene' away from it",
                    field=name,
                )
    return found


LEAST_SPREAD = 1e-9  # of vectors of length 1: below, the values do not differ


@dataclass(frozen=True, eq=False)
class Scenes:
    """The language model's vectors of all ids of the scene's S fields.

    Args:
        names: of the fields.
        fields: int64 [S], their places in the schema.
        slots: int64 [S], where a row of ids has theirs.
        shifts: int64 [S], what is added to an id of a field for its place in `vectors`.
        field_of: int64 [R], the number among the S fields of each row of `vectors`.
        vectors: float32 [R, D], one row per id of the fields: a value's vector less the field's mean, times its scale.
            An id without a text (missing, unseen) has the field's prior, the mean: 0.
        means: float32 [S, D], of the values' vectors.
        scales: float32 [S], with which the numbers of a field's vectors are of size 1.
    """

    names: tuple[str, ...]
    fields: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    shifts: npt.NDArray[np.int64]
    field_of: npt.NDArray[np.int64]
    vectors: Vectors
    means: Vectors
    scales: Vectors

    @classmethod
    def of(cls, encoder: Encoder, table: ValueTable) -> Self:
        """The scenes of an encoder's rows.

        Raises:
            OptionError: the schema marks no field as the scene's.
            SchemaError: the table lacks the values of one.
        """
        fields = scene_fields(encoder.schema)
        names = tuple(encoder.schema.names[k] for k in fields)
        absent = [name for name in names if not len(table.of(name)[0])]
        if absent:
            raise SchemaError(f"the value table lacks the scene's fields {', '.join(absent)}; embed their values too")
        found = [_field_vectors(encoder, k, table) for k in fields]
        parts, means, scales = zip(*found, strict=True)
        sizes = [len(part) for part in parts]
        starts = np.cumsum([0, *sizes[:-1]])
        return cls(
            names,
            np.array(fields, np.int64),
            encoder.first_slots[list(fields)].astype(np.int64),
            (starts - encoder.offsets[list(fields)]).astype(np.int64),
            np.repeat(np.arange(len(fields)), sizes),
            np.concatenate(parts),
            np.stack(means),
            np.array(scales, np.float32),
        )


def _field_vectors(encoder: Encoder, field: int, table: ValueTable) -> tuple[Vectors, Vectors, float]:
    """[V_k, D], a row for each id of the field; the mean [D]; and the scale."""
    name, offset = encoder.schema.names[field], int(encoder.offsets[field])
    values, vectors = table.of(name)
    ids = encoder.ids_of(name, values)
    known = ids >= 0
    mean = vectors.mean(0)
    spread = float(np.square(vectors - mean).mean())
    scale = spread**-0.5 if spread > LEAST_SPREAD else 1.0
    rows = np.zeros((len(encoder.encoders[field]), len(mean)), np.float32)
    rows[ids[known] - offset] = (vectors[known] - mean) * scale
    return rows, mean, scale
