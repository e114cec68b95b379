"""The cache with its real parts: a real engine, SQLite or PostgreSQL, and Redis."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import redis
from sqlalchemy import func, select, update

from llactr_core.errors import LlactrError, UnavailableError
from services.llm.rows import EmbeddingRow
from services.llm.vectors import keeper, vectors
from services.llm.vectors.source import Source
from services.llm.vectors.vector import Vector
from services.llm.vectors.vectors import Vectors
from services.shared.storage.storage import Storage, migrate
from services.shared.telemetry.metrics import REGISTRY

TEXTS = ["gender of the user", "x", "genres of the movie"]
SOURCES = ("memory", "redis", "sql", "computed", "shared")
Opened = Callable[..., Vectors]


def ask(cache: Vectors, source: Source, texts: list[str]) -> list[Vector]:
    return cache.embed(source.reading, source.voice, texts)


class Counts:
    """How many texts came from where since the last look."""

    def __init__(self) -> None:
        self.before = self._now()

    def __call__(self) -> dict[str, float]:
        before, self.before = self.before, self._now()
        return {name: self.before[name] - before[name] for name in SOURCES if self.before[name] > before[name]}

    def _now(self) -> dict[str, float]:
        named = {name: {"source": name} for name in SOURCES}
        return {
            name: REGISTRY.get_sample_value("llactr_embedding_texts_total", labels) or 0
            for name, labels in named.items()
        }


def test_the_same_text_is_computed_once_and_found_after_a_restart(
    storage: Storage, opened: Opened, source: Source, watched: Any
) -> None:
    counts, first = Counts(), opened(storage)
    known = ask(first, source, [*TEXTS, "x"])
    assert Counter(watched.computed) == Counter(TEXTS)
    assert known[1] == known[3]
    assert [vector.tokens for vector in known] == [17, 3, 18, 3]
    assert ask(first, source, TEXTS) == known[:3]
    assert counts() == {"computed": 3, "memory": 3}
    first.flush()
    watched.is_down = True
    second = opened(storage)
    assert second.remembered(source.reading, TEXTS) is None
    assert ask(second, source, TEXTS) == known[:3]
    assert second.remembered(source.reading, TEXTS) == known[:3]
    assert counts() == {"sql": 3, "memory": 3}
    with pytest.raises(UnavailableError):
        ask(second, source, ["x", "never seen"])


def test_concurrent_calls_compute_each_text_once(
    storage: Storage, opened: Opened, source: Source, watched: Any
) -> None:
    cache, counts, together = opened(storage), Counts(), threading.Barrier(20)
    watched.seconds = 0.2
    texts = [[*TEXTS, f"only {number % 5}"] for number in range(20)]

    def call(number: int) -> list[Vector]:
        together.wait(10)
        return ask(cache, source, texts[number])

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(call, range(20)))
    assert set(Counter(watched.computed).values()) == {1}
    assert len(watched.computed) == 8
    assert all(answer[:3] == answers[0][:3] for answer in answers)
    assert all(answers[number] == answers[number + 5] for number in range(15))
    seen = counts()
    assert seen["computed"] == 8
    assert sum(seen.values()) == 80


def test_who_waits_for_a_call_that_fails_fails_too_and_the_next_one_succeeds(
    storage: Storage, opened: Opened, source: Source, watched: Any
) -> None:
    cache, together = opened(storage), threading.Barrier(6)
    known = ask(cache, source, ["known"])
    watched.seconds, watched.is_down = 0.3, True

    def call(_number: int) -> str:
        together.wait(10)
        try:
            ask(cache, source, ["known", "a text"])
        except LlactrError as error:
            return error.code
        return "answered"

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(call, range(6))) == {"unavailable"}
    assert ask(cache, source, ["known"]) == known
    watched.is_down = False
    assert ask(cache, source, ["known", "a text"])[0] == known[0]
    assert watched.computed == ["known", "a text"]


def test_it_answers_the_same_with_redis_and_the_database_killed(
    postgres: Any, redis_server: Any, opened: Opened, source: Source, watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "SQL_PAUSE_S", 0.2)
    storage, counts = Storage(postgres.new_database()), Counts()
    migrate(storage, "services.llm")
    cache = opened(storage, redis_server.url)
    known = ask(cache, source, TEXTS)
    cache.flush()
    counts()
    assert ask(opened(storage, redis_server.url), source, TEXTS) == known
    assert counts() == {"redis": 3}
    redis_server.kill()
    assert ask(opened(storage, redis_server.url), source, TEXTS) == known
    assert counts() == {"sql": 3}
    postgres.kill()
    try:
        assert ask(cache, source, TEXTS) == known
        assert counts() == {"memory": 3}
        forgetful = opened(storage, redis_server.url)
        for texts in (TEXTS, ["during the outage"]):
            began = time.monotonic()
            again = ask(forgetful, source, texts)
            assert time.monotonic() - began < 2
            if texts == TEXTS:
                for one, other in zip(again, known, strict=True):
                    np.testing.assert_allclose(
                        np.frombuffer(one.content, "<f4"), np.frombuffer(other.content, "<f4"), atol=1e-6
                    )
        assert counts() == {"computed": 4}
        forgetful.flush()
    finally:
        postgres.start()
        redis_server.start()
    time.sleep(1.2)  # both were left alone for a while after they failed
    ask(forgetful, source, ["afterwards"])
    forgetful.flush()
    counts()
    ask(opened(storage), source, ["afterwards"])
    ask(opened(storage, redis_server.url), source, ["afterwards"])
    assert counts() == {"sql": 1, "redis": 1}
    storage.close()


def test_damaged_vectors_are_fetched_anew_and_repaired(
    storage: Storage, redis_server: Any, opened: Opened, source: Source, watched: Any
) -> None:
    first, counts = opened(storage, redis_server.url), Counts()
    known = ask(first, source, TEXTS)
    first.flush()
    names = [f"llactr:{keeper.REDIS_PREFIX}{source.reading.key(text)}" for text in TEXTS]
    with redis.Redis.from_url(redis_server.url) as client:
        assert 0 < client.ttl(names[0]) <= 600
        other = client.get(names[2])
        client.set(names[0], b"garbage")
        client.set(names[1], other)  # a whole vector, of another text
        client.delete(names[2])
    counts()
    second = opened(storage, redis_server.url)
    assert ask(second, source, TEXTS) == known
    assert counts() == {"sql": 3}
    second.flush()
    assert ask(opened(storage, redis_server.url), source, TEXTS) == known
    assert counts() == {"redis": 3}
    with storage.session() as session:
        session.execute(update(EmbeddingRow).values(vector=b"12345678"))
    third = opened(storage)
    for one, other_one in zip(ask(third, source, TEXTS), known, strict=True):
        assert one.tokens == other_one.tokens
        np.testing.assert_allclose(
            np.frombuffer(one.content, "<f4"), np.frombuffer(other_one.content, "<f4"), atol=1e-6
        )
    third.flush()
    ask(opened(storage), source, TEXTS)
    assert counts() == {"computed": 3, "sql": 3}


def test_the_database_holds_no_more_than_it_may(storage: Storage, opened: Opened, source: Source) -> None:
    cache = opened(storage, limit=20, prune_every=10)
    for number in range(6):
        ask(cache, source, [f"{number} {part}" for part in range(10)])
        cache.flush()
    with storage.reading() as session:
        assert session.scalar(select(func.count()).select_from(EmbeddingRow)) == 20
    assert len(ask(opened(storage), source, ["5 0", "5 9"])) == 2
