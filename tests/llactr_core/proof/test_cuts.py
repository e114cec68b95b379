"""Cuts by the hash of an item or a user."""

import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llactr_core.data.read import Source
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.proof.cuts import buckets_of, few_rows, item_cold


def shop(folder: Path) -> Splits:
    for start, name in enumerate(("train", "valid", "test")):
        items = [f"i{n}" for n in range(start, 400, 2)]
        rows = {"item": items, "user": range(len(items)), "click": [n % 2 for n in range(len(items))]}
        pq.write_table(pa.table({key: list(values) for key, values in rows.items()}), folder / f"{name}.parquet")
    return open_dataset(folder, "click")


def column(source: Source, name: str) -> list[object]:
    return [value for batch in source.batches([name]) for value in batch.column(name).to_pylist()]


def tenth(item: object) -> int:
    return zlib.crc32(str(item).encode()) % 10


def test_cold_items_are_where_the_hash_says_and_nowhere_else(tmp_path: Path) -> None:
    whole = shop(tmp_path)
    cut = item_cold(whole, "item")
    tenths = [{tenth(i) for i in column(part, "item")} for part in (cut.train, cut.valid, cut.test)]
    assert tenths == [set(range(2, 10)), {1}, {0}]
    every = column(whole.train, "item") + column(whole.valid, "item") + column(whole.test, "item")
    assert sorted(column(cut.test, "item"), key=str) == sorted((i for i in every if tenth(i) == 0), key=str)
    assert len(column(cut.train, "click")) == len(column(cut.train, "item"))
    assert len({cut.train.digest(), cut.valid.digest(), cut.test.digest(), whole.train.digest()}) == 4


def test_few_rows_are_those_of_some_users_and_are_nested(tmp_path: Path) -> None:
    whole = shop(tmp_path)
    five, twenty = (set(column(few_rows(whole, "user", percent).train, "user")) for percent in (5, 20))
    assert five < twenty < set(column(whole.train, "user"))
    assert twenty == {u for u in column(whole.train, "user") if zlib.crc32(str(u).encode()) % 100 < 20}
    assert column(few_rows(whole, "user", 5).valid, "user") == column(whole.valid, "user")


def test_without_users_some_rows_are_chosen(tmp_path: Path) -> None:
    whole = shop(tmp_path)
    some = column(few_rows(whole, None, 30).train, "item")
    assert 0.15 * 200 < len(some) < 0.45 * 200
    assert set(some) < set(column(whole.train, "item"))
    assert column(few_rows(whole, None, 30).train, "item") == some


def test_a_missing_value_has_a_bucket_too() -> None:
    assert buckets_of(pa.array(["a", None, "a"]), 10).tolist()[0::2] == [zlib.crc32(b"a") % 10] * 2
    assert buckets_of(pa.array([None, None], pa.string()), 7).tolist() == [0, 0]
