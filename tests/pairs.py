"""A dataset whose clicks follow from pairs of fields of one kind, and vectors that say which fields are of a kind."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llactr_core.schema import Field, Schema
from llactr_core.semantics.table import FieldTable

KINDS, OF_A_KIND, VALUES, TRUE_WIDTH, VECTOR = 4, 3, 12, 2, 4
PAIR_SCHEMA = Schema(
    name="pairs",
    label="click",
    fields=tuple(Field(name=f"field {k}") for k in range(KINDS * OF_A_KIND)),
)


def kind_table(seed: int = 0) -> FieldTable:
    """Fields of a kind have nearly the same vector, [K, D] with D far below K: no projection can take them apart."""
    random = np.random.default_rng(seed)
    centres = np.eye(KINDS, VECTOR)
    vectors = np.repeat(centres, OF_A_KIND, axis=0) + 0.05 * random.normal(size=(KINDS * OF_A_KIND, VECTOR))
    return FieldTable(PAIR_SCHEMA.names, vectors.astype(np.float32), "m", f"r{seed}")


def write_pairs(folder: Path, strength: float, train: int = 12_000) -> Path:
    """Each value has a taste; what clicks is that the tastes of fields of one kind agree."""
    random = np.random.default_rng(7)
    fields = KINDS * OF_A_KIND
    tastes = random.normal(size=(fields, VALUES, TRUE_WIDTH))
    kinds = np.repeat(np.arange(KINDS), OF_A_KIND)
    same = np.triu(kinds[:, None] == kinds[None, :], 1)
    for name, count in (("train", train), ("valid", 3000), ("test", 4000)):
        values = random.integers(0, VALUES, (count, fields))
        own = tastes[np.arange(fields), values]  # [N, K, 2]
        logits = strength * np.einsum("nid,njd,ij->n", own, own, same)
        clicks = (random.random(count) < 1 / (1 + np.exp(-logits))).astype(np.int8)
        columns = {f"field {k}": [f"v{v}" for v in values[:, k]] for k in range(fields)}
        pq.write_table(pa.table({**columns, "click": clicks}), folder / f"{name}.parquet")
    return folder
