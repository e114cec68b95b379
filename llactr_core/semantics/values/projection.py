"""How a trained model makes the row of a value that it never saw, from the vector of its text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from llactr_core.errors import ArtifactError, OptionError
from llactr_core.files import write_atomic
from llactr_core.semantics.table import Vectors
from llactr_core.semantics.tensor_file import as_json, pack, unpack

METADATA = "value_projection"
FORMAT = "llactr.value-projection/1"


@dataclass(frozen=True, eq=False)
class FieldProjection:
    """row = base + (h - mean) @ weights, of a vector h [D].

    Args:
        mean: [D].
        weights: [D, d (+ 1)], with the gate of a value that train had 0 times in it.
        base: [d (+ 1)], the row of the field's unseen id.
    """

    mean: Vectors
    weights: Vectors
    base: Vectors


@dataclass(frozen=True, eq=False)
class ValueProjection:
    """The projections of the textual fields of a bundle.

    Args:
        fields: by the field's name.
        recipe: that of the value table; vectors of another recipe do not fit.
    """

    fields: Mapping[str, FieldProjection]
    recipe: str

    def rows_of(self, field: str, vectors: Vectors) -> Vectors:
        """Rows float32 [n, d (+ 1)] of unit vectors [n, D] of a field's values.

        Raises:
            OptionError: the field has no value semantics in this model, or D is another one.
        """
        if field not in self.fields:
            known = ", ".join(self.fields) or "none"
            raise OptionError(f"field {field!r} has no value semantics in this model; fields that have: {known}")
        its = self.fields[field]
        if vectors.ndim != 2 or vectors.shape[1] != len(its.mean):
            raise OptionError(f"vectors of field {field!r} must be [n, {len(its.mean)}]; given {vectors.shape}")
        return (its.base + (vectors - its.mean) @ its.weights).astype(np.float32, copy=False)

    def save(self, path: Path) -> None:
        """Write it to one .safetensors file, atomically."""
        tensors: dict[str, npt.NDArray[np.generic]] = {}
        for number, its in enumerate(self.fields.values()):
            tensors |= {f"{number}/mean": its.mean, f"{number}/weights": its.weights, f"{number}/base": its.base}
        facts = {"fields": as_json(list(self.fields)), "recipe": self.recipe}
        write_atomic(path, pack(METADATA, FORMAT, facts, tensors))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        try:
            facts, tensors = unpack(METADATA, FORMAT, path.read_bytes())
            names = json.loads(facts["fields"])
            parts = [[tensors[f"{n}/{part}"] for part in ("mean", "weights", "base")] for n in range(len(names))]
        except (OSError, KeyError) as error:
            raise ArtifactError(f"cannot read the value projection {path}: {error}") from error
        fields = {name: FieldProjection(*part) for name, part in zip(names, parts, strict=True)}  # type: ignore[arg-type]
        return cls(fields, facts["recipe"])
