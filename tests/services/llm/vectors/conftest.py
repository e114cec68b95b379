"""The real parts of the cache, put together by hand, around a real engine that is watched."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llactr_core.errors import UnavailableError
from services.llm.engines.engine import Embedded, Voice
from services.llm.engines.transformers import TransformersEngine
from services.llm.vectors.keeper import Keeper
from services.llm.vectors.memory import Memory
from services.llm.vectors.rows import VectorRows
from services.llm.vectors.source import Source, Sources
from services.llm.vectors.vectors import Vectors
from services.shared.storage.cache import Cache
from services.shared.storage.storage import Storage, migrate


class Watched(TransformersEngine):
    """The real engine; it tells what it computed, and can be slow or down."""

    def __init__(self) -> None:
        super().__init__("", 2, "cpu")
        self.reset()

    def reset(self) -> None:
        self.computed: list[str] = []
        self.seconds = 0.0
        self.is_down = False

    def embed(self, voice: Voice, texts: Sequence[str]) -> Embedded:
        time.sleep(self.seconds)
        if self.is_down:
            raise UnavailableError("the engine makes room for a tuning")
        self.computed += texts
        return super().embed(voice, texts)


@pytest.fixture(scope="session")
def engine() -> Watched:
    return Watched()


@pytest.fixture
def watched(engine: Watched) -> Watched:
    engine.reset()
    return engine


@pytest.fixture
def source(tiny_model: Path) -> Source:
    nothing: Any = None  # a model is found without tables
    return Sources(nothing, nothing).of_model(str(tiny_model))


@pytest.fixture(params=["sqlite", "postgres"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    is_sqlite = request.param == "sqlite"
    store = Storage(f"sqlite:///{tmp_path / 'llm.db'}" if is_sqlite else request.getfixturevalue("postgres_url"))
    migrate(store, "services.llm")
    yield store
    store.close()


Opened = Callable[..., Vectors]


@pytest.fixture
def opened(watched: Watched) -> Iterator[Opened]:
    """Opens the cache as a process that has just started does: with nothing in memory."""
    all_opened: list[Vectors] = []
    caches: list[Cache] = []

    def opened(storage: Storage, redis_url: str | None = None, limit: int = 1000, prune_every: int = 1000) -> Vectors:
        cache, rows = Cache(redis_url), VectorRows(storage, limit)
        caches.append(cache)
        all_opened.append(Vectors(watched, rows, cache, Memory(1_000_000), Keeper(rows, cache, 600, prune_every)))
        return all_opened[-1]

    yield opened
    for vectors in all_opened:
        vectors.close()
    for cache in caches:
        cache.close()
