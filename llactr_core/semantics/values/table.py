"""The value table: the distinct values of the textual fields and their vectors, with where they come from."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from llactr_core.errors import ArtifactError
from llactr_core.files import write_atomic
from llactr_core.semantics.table import Vectors
from llactr_core.semantics.tensor_file import as_json, pack, unpack

METADATA = "value_table"
FORMAT = "llactr.value-table/1"


@dataclass(frozen=True, eq=False)
class ValueTable:
    """Values of some fields and their unit vectors. Immutable; equal if `version` is equal.

    Args:
        fields: names of the textual fields.
        values: per field its distinct values, in the encoder's canonical text.
        vectors: float32 [N, D], those of the first field's values first.
        model: label of the language model.
        recipe: digest of what the vectors depend on besides the values: model, adapter, template.

    Raises (on construction):
        ArtifactError: shape, type or finiteness of the vectors is wrong, or a name or value is given twice.
    """

    fields: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    vectors: Vectors
    model: str
    recipe: str

    def __post_init__(self) -> None:
        vectors = np.array(self.vectors, order="C")
        count = sum(map(len, self.values))
        if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != count:
            raise ArtifactError(
                f"the vectors of {count} values must be float32 [{count}, D]; given {vectors.dtype} {vectors.shape}"
            )
        if not np.isfinite(vectors).all():
            raise ArtifactError("value vectors must be finite; the table holds NaN or infinity: build it again")
        if len(self.values) != len(self.fields) or len(set(self.fields)) < len(self.fields):
            raise ArtifactError("a value table has one list of values for each field, and no field twice")
        for name, values in zip(self.fields, self.values, strict=True):
            if len(set(values)) < len(values):
                raise ArtifactError(f"the value table has a value of field {name!r} twice")
        vectors.setflags(write=False)
        object.__setattr__(self, "vectors", vectors)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ValueTable) and self.version == other.version

    def __hash__(self) -> int:
        return hash(self.version)

    @cached_property
    def version(self) -> str:
        """SHA-256 of fields, values, vector bytes and recipe, as hex."""
        digest = hashlib.sha256(as_json([self.fields, self.values, list(self.vectors.shape), self.recipe]).encode())
        digest.update(self.vectors.astype("<f4", copy=False).tobytes())
        return digest.hexdigest()

    def of(self, field: str) -> tuple[tuple[str, ...], Vectors]:
        """The values of one field and their vectors [V_k, D]; nothing of a field that is not in the table."""
        if field not in self.fields:
            return (), self.vectors[:0]
        number = self.fields.index(field)
        starts = [0, *accumulate(map(len, self.values))]
        return self.values[number], self.vectors[starts[number] : starts[number + 1]]

    def to_bytes(self) -> bytes:
        """The table as a safetensors file; values are UTF-8 bytes one behind the other, with their ends."""
        texts = [value.encode() for values in self.values for value in values]
        facts = {
            "version": self.version,
            "fields": as_json([[name, len(values)] for name, values in zip(self.fields, self.values, strict=True)]),
            "model": self.model,
            "recipe": self.recipe,
        }
        tensors: dict[str, npt.NDArray[np.generic]] = {
            "vectors": self.vectors,
            "bytes": np.frombuffer(b"".join(texts), np.uint8),
            "ends": np.cumsum([len(text) for text in texts], dtype=np.int64),
        }
        return pack(METADATA, FORMAT, facts, tensors)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The table from what `to_bytes` made.

        Raises:
            ArtifactError: truncated, corrupted, or of another format.
        """
        facts, tensors = unpack(METADATA, FORMAT, content)
        try:
            counted = json.loads(facts["fields"])
            whole, ends = tensors["bytes"].tobytes(), [0, *tensors["ends"].tolist()]
            texts = [whole[start:end].decode() for start, end in pairwise(ends)]
            starts = [0, *accumulate(count for _, count in counted)]
            table = cls(
                fields=tuple(name for name, _ in counted),
                values=tuple(tuple(texts[start:end]) for start, end in pairwise(starts)),
                vectors=tensors["vectors"],  # type: ignore[arg-type]  # its type is checked on construction
                model=facts["model"],
                recipe=facts["recipe"],
            )
        except (KeyError, ValueError) as error:
            raise ArtifactError(f"this is no value table, or a damaged one: {error!r}") from error
        if table.version != facts["version"]:
            raise ArtifactError(f"the value table says version {facts['version']}, its content is {table.version}")
        return table

    def save(self, path: Path) -> None:
        """Write the table to one .safetensors file, atomically."""
        write_atomic(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a table that `save` wrote.

        Raises:
            ArtifactError: the file is missing, damaged, or no value table.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ArtifactError(f"cannot read the value table {path}: {error.strerror}") from error
        return cls.from_bytes(content)
