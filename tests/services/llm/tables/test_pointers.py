"""Pointers in memory: followed through Redis and by the poll, kept while SQL is away, never older than SQL."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from servers import Postgres, Redis, wait_until

from llactr_core.errors import UnavailableError
from llactr_core.semantics.table import FieldTable
from services.llm.settings import LlmSettings
from services.llm.tables.pointer import CHANNEL, Pointer, Told, told_key
from services.llm.tables.pointers import Pointers
from services.llm.tables.store import Origin, TableStore
from services.shared.storage.cache import Cache
from services.shared.storage.storage import Storage, migrate

NEVER_S = 60.0


@pytest.fixture
def settings(tmp_path: Path) -> LlmSettings:
    return LlmSettings(home=tmp_path)


@pytest.fixture
def new_pointers() -> Iterator[Callable[..., Pointers]]:
    """Makes pointers that follow until the test ends."""
    made: list[tuple[Pointers, Cache]] = []

    def make(storage: Storage, poll_s: float, redis_url: str | None = None) -> Pointers:
        cache = Cache(redis_url)
        made.append((Pointers(storage, cache, poll_s), cache))
        made[-1][0].start()
        return made[-1][0]

    yield make
    for pointers, cache in made:
        pointers.close()
        cache.close()


def publish(store: TableStore, seed: int) -> str:
    vectors = np.random.default_rng(seed).standard_normal((2, 4)).astype(np.float32)
    table = FieldTable(("a", "b"), vectors, "tiny", f"recipe-{seed}")
    return store.publish(table, Origin("s", "f" * 64, "tiny", None)).version


def current(pointers: Pointers) -> str | None:
    pointer = pointers.find("s", "current")
    return pointer.version if pointer else None


def test_the_poll_tells_of_moves_and_deletions(
    storage: Storage, settings: LlmSettings, new_pointers: Callable[..., Pointers]
) -> None:
    store = TableStore(storage, settings)
    pointers = new_pointers(storage, 0.05)
    assert current(pointers) is None
    one, two = publish(store, 1), publish(store, 2)
    wait_until(lambda: current(pointers) == two, 5, "the publication")
    store.move("s", "current", "previous")
    wait_until(lambda: current(pointers) == one, 5, "the move")
    found = pointers.find("s", two)
    assert found is not None
    assert found.file_digest == store.info("s", two).file_digest
    store.publish(store.read(store.info("s", two)).table, Origin("other", "f" * 64, "tiny", None))
    wait_until(lambda: pointers.find("other", two) is not None, 5, "another schema")
    assert pointers.find("other", one) is None


def test_a_deleted_alias_points_nowhere_in_every_process(
    storage: Storage, settings: LlmSettings, new_pointers: Callable[..., Pointers]
) -> None:
    store = TableStore(storage, settings)
    version = publish(store, 1)
    store.move("s", "night", version)
    pointers = new_pointers(storage, NEVER_S)
    assert pointers.find("s", "night") is not None
    assert store.forget_alias("s", "night") == version
    pointers.look()
    assert pointers.find("s", "night") is None
    store.move("s", "day", version)  # as many aliases as before
    pointers.look()
    assert pointers.find("s", "day") is not None


def test_own_moves_are_seen_at_once(
    storage: Storage, settings: LlmSettings, new_pointers: Callable[..., Pointers]
) -> None:
    store, pointers = TableStore(storage, settings), new_pointers(storage, NEVER_S)
    store.watch(pointers.follow)
    versions = [publish(store, seed) for seed in range(2)]
    for version in versions * 3:
        store.move("s", "current", version)
        assert current(pointers) == version


def test_redis_tells_of_moves_of_others(
    storage: Storage, settings: LlmSettings, new_pointers: Callable[..., Pointers], redis_server: Redis
) -> None:
    mover = TableStore(storage, settings, Cache(redis_server.url))
    pointers = new_pointers(storage, NEVER_S, redis_server.url)
    time.sleep(0.3)  # until it listens
    version = publish(mover, 1)
    wait_until(lambda: current(pointers) == version, 5, "the message")


def test_without_sql_the_pointers_stay_and_only_later_news_counts(
    postgres: Postgres, settings: LlmSettings, new_pointers: Callable[..., Pointers], redis_server: Redis
) -> None:
    storage = Storage(postgres.new_database())
    migrate(storage, "services.llm")
    store, cache = TableStore(storage, settings), Cache(redis_server.url)
    one, two = publish(store, 1), publish(store, 2)
    pointers = new_pointers(storage, 0.1, redis_server.url)
    known = pointers.find("s", "current")
    assert known is not None
    postgres.kill()
    try:
        with pytest.raises(UnavailableError):
            pointers.look()
        assert current(pointers) == two

        def tell(content: bytes) -> None:
            cache.put_many({told_key("s"): content})
            for _ in range(5):
                cache.publish(CHANNEL, "s")
                time.sleep(0.1)

        digest = store.contents.keep(FieldTable(("a",), np.ones((1, 2), np.float32), "m", "r"))
        older = Pointer(one, digest, known.moved_at - 1)
        for content in (b"garbage", b"[]", b'{"aliases": {"current": {"version": "x"}}}', told("current", older)):
            tell(content)
            assert current(pointers) == two
        later = Pointer(one, digest, known.moved_at + 1)
        tell(told("current", later))
        assert current(pointers) == one
        assert pointers.find("s", "previous") is not None
    finally:
        postgres.start()
    wait_until(lambda: current(pointers) == two, 10, "SQL to win")
    cache.close()
    pointers.close()
    storage.close()


def told(alias: str, pointer: Pointer) -> bytes:
    return Told(aliases={alias: pointer}).model_dump_json().encode()
