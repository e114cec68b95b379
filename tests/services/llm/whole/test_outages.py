"""50 readers a second while Redis and PostgreSQL are killed for a while: no wrong answer, no 5xx, full recovery."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
import redis
from servers import Postgres, Redis, wait_until

OUTAGES_S = [6.0, pytest.param(20.0, marks=pytest.mark.long)]
READERS = 10
PERIOD_S = 0.2  # 10 readers every 0.2 s: 50 reads a second
SOON_S = 2.0
SLOWEST_S = 3.0


@dataclass
class Reads:
    """What ten readers see, spread over two API processes and five kinds of reads."""

    urls: list[str]
    versions: list[str]
    bodies: dict[str, bytes]
    moves: list[tuple[float, str]]
    wrong: list[object] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    async def run(self, stop: asyncio.Event) -> None:
        await asyncio.gather(*(self._reader(number, stop) for number in range(READERS)))

    async def _reader(self, number: int, stop: asyncio.Event) -> None:
        async with httpx2.AsyncClient(base_url=self.urls[number % len(self.urls)], timeout=30) as client:
            due = time.monotonic() + number * PERIOD_S / READERS
            while not stop.is_set():
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due += PERIOD_S
                await self._read(client, number)

    async def _read(self, client: httpx2.AsyncClient, number: int) -> None:
        kind, a, b = number // 2, *self.versions
        headers = {"If-None-Match": f'"{a if kind < 3 else b}"'} if kind % 2 else {}
        path = ["", "", f"/versions/{a}", f"/versions/{b}", f"/versions/{b}"][kind]
        started = time.monotonic()
        answer = await client.get(f"/v1/fields/outage{path}", headers=headers)
        self.seconds.append(time.monotonic() - started)
        self.statuses[answer.status_code] += 1
        allowed = {path.rpartition("/")[2]} if path else self._pointed_at(started)
        tag = answer.headers.get("etag", "").strip('"')
        known = headers.get("If-None-Match") == f'"{tag}"'
        expected = (304, b"") if known else (200, self.bodies.get(tag))
        if tag not in allowed or (answer.status_code, answer.content) != expected:
            self.wrong.append((started, path, headers, answer.status_code, tag, answer.content[:200]))

    def _pointed_at(self, moment: float) -> set[str]:
        """Where `current` may point: the last move counts from its beginning on, the one before for 2 s more."""
        begun = [(at, version) for at, version in self.moves if at <= time.monotonic()]
        return {
            version
            for place, (_, version) in enumerate(begun)
            if place + 1 == len(begun) or moment < begun[place + 1][0] + SOON_S
        }


@pytest.fixture
def houses(
    new_house: Any, postgres_url: str, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Any, Any]]:
    """Two API processes and a worker that keep one table in memory: the others come from Redis or the artifacts."""
    monkeypatch.setenv("LLACTR_LLM_CACHED_TABLES", "1")
    first = new_house(postgres_url, redis_server.url)
    second = new_house(beside=first)
    for process in ("api", "worker"):
        first.start(process)
    first.until_ready()
    second.start("api")
    second.until_ready()
    yield first, second
    first.stop()
    second.stop()


async def move(house: Any, reads: Reads, version: str) -> None:
    reads.moves.append((time.monotonic(), version))
    async with httpx2.AsyncClient(base_url=house.url, timeout=30, headers=house.admin.headers) as client:
        (await client.put("/v1/fields/outage/aliases/current", json={"version": version})).raise_for_status()
    await asyncio.sleep(SOON_S + 0.5)


async def choreography(
    houses: tuple[Any, Any], reads: Reads, postgres: Postgres, redis_server: Redis, outage_s: float
) -> None:
    first, second = houses
    a, b = reads.versions
    stop = asyncio.Event()
    readers = asyncio.create_task(reads.run(stop))
    await asyncio.sleep(1.0)
    await move(first, reads, a)
    redis_server.kill()
    redis_died = time.monotonic()
    await asyncio.sleep(1.0)
    await move(second, reads, b)  # only the poll tells of it
    await move(first, reads, a)
    await asyncio.to_thread(postgres.kill)
    postgres_died = time.monotonic()
    await asyncio.sleep(max(0.0, redis_died + outage_s - time.monotonic()))
    await asyncio.to_thread(redis_server.start)
    await asyncio.sleep(max(0.0, postgres_died + outage_s - time.monotonic()))
    await asyncio.to_thread(postgres.start)
    await asyncio.to_thread(wait_until, lambda: first._answers() and second._answers(), 20, "the APIs to be ready")
    await move(second, reads, b)
    await move(first, reads, a)
    stop.set()
    await readers


@pytest.mark.timeout(240)
@pytest.mark.parametrize("outage_s", OUTAGES_S)
def test_readers_do_not_notice(
    houses: tuple[Any, Any], postgres: Postgres, redis_server: Redis, outage_s: float
) -> None:
    first, second = houses
    versions = [first.published("outage", ssft={"skip": True, "seed": seed}) for seed in (1, 2)]
    bodies = {
        version: first.anyone.get(f"/v1/fields/outage/versions/{version}").raise_for_status().content
        for version in versions
    }
    reads = Reads([first.url, second.url], versions, bodies, [(0.0, versions[1])])
    wait_until(lambda: second.anyone.get("/v1/fields/outage").json()["version"] == versions[1], 5, "the second API")
    started = time.monotonic()
    asyncio.run(choreography(houses, reads, postgres, redis_server, outage_s))

    per_second = len(reads.seconds) / (time.monotonic() - started)
    ordered = sorted(reads.seconds)
    middle, late = ordered[len(ordered) // 2], ordered[int(0.99 * len(ordered))]
    print(
        f"{len(ordered)} reads at {per_second:.0f}/s, {dict(reads.statuses)}, "
        f"median {1000 * middle:.1f} ms, 99 % {1000 * late:.0f} ms, slowest {1000 * ordered[-1]:.0f} ms"
    )
    assert reads.wrong == []
    assert set(reads.statuses) == {200, 304}
    assert ordered[-1] < SLOWEST_S
    assert per_second > 40

    third = first.published("outage", ssft={"skip": True, "seed": 3})  # a write, through the worker
    wait_until(lambda: second.anyone.get("/v1/fields/outage").json()["version"] == third, SOON_S, "the new table")
    with redis.Redis.from_url(redis_server.url) as raw:
        kept = {key.decode().split(":")[1] for key in raw.keys("llactr:*")}
    assert {"table", "pointers"} <= kept, "Redis should be filled again"
