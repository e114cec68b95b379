"""MovieLens-1M with its Timestamp as ids: 8 fields with one value each, the same for every side of a comparison."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from llactr_core.data.encoding import Encoder
from llactr_core.data.labels import read_labels
from llactr_core.data.splits import open_dataset
from llactr_core.schema import Field, Schema

SIDES: dict[str, Literal["user", "item"]] = {
    "UserID": "user",
    "Gender": "user",
    "Age": "user",
    "Occupation": "user",
    "MovieID": "item",
    "Title": "item",
    "Genres": "item",
}
FIELDS = (*SIDES, "Timestamp")
SCHEMA = Schema(
    name="ml1m_with_timestamp",
    label="Rating",
    fields=tuple(Field(name=name, side=SIDES.get(name)) for name in FIELDS),
)


@dataclass(frozen=True)
class Ids:
    """The rows of a split by parts: ids int32 [N, 8] into one table of V rows, labels float32 [N].

    Of the table: `sizes` int64 [8] of the fields; of each id how often train has it, and its field's unseen id, [V].
    """

    train: npt.NDArray[np.int32]
    train_labels: npt.NDArray[np.float32]
    test: npt.NDArray[np.int32]
    test_labels: npt.NDArray[np.float32]
    sizes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    unseen: npt.NDArray[np.int32]


def prepare(folder: Path, cache: Path) -> Path:
    """Encode `folder` once into `cache`/ml1m.npz, and name that file."""
    path = cache / "ml1m.npz"
    if path.exists():
        return path
    splits = open_dataset(folder, SCHEMA.label)
    encoder = Encoder.fit(SCHEMA, splits.train.batches(SCHEMA.columns))
    arrays: dict[str, npt.NDArray[np.generic]] = {"sizes": np.array([len(its) for its in encoder.encoders])}
    arrays |= {"counts": encoder.counts, "unseen": encoder.unseen_ids}
    for name, source in (("train", splits.train), ("test", splits.test)):
        parts = [encoder.encode_batch(batch).ids for batch in source.batches(SCHEMA.columns)]
        arrays[name] = np.concatenate(parts).astype(np.int32)
        arrays[f"{name}_labels"] = read_labels(source, "Rating").astype(np.float32)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def load(path: Path) -> Ids:
    """Read what `prepare` has written."""
    with np.load(path) as arrays:
        return Ids(**{name: arrays[name] for name in Ids.__dataclass_fields__})
