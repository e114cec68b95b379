"""A dataset whose clicks follow from the texts of films, and whose test rows are of films that train never had."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llactr_core.schema import Field, Kind, Schema
from llactr_core.semantics.values.table import ValueTable

FILMS, COLD, WIDE = 400, 80, 12
FILM_SCHEMA = Schema(
    name="films",
    label="click",
    fields=(Field(name="user"), Field(name="film"), Field(name="moods", kind=Kind.MULTI_VALUED, max_values=2)),
)
MOODS = ("grim", "merry", "calm")


def film_names() -> list[str]:
    return [f"film {n}" for n in range(FILMS)]


def value_table(seed: int = 0) -> ValueTable:
    vectors = np.random.default_rng(seed).normal(size=(FILMS + len(MOODS), WIDE))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return ValueTable(("film", "moods"), (tuple(film_names()), MOODS), vectors.astype(np.float32), "m", f"r{seed}")


def write_films(folder: Path, strength: float = 2.5) -> Path:
    """Clicks follow from the vector of the film's text; the last films are in test alone."""
    random = np.random.default_rng(5)
    quality = value_table().of("film")[1] @ random.normal(size=WIDE) * strength
    for name, count, first, last in (("train", 4000, 0, 320), ("valid", 800, 0, 320), ("test", 2000, 320, 400)):
        films = random.integers(first, last, count)
        clicks = (random.random(count) < 1 / (1 + np.exp(-quality[films]))).astype(np.int8)
        moods = ["|".join(random.choice(MOODS, 2)) for _ in range(count)]
        columns = {"user": random.integers(0, 50, count), "film": [f"film {n}" for n in films], "moods": moods}
        pq.write_table(pa.table({**columns, "click": clicks}), folder / f"{name}.parquet")
    return folder
