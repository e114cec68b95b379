"""Rates of keys: what the buckets let in, in one process and through Redis, and what a caller hears."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter, Depends
from pydantic import SecretStr
from servers import Redis
from starlette.testclient import TestClient

from llactr_core.errors import RateError
from services.shared.access.auth import Guard, Role, ensure_admin_key
from services.shared.access.key_routes import key_router
from services.shared.access.rates import BUCKETS, Limits, LocalBuckets, Rates, network_of
from services.shared.http.app import create_app
from services.shared.settings import ServiceSettings
from services.shared.storage.cache import Cache
from services.shared.storage.storage import Storage, migrate


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def let_in(buckets: LocalBuckets, rate: float, calls: int) -> int:
    return sum(buckets.take("k", rate) == 0.0 for _ in range(calls))


@pytest.mark.parametrize(("rate", "burst"), [(5.0, 5), (1.0, 1), (0.25, 1), (2.5, 2), (1000.0, 1000)])
def test_a_bucket_holds_one_second_and_fills_at_its_rate(rate: float, burst: int) -> None:
    clock = Clock()
    buckets = LocalBuckets(clock)
    assert let_in(buckets, rate, 2000) == burst
    clock.now += 1 / rate
    assert let_in(buckets, rate, 10) == 1
    clock.now += 10 * burst / rate
    assert let_in(buckets, rate, 2000) == burst


@pytest.mark.parametrize("rate", [0.3, 3.0, 50.0])
def test_who_waits_as_long_as_was_said_is_let_in(rate: float) -> None:
    clock = Clock()
    buckets = LocalBuckets(clock)
    while (wait := buckets.take("k", rate)) == 0.0:
        clock.now += 0.001
    clock.now += wait * 0.99
    assert buckets.take("k", rate) > 0.0
    clock.now += wait * 0.01
    assert buckets.take("k", rate) == 0.0


def test_over_a_long_time_the_rate_holds() -> None:
    clock = Clock()
    buckets = LocalBuckets(clock)
    admitted = 0
    for _ in range(10_000):
        clock.now += 0.01
        admitted += buckets.take("k", 7.0) == 0.0
    assert 700 <= admitted <= 708


def test_memory_is_bounded() -> None:
    buckets = LocalBuckets()
    for number in range(BUCKETS + 500):
        buckets.take(str(number), 0.001)
    assert buckets.take(str(BUCKETS + 499), 0.001) > 0.0
    assert buckets.take("0", 0.001) == 0.0  # forgotten


def count(rates: Rates, calls: int, who: str = "k", rate: float = 20.0) -> int:
    async def all_of_them() -> int:
        admitted = 0
        for _ in range(calls):
            try:
                await rates.check(who, rate)
            except RateError:
                continue
            admitted += 1
        return admitted

    return asyncio.run(all_of_them())


@pytest.fixture
def hosts(redis_server: Redis) -> Iterator[list[Rates]]:
    """Two processes on two hosts, each of two workers, with one Redis."""
    found = [Rates(Limits(), 2, Cache(redis_server.url)) for _ in range(2)]
    yield found
    for one in found:
        one.close()


def test_processes_share_a_bucket_through_redis(hosts: list[Rates]) -> None:
    began = time.monotonic()
    admitted = sum(count(host, 30) for host in hosts)
    assert 20 <= admitted <= 21 + 20 * (time.monotonic() - began)
    assert count(hosts[0], 3, who="other") == 3


def test_without_redis_each_process_goes_on_with_its_share(hosts: list[Rates], redis_server: Redis) -> None:
    redis_server.kill()
    clock = Clock()
    lone = Rates(Limits(), 2, Cache(redis_server.url), clock)
    assert count(lone, 100) == 10
    redis_server.start()
    lone.close()


def test_a_frozen_redis_costs_50_ms_once(hosts: list[Rates], redis_server: Redis) -> None:
    assert count(hosts[0], 1) == 1
    redis_server.freeze()
    began = time.monotonic()
    assert count(hosts[0], 200, rate=1000.0) == 200
    assert time.monotonic() - began < 0.5
    redis_server.thaw()


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "unknown"),
        (None, "unknown"),
    ],
)
def test_whom_an_anonymous_call_is_counted_for(address: str | None, counted: str) -> None:
    assert network_of(address) == counted


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A service with a limit of 3 calls a second for keys, and for addresses 2 without a key and with unknown ones."""
    settings = ServiceSettings(
        home=tmp_path, default_rate_per_s=3, anonymous_rate_per_s=2, unknown_key_rate_per_s=2, key_cache_s=0
    )
    storage = Storage(f"sqlite:///{tmp_path / 'service.db'}")
    migrate(storage, "services.llm")
    guard = Guard(storage, settings)
    router = APIRouter()

    @router.get("/hello", dependencies=[Depends(guard.require(Role.READER))])
    def hello() -> str:
        return "hello"

    admin = {"Authorization": f"Bearer {ensure_admin_key(settings.key_file)}"}
    with TestClient(create_app("test", settings, [router, key_router(guard)]), headers=admin) as opened:
        yield opened
    guard.close()
    storage.close()


