"""A dataset of one scene field with many values, whose test rows are of weathers that train never had."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llactr_core.data.splits import Splits, open_dataset
from llactr_core.schema import Field, Schema
from llactr_core.semantics.values.table import ValueTable

KNOWN, LATE, WIDE, FOODS = 80, 40, 8, 6
WEATHERS = Schema(name="weathers", label="click", fields=(Field(name="food"), Field(name="weather", scene=True)))


def felt() -> np.ndarray:  # type: ignore[type-arg]
    """How hot and how wet each weather is, [N, 2]."""
    return np.random.default_rng(1).normal(size=(KNOWN + LATE, 2))


def weather_table() -> ValueTable:
    """Unit vectors that hold how the weathers feel among other things."""
    random = np.random.default_rng(2)
    rows = felt() @ random.normal(size=(2, WIDE)) + 0.3 * random.normal(size=(KNOWN + LATE, WIDE))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = tuple(f"weather {n}" for n in range(KNOWN + LATE))
    return ValueTable(("weather",), (names,), rows.astype(np.float32), "m", "r")


def write_weathers(folder: Path) -> Splits:
    """Clicks follow from what a food is good for and how the weather feels."""
    random = np.random.default_rng(3)
    appeal = random.normal(size=(FOODS, 2)) * 1.5
    for name, count, first, last in (("train", 8000, 0, KNOWN), ("valid", 1000, 0, KNOWN), ("test", 2000, KNOWN, None)):
        weather = random.integers(first, last or KNOWN + LATE, count)
        food = random.integers(0, FOODS, count)
        clicks = random.random(count) < 1 / (1 + np.exp(-(felt()[weather] * appeal[food]).sum(1)))
        columns = {
            "food": [f"food {n}" for n in food],
            "weather": [f"weather {n}" for n in weather],
            "click": clicks.astype(np.int8),
        }
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return open_dataset(folder, "click")
