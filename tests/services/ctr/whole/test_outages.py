"""Two API processes on one PostgreSQL and Redis; both lost, hanging or dead: scores stay right, admins are told."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from ctr_house import CtrHouse
from scored import Caller
from servers import Postgres, Redis, wait_until

from llactr_core.bundle import Bundle
from llactr_core.scorer import Scorer

ALIAS = "/v1/admin/models/tiny/aliases/champion"
OUTAGE_S = 2.5
SLOWEST_S = 3.0
SEEN_S = 3.0


@pytest.fixture
def houses(
    tmp_path: Path, postgres: Postgres, postgres_url: str, redis_server: Redis, bundles: dict[str, Bundle]
) -> Iterator[list[CtrHouse]]:
    """Two APIs with shared artifacts; callers without a key have a rate, which Redis counts."""
    extra = {"LLACTR_CTR_ANONYMOUS_RATE_PER_S": "1000", "LLACTR_CTR_QUEUE_MS": "60000"}
    made = [CtrHouse(tmp_path / "home", postgres_url, redis_server.url, extra) for _ in range(2)]
    for bundle in bundles.values():
        made[0].publish(bundle, "tiny")
    try:
        for house in made:
            house.start()
            house.until_ready()
        yield made
    finally:
        for server in (postgres, redis_server):
            server.start() if server.process is None else server.thaw()
        for house in made:
            house.stop()


@pytest.fixture
def versions(bundles: dict[str, Bundle]) -> list[str]:
    return [bundle.version for bundle in bundles.values()]


def move(house: CtrHouse, version: str, timeout: float = 30) -> httpx2.Response:
    return house.admin.put(ALIAS, json={"version": version, "force": True}, timeout=timeout)


def test_a_promotion_on_one_is_seen_by_the_other(
    houses: list[CtrHouse], versions: list[str], bundles: dict[str, Bundle]
) -> None:
    first, second = houses
    with Caller(second.url, pause_s=0.001) as caller:
        for version in [*versions, *versions]:
            seen = len(caller.answers)
            assert move(first, version).status_code == 200
            wait_until(lambda: len(caller.answers) > seen and caller.answers[-1][2] == version, SEEN_S, "the move")  # noqa: B023
    assert caller.wrong({bundle.version: Scorer.load(bundle.path) for bundle in bundles.values()}) == []


def test_scoring_goes_on_without_redis_and_postgresql(
    houses: list[CtrHouse],
    versions: list[str],
    bundles: dict[str, Bundle],
    postgres: Postgres,
    redis_server: Redis,
) -> None:
    first, second = houses
    with Caller(first.url) as one, Caller(second.url) as other:
        postgres.freeze()
        redis_server.freeze()
        with suppress(httpx2.TimeoutException):  # a hanging database holds up who writes, and nobody else
            move(first, versions[0], timeout=1)
        time.sleep(OUTAGE_S)
        postgres.thaw()
        redis_server.thaw()
        wait_until(lambda: move(first, versions[0]).status_code == 200, 10, "an admin's call after the freeze")
        postgres.kill()
        redis_server.kill()
        check_refused(second, versions[1])
        time.sleep(OUTAGE_S)
        postgres.start()
        redis_server.start()
        wait_until(lambda: move(second, versions[1]).status_code == 200, 10, "an admin's call after the end")
        wait_until(lambda: one.answers[-1][2] == versions[1], SEEN_S, "the move on the other process")
    scorers = {bundle.version: Scorer.load(bundle.path) for bundle in bundles.values()}
    for caller in (one, other):
        print(f"{len(caller.answers)} answers, the slowest took {1000 * caller.slowest_s:.0f} ms")
        assert caller.wrong(scorers) == []
        assert caller.slowest_s < SLOWEST_S


def check_refused(house: CtrHouse, version: str) -> None:
    started = time.monotonic()
    answer = move(house, version)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
    assert "retry-after" in answer.headers
    assert time.monotonic() - started < 2 * SLOWEST_S