def statuses(client: TestClient, key: str | None, calls: int = 12) -> list[int]:
    if key is None:
        client.headers.pop("Authorization")
        return [client.get("/hello").status_code for _ in range(calls)]
    headers = {"Authorization": f"Bearer {key}"}
    return [client.get("/hello", headers=headers).status_code for _ in range(calls)]


@pytest.mark.parametrize(("own", "least"), [(6.0, 6), (None, 3)])
def test_a_key_is_held_to_its_rate_or_to_the_default(client: TestClient, own: float | None, least: int) -> None:
    made = client.post("/v1/admin/keys", json={"name": "ci", "role": "reader", "rate_per_s": own}).json()
    assert client.get("/v1/admin/keys").json()["keys"][0]["rate_per_s"] == own
    found = statuses(client, made["key"])
    assert found[:least] == [200] * least
    assert 429 in found
    assert (
        statuses(client, client.post("/v1/admin/keys", json={"name": "b", "role": "reader"}).json()["key"], 3)
        == [200] * 3
    )


def test_an_address_without_a_key_has_its_own_limit_and_health_and_the_admin_file_have_none(client: TestClient) -> None:
    assert [client.get("/v1/admin/keys").status_code for _ in range(20)] == [200] * 20
    found = statuses(client, None)
    assert (found[:2], 429 in found) == ([200, 200], True)
    assert [client.get("/healthz").status_code for _ in range(20)] == [200] * 20


def test_unknown_keys_are_paced_before_the_database_is_asked_and_known_ones_go_on(client: TestClient) -> None:
    body = {"name": "ci", "role": "reader", "rate_per_s": 100.0}
    seen, unseen = (client.post("/v1/admin/keys", json=body).json()["key"] for _ in range(2))
    assert statuses(client, seen, 1) == [200]
    guessed = [status for n in range(12) for status in statuses(client, f"guess-{n}", 1)]
    assert (guessed[:2], 429 in guessed) == ([401, 401], True)
    for number in range(12):
        statuses(client, f"more-{number}", 1)
    assert statuses(client, unseen, 1) == [429]
    assert statuses(client, seen, 3) == [200] * 3
    assert client.get("/v1/admin/keys").status_code == 200


def test_the_answer_says_when_to_come_back(client: TestClient) -> None:
    body = {"name": "slow", "role": "reader", "rate_per_s": 0.1}
    headers = {"Authorization": f"Bearer {client.post('/v1/admin/keys', json=body).json()['key']}"}
    assert client.get("/hello", headers=headers).status_code == 200
    refused = client.get("/hello", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (429, "too-many-requests")
    assert refused.headers["retry-after"] == "10"
    assert "0.1 calls a second" in refused.json()["detail"]


@pytest.mark.parametrize("rate", [0, -1, 1e9, "many", 0.0001])
def test_a_rate_has_to_make_sense(client: TestClient, rate: object) -> None:
    answer = client.post("/v1/admin/keys", json={"name": "ci", "role": "reader", "rate_per_s": rate})
    assert (answer.status_code, answer.json()["field"]) == (422, "rate_per_s")


def test_a_key_that_is_registered_again_at_another_rate_is_refused(client: TestClient) -> None:
    body = {"name": "ci", "role": "reader", "digest": "a" * 64, "rate_per_s": 5}
    assert client.post("/v1/admin/keys", json=body).status_code == 201
    assert client.post("/v1/admin/keys", json=body).status_code == 201
    assert client.post("/v1/admin/keys", json=body | {"rate_per_s": None}).status_code == 409


def test_a_redis_that_guards_is_told_by_its_url(tmp_path: Path, redis_server: Redis) -> None:
    settings = ServiceSettings(home=tmp_path, redis_url=SecretStr(redis_server.url), anonymous_rate_per_s=2)
    storage = Storage(f"sqlite:///{tmp_path / 'service.db'}")
    migrate(storage, "services.llm")
    both = [Guard(storage, settings) for _ in range(2)]
    found = []
    for guard in both:
        router = APIRouter()
        router.add_api_route("/hello", lambda: "hello", dependencies=[Depends(guard.require(Role.READER))])
        with TestClient(create_app("test", settings, [router])) as client:
            found += [client.get("/hello").status_code for _ in range(2)]
        guard.close()
    storage.close()
    assert 429 in found[2:]
