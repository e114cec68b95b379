"""The field table: K field names and their vectors, with where they come from."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from llactr_core.errors import ArtifactError, SchemaError
from llactr_core.files import write_atomic
from llactr_core.semantics.tensor_file import as_json, pack, unpack

METADATA = "field_table"
FORMAT = "llactr.field-table/1"
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FieldTable:
    """Names of the K fields, their vectors float32 [K, D], and provenance. Immutable; equal if `version` is equal.

    Raises (on construction):
        ArtifactError: shape, type or finiteness of the vectors is wrong, or a name is given twice.
    """

    fields: tuple[str, ...]
    vectors: Vectors
    model: str
    recipe: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        vectors = np.array(self.vectors, order="C")
        if vectors.dtype != np.float32:
            raise ArtifactError(f"field vectors must be float32; given {vectors.dtype}")
        if vectors.ndim != 2 or vectors.shape[0] != len(self.fields) or 0 in vectors.shape:
            raise ArtifactError(
                f"field vectors must have the shape [K, D] with K = {len(self.fields)} names; given {vectors.shape}"
            )
        if not np.isfinite(vectors).all():
            raise ArtifactError("field vectors must be finite; the table holds NaN or infinity: build it again")
        if len(set(self.fields)) != len(self.fields):
            raise ArtifactError("field names in a field table must be unique")
        vectors.setflags(write=False)
        object.__setattr__(self, "vectors", vectors)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldTable) and self.version == other.version

    def __hash__(self) -> int:
        return hash(self.version)

    @property
    def version(self) -> str:
        """SHA-256 of names, vector bytes and recipe, as hex. Metrics and provenance are outside it."""
        digest = hashlib.sha256(as_json([list(self.fields), list(self.vectors.shape), self.recipe]).encode())
        digest.update(self.vectors.astype("<f4", copy=False).tobytes())
        return digest.hexdigest()

    def select(self, names: tuple[str, ...]) -> Vectors:
        """The vectors float32 [len(names), D] in the order of `names`.

        Raises:
            SchemaError: a name is not in the table.
        """
        missing = [name for name in names if name not in self.fields]
        if missing:
            raise SchemaError(
                f"the field table {self.version[:12]} has no field {', '.join(map(repr, missing))}; "
                "refresh the table for this schema"
            )
        return self.vectors[[self.fields.index(name) for name in names]]

    def similarity(self) -> Vectors:
        """Cosines between the field vectors, float32 [K, K], symmetric, 1 on the diagonal (0 for a zero vector)."""
        wide = self.vectors.astype(np.float64)
        norms = np.linalg.norm(wide, axis=1, keepdims=True)
        unit = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0)
        cosines: Vectors = np.clip(unit @ unit.T, -1.0, 1.0).astype(np.float32)
        return cosines

    def to_json(self) -> dict[str, Any]:
        """Plain data; the decimals of the vectors give back the same float32 bits."""
        return {
            "version": self.version,
            "fields": list(self.fields),
            "vectors": self.vectors.tolist(),
            "model": self.model,
            "recipe": self.recipe,
            "provenance": dict(self.provenance),
            "metrics": dict(self.metrics),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The table from what `to_json` made; more keys are ignored.

        Raises:
            ArtifactError: a part is missing, or the version does not fit the content.
        """
        try:
            table = cls(
                fields=tuple(content["fields"]),
                vectors=np.array(content["vectors"], dtype=np.float32),
                model=str(content["model"]),
                recipe=str(content["recipe"]),
                provenance=dict(content.get("provenance", {})),
                metrics=dict(content.get("metrics", {})),
            )
            version = content["version"]
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"this is no field table: {error!r}") from error
        if table.version != version:
            raise ArtifactError(f"the field table says version {version}, its content is {table.version}")
        return table

    def to_bytes(self) -> bytes:
        """The table as a safetensors file with JSON metadata and a digest over all of it."""
        facts = {
            "version": self.version,
            "fields": as_json(list(self.fields)),
            "model": self.model,
            "recipe": self.recipe,
            "provenance": as_json(self.provenance),
            "metrics": as_json(self.metrics),
        }
        return pack(METADATA, FORMAT, facts, {"vectors": self.vectors})

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The table from what `to_bytes` made.

        Raises:
            ArtifactError: truncated, corrupted, or of another format.
        """
        facts, tensors = unpack(METADATA, FORMAT, content)
        if "vectors" not in tensors:
            raise ArtifactError("this is no field table, or a damaged one: it holds no vectors")
        parts = {key: json.loads(facts[key]) for key in ("fields", "provenance", "metrics")}
        table = cls(
            fields=tuple(parts["fields"]),
            vectors=tensors["vectors"],  # type: ignore[arg-type]  # its type is checked on construction
            model=facts["model"],
            recipe=facts["recipe"],
            provenance=parts["provenance"],
            metrics=parts["metrics"],
        )
        if table.version != facts["version"]:
            raise ArtifactError(f"the field table says version {facts['version']}, its vectors are {table.version}")
        return table

    def save(self, path: Path) -> None:
        """Write the table to one .safetensors file, atomically."""
        write_atomic(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a table that `save` wrote.

        Raises:
            ArtifactError: the file is missing, damaged, or no field table.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ArtifactError(f"cannot read the field table {path}: {error.strerror}") from error
        return cls.from_bytes(content)
