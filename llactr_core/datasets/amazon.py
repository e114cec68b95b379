"""Amazon Reviews 2023 as published: <Category>.jsonl and meta_<Category>.jsonl, plain or with .gz.

The label is rating >= 4; rows are sorted by time (ties in file order) and cut 8:1:1. What tells the rating, or is known
only afterwards, is no field: the review's own text, title, votes and "verified purchase", and the item's
average_rating and rating_number, which are counted over all ratings, the test's included.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llactr_core.data.formats.source import BATCH_ROWS
from llactr_core.datasets.files import numbered_lines
from llactr_core.datasets.writing import PreparedDataset, table_batches, write_splits
from llactr_core.errors import DataError
from llactr_core.progress import Progress, ProgressCallback
from llactr_core.schema import Schema

WHERE = "https://amazon-reviews-2023.github.io"
SUFFIXES = (".jsonl", ".jsonl.gz")
_PRICE = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_ITEM_COLUMNS = {
    "main_category": pa.string(),
    "title": pa.string(),
    "store": pa.string(),
    "categories": pa.list_(pa.string()),
    "price": pa.float64(),
}


class Review(msgspec.Struct):
    """What is read of a review."""

    rating: float
    user_id: str
    parent_asin: str
    timestamp: int


class Item(msgspec.Struct):
    """What is read of an item's metadata."""

    parent_asin: str
    main_category: str | None = None
    title: str | None = None
    store: str | None = None
    categories: list[str] | None = None
    price: float | str | None = None


_Line = TypeVar("_Line", Review, Item)


def prepare_amazon(source: Path, out: Path, schema: Schema, progress: ProgressCallback) -> PreparedDataset:
    """Prepare one category of Amazon Reviews 2023 from the folder with its two files, or from its review file.

    Raises:
        DataError: a file is missing or is not as published, or the folder holds several categories.
    """
    reviews, meta = _find(source)
    progress(Progress("reading the reviews", 0.0))
    table = _reviews(reviews)
    progress(Progress("reading the items", 0.4))
    items = _items(meta, set(table["parent_asin"].unique().to_pylist()))
    where = pc.index_in(table["parent_asin"], items["parent_asin"])
    for name in _ITEM_COLUMNS:
        table = table.append_column(name, items[name].combine_chunks().take(where.combine_chunks()))
    return write_splits(table_batches(table), table.num_rows, schema, out, progress)


def _reviews(path: Path) -> pa.Table:
    """Label, user, item and time of every review, in order of time."""
    reviews = _decoded(path, Review)
    batches = []
    while chunk := list(islice(reviews, BATCH_ROWS)):
        columns = {
            "label": pa.array([review.rating >= 4 for review in chunk]).cast(pa.int8()),
            "user_id": pa.array([review.user_id for review in chunk], pa.string()),
            "parent_asin": pa.array([review.parent_asin for review in chunk], pa.string()),
            "timestamp": pa.array([review.timestamp for review in chunk], pa.int64()),
        }
        batches.append(pa.RecordBatch.from_pydict(columns))
    if not batches:
        raise DataError(f"{path}: the file is empty; download it again from {WHERE}")
    table = pa.Table.from_batches(batches)
    order = np.argsort(table["timestamp"].to_numpy(), kind="stable")
    return table.take(pa.array(order))


def _items(path: Path, wanted: set[str]) -> pa.Table:
    """The attributes of the items that were reviewed; of an item that occurs twice, its first line."""
    found: dict[str, Item] = {}
    for item in _decoded(path, Item):
        if item.parent_asin in wanted:
            found.setdefault(item.parent_asin, item)
    rows = list(found.values())
    columns: dict[str, pa.Array] = {"parent_asin": pa.array(list(found), pa.string())}
    for name, kind in _ITEM_COLUMNS.items():
        columns[name] = pa.array([_price(i.price) if name == "price" else getattr(i, name) for i in rows], kind)
    return pa.table(columns)


def _price(price: float | str | None) -> float | None:
    """The price as a number; of a text such as "from $14.99" the first number, of one without a number none."""
    if not isinstance(price, str):
        return price
    found = _PRICE.search(price.replace(",", ""))
    return float(found.group()) if found else None


def _decoded(path: Path, kind: type[_Line]) -> Iterator[_Line]:
    """What is read of every line."""
    decoder = msgspec.json.Decoder(kind)
    for number, line in numbered_lines(path):
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: line {number} is not as published: {error}") from error


def _find(source: Path) -> tuple[Path, Path]:
    """The review file and the metadata file of the one category that `source` holds."""
    folder = source.parent if source.is_file() else source
    if source.is_file() and not source.name.startswith("meta_"):
        categories = [_category(source)]
    else:
        files = [source] if source.is_file() else sorted(folder.glob("meta_*"))
        categories = sorted({_category(f).removeprefix("meta_") for f in files if f.name.endswith(SUFFIXES)})
    if len(categories) > 1:
        raise DataError(f"{folder}: holds several categories ({', '.join(categories)}); give the review file of one")
    for category in categories:
        reviews, meta = (_existing(folder, prefix + category) for prefix in ("", "meta_"))
        if reviews and meta:
            return reviews, meta
    needed = "<Category>.jsonl and meta_<Category>.jsonl side by side (.gz also does)"
    raise DataError(f"{source}: need {needed}; download both from {WHERE}")


def _category(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".jsonl")


def _existing(folder: Path, stem: str) -> Path | None:
    return next((folder / (stem + suffix) for suffix in SUFFIXES if (folder / (stem + suffix)).is_file()), None)
