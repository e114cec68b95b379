"""The cache against a real Redis that dies, fills up, hangs and comes back: slower at worst, never an error."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from servers import Redis, wait_until

from llactr_core.errors import OptionError
from services.shared.storage.cache import Cache

SLOWEST_S = 0.15


@pytest.fixture
def cache(redis_server: Redis) -> Iterator[Cache]:
    made = Cache(redis_server.url)
    yield made
    made.close()


def works(cache: Cache, key: str = "probe") -> bool:
    value = os.urandom(8)
    cache.put_many({key: value})
    return cache.get_many([key]) == [value]


def seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def test_values_come_back_by_key(cache: Cache) -> None:
    content = {"a": b"", "b": bytes(range(256)), "c": b"x" * 5_000_000}
    cache.put_many(content)
    assert cache.get_many(["c", "none", "a", "b"]) == [content["c"], None, b"", content["b"]]
    assert cache.get_many([]) == []
    cache.put_many({})


def test_keys_carry_the_prefix_and_end_with_their_time(cache: Cache, redis_server: Redis) -> None:
    cache.put_many({"short": b"1"}, ttl_s=1)
    cache.put_many({"long": b"2"})
    with redis.Redis.from_url(redis_server.url) as raw:
        assert sorted(raw.keys()) == [b"llactr:long", b"llactr:short"]
    wait_until(lambda: cache.get_many(["short"]) == [None], 5, "the entry to end")
    assert cache.get_many(["long"]) == [b"2"]


def test_without_a_url_nothing_is_kept_and_nothing_heard() -> None:
    cache = Cache(None)
    cache.listen("news", pytest.fail)
    cache.put_many({"a": b"1"})
    cache.publish("news", "x")
    assert cache.get_many(["a", "b"]) == [None, None]
    cache.close()


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(OptionError, match="redis://"):
        Cache("postgresql://host/db")


def test_a_url_that_cannot_be_read_is_not_quoted() -> None:
    with pytest.raises(OptionError) as refused:
        Cache("redis://:pa/sWORD@host:x")
    assert "sWORD" not in str(refused.value)
    assert "pa" not in str(refused.value).replace("password", "")


def test_killed_and_started_again(cache: Cache, redis_server: Redis) -> None:
    assert works(cache)
    redis_server.kill()
    assert seconds(lambda: cache.get_many(["probe"])) < SLOWEST_S
    assert cache.get_many(["probe"]) == [None]
    cache.put_many({"probe": b"1"})
    cache.publish("news", "x")
    assert seconds(lambda: [cache.get_many(["probe"]) for _ in range(1000)]) < SLOWEST_S
    redis_server.start()
    wait_until(lambda: works(cache), 5, "the cache to work again")


def test_a_server_that_hangs_costs_little(cache: Cache, redis_server: Redis) -> None:
    assert works(cache)
    process = redis_server.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        assert seconds(lambda: cache.get_many(["probe"])) < SLOWEST_S
        assert seconds(lambda: [cache.get_many(["probe"]) for _ in range(1000)]) < SLOWEST_S
        time.sleep(1.1)
        assert seconds(lambda: cache.put_many({"probe": b"1"})) < SLOWEST_S
    finally:
        process.send_signal(signal.SIGCONT)
    wait_until(lambda: works(cache), 5, "the cache to work again")


def test_a_full_server_still_answers_reads(cache: Cache, redis_server: Redis) -> None:
    redis_server.kill()
    redis_server.start("--maxmemory", "2mb", "--maxmemory-policy", "noeviction")
    wait_until(lambda: works(cache, "early"), 5, "the cache to work")
    cache.put_many({"early": b"kept"})
    for number in range(40):
        cache.put_many({f"big{number}": b"x" * 100_000})
    found = cache.get_many([f"big{number}" for number in range(40)])
    assert 0 < found.count(None) < 40, "it should have become full"
    assert cache.get_many(["early"]) == [b"kept"]
    with redis.Redis.from_url(redis_server.url) as raw:
        raw.flushall()
    assert works(cache)


def test_a_value_of_another_kind_is_a_miss(cache: Cache, redis_server: Redis) -> None:
    with redis.Redis.from_url(redis_server.url) as raw:
        raw.lpush("llactr:list", "x")
    cache.put_many({"good": b"1"})
    assert cache.get_many(["list", "good"]) == [None, b"1"]


def test_a_listener_hears_and_outlives_its_server(cache: Cache, redis_server: Redis) -> None:
    heard: list[str] = []
    arrived = threading.Event()

    def hear(message: str) -> None:
        heard.append(message)
        arrived.set()
        if message == "bad":
            raise ValueError(message)

    def told(message: str) -> bool:
        cache.publish("news", message)
        return message in heard

    cache.listen("news", hear)
    wait_until(lambda: told("first"), 5, "the first message")
    wait_until(lambda: told("bad"), 5, "a message whose handling fails")
    cache.publish("other", "unheard")
    redis_server.kill()
    redis_server.start()
    wait_until(lambda: told("after"), 5, "a message after the restart")
    assert "unheard" not in heard
    assert arrived.is_set()


def test_many_threads_share_it_while_the_server_dies(cache: Cache, redis_server: Redis) -> None:
    end = time.monotonic() + 2
    wrong: list[object] = []

    def use(number: int) -> None:
        key, value = f"k{number}", str(number).encode()
        while time.monotonic() < end:
            cache.put_many({key: value})
            found = cache.get_many([key])
            if found not in ([value], [None]):
                wrong.append(found)
            time.sleep(0.001)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    redis_server.kill()
    time.sleep(0.5)
    redis_server.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    wait_until(lambda: works(cache), 5, "the cache to work again")
