"""kill -9 at ten random points of a refresh: each time the next worker ends it, with the same vectors byte for byte."""

import random
import time
from typing import Any

import pytest

KILLS = 10
SAMPLES = {"user_gender": ["F", "M"], "movie_genre": ["Comedy", "Drama", "Noir", "War"], "zip": ["94110", "10001", "7"]}
BODY = {"samples": SAMPLES, "ssft": {"epochs": 12, "batch_size": 4, "rank": 2, "alpha": 4}}


def started(house: Any, name: str) -> str:
    house.register(name)
    return str(house.refresh(name, **BODY).json()["job"]["id"])


@pytest.mark.timeout(300)
def test_ten_kills_change_nothing(new_house: Any) -> None:
    house = new_house()
    house.start("api")
    worker = house.start("worker")
    house.until_ready()
    house.finished(started(house, "first"))  # the worker loads its libraries
    began = time.monotonic()
    calm = house.finished(started(house, "calm"))
    duration = time.monotonic() - began
    expected = house.anyone.get("/v1/fields/calm").json()

    chance = random.Random(20261122)
    attempts = []
    for number in range(KILLS):
        name = f"kill-{number}"
        job_id = started(house, name)
        time.sleep(chance.uniform(0, duration))
        worker.kill()
        worker.wait()
        worker = house.start("worker")
        job = house.finished(job_id)
        assert job["state"] == "succeeded", job
        assert job["result"]["version"] == calm["result"]["version"]
        table = house.anyone.get(f"/v1/fields/{name}").json()
        assert (table["fields"], table["vectors"]) == (expected["fields"], expected["vectors"])
        assert len(house.anyone.get(f"/v1/fields/{name}/versions").json()["versions"]) == 1
        attempts.append(job["attempts"])
    print(f"a refresh of {duration:.1f} s, killed {KILLS} times; attempts: {attempts}")
    assert attempts.count(2) > KILLS // 2, "most kills should have come in the middle of a job"
