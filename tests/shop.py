"""A small dataset whose clicks depend on two fields and on their product."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llactr_core.schema import Field, Kind, Schema
from llactr_core.semantics.table import FieldTable
from llactr_core.training.options import TrainOptions

SHOP = Schema(
    name="shop",
    label="click",
    group="user",
    fields=(
        Field(name="user", description="identifier of the customer", min_count=2),
        Field(name="colour", description="colour of the product"),
        Field(name="price", description="price in euro", kind=Kind.NUMERIC, buckets=8),
        Field(name="tags", description="labels on the product", kind=Kind.MULTI_VALUED, max_values=4),
    ),
)
QUICK = TrainOptions(epochs=3, batch_size=256, width=4, backbone_options={"hidden": [16]}, learning_rate=0.01)


def shop_rows(count: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    users = random.integers(0, 60, count)
    colours = random.choice(["red", "green", "blue"], count)
    prices = np.round(random.gamma(2, 10, count), 2)
    logit = np.sin(users) + (colours == "red") * np.cos(users) * 2 - prices / 20
    clicks = (random.random(count) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    tags = ["|".join(random.choice(["new", "sale", "gift", "eco"], random.integers(0, 4))) for _ in range(count)]
    price_column = pa.array(prices, mask=random.random(count) < 0.02)
    return pa.table({"user": users, "colour": colours, "price": price_column, "tags": tags, "click": clicks})


def shop_table(seed: int = 0) -> FieldTable:
    vectors = np.random.default_rng(seed).normal(size=(len(SHOP.fields), 24)).astype(np.float32)
    return FieldTable(fields=SHOP.names, vectors=vectors, model="random", recipe=f"r{seed}", provenance={}, metrics={})


def write_shop(folder: Path) -> Path:
    """Train, valid and test files of the shop in a folder."""
    for name, count, seed in (("train", 3000, 1), ("valid", 500, 2), ("test", 500, 3)):
        pq.write_table(shop_rows(count, seed), folder / f"{name}.parquet")
    return folder
