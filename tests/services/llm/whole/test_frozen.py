"""A PostgreSQL that hangs: connections stay and nothing is answered. Who has a key reads on; nobody waits for long."""

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from servers import Postgres

FROZEN_S = 2.5
SLOWEST_S = 2.0


@pytest.fixture
def frozen_later(
    new_house: Any, postgres: Postgres, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    monkeypatch.setenv("LLACTR_LLM_KEY_CACHE_S", "0.5")
    house = new_house(postgres_url)
    house.start("api")
    house.start("worker")
    house.until_ready()
    yield house
    postgres.thaw()
    house.stop()


def timed(client: httpx2.Client, path: str, key: str) -> tuple[int, float]:
    started = time.monotonic()
    answer = client.get(path, headers={"Authorization": f"Bearer {key}"})
    return answer.status_code, time.monotonic() - started


def test_a_known_key_reads_on_and_nobody_waits_long(frozen_later: Any, postgres: Postgres) -> None:
    house = frozen_later
    house.published("frozen")
    path = "/v1/fields/frozen"
    key = house.admin.post("/v1/admin/keys", json={"name": "reader", "role": "reader"}).json()["key"]
    assert timed(house.anyone, path, key)[0] == 200
    postgres.freeze()
    end, reads = time.monotonic() + FROZEN_S, []
    while time.monotonic() < end:
        reads.append(timed(house.anyone, path, key))
        time.sleep(0.1)
    others = {
        "ready": timed(house.anyone, "/readyz", key),
        "metrics": timed(house.anyone, "/metrics", key),
        "unknown key": timed(house.anyone, path, "unknown"),
    }
    postgres.thaw()
    assert {status for status, _ in reads} == {200}
    assert max(seconds for _, seconds in reads) < SLOWEST_S
    assert {name: status for name, (status, _) in others.items()} == {"ready": 503, "metrics": 200, "unknown key": 503}
    assert max(seconds for _, seconds in others.values()) < SLOWEST_S + 0.5
    house.until_ready()
    assert timed(house.anyone, path, "unknown")[0] == 401
