"""Registered schemas on both databases."""

from concurrent.futures import ThreadPoolExecutor

from llactr_core.schema import Field, Schema
from services.llm.schema_store import SchemaStore
from services.shared.storage.storage import Storage


def schema(description: str) -> Schema:
    return Schema(name="s", fields=(Field(name="a", description=description), Field(name="b")))


def test_who_registers_at_the_same_time_is_numbered_one_after_the_other(storage: Storage) -> None:
    store = SchemaStore(storage)
    texts = [f"text {n % 4}" for n in range(24)]
    with ThreadPoolExecutor(8) as callers:
        registered = list(callers.map(lambda text: store.register(schema(text)), texts))
    numbers = [one.number for one, is_new in registered if is_new]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert store.get("s").number == len(numbers)
    assert len(store.list()) == 1
