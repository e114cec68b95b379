"""kill -9 at random points of refreshes, one of them killed several times: the vectors are the same byte for byte."""

import random
import time
from functools import partial
from typing import Any

import pytest

KILLS = {"three": (2, 1), "ten": (3, 1, 1, 1, 1, 1, 1, 1)}  # of each job
SAMPLES = {"user_gender": ["F", "M"], "movie_genre": ["Comedy", "Drama", "Noir", "War"], "zip": ["94110", "10001", "7"]}
BODY = {"samples": SAMPLES, "ssft": {"epochs": 12, "batch_size": 4, "rank": 2, "alpha": 4}}


def started(house: Any, name: str) -> str:
    house.register(name)
    return str(house.refresh(name, **BODY).json()["job"]["id"])


def taken_up(house: Any, job_id: str, attempt: int) -> bool:
    job = house.job(job_id)
    return job["attempts"] >= attempt or job["state"] == "succeeded"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("plan", ["three", pytest.param("ten", marks=pytest.mark.long)])
def test_kills_change_nothing(new_house: Any, wait_for: Any, plan: str) -> None:
    planned = KILLS[plan]
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
    in_the_middle = 0
    for number, kills in enumerate(planned):
        name = f"kill-{number}"
        job_id = started(house, name)
        for attempt in range(1, kills + 1):
            wait_for(partial(taken_up, house, job_id, attempt), 60, f"attempt {attempt}")
            time.sleep(chance.uniform(0, duration / kills))
            worker.kill()
            worker.wait()
            worker = house.start("worker")
        job = house.finished(job_id, 120)
        assert job["state"] == "succeeded", job
        assert job["result"]["version"] == calm["result"]["version"]
        table = house.anyone.get(f"/v1/fields/{name}").json()
        assert (table["fields"], table["vectors"]) == (expected["fields"], expected["vectors"])
        assert len(house.anyone.get(f"/v1/fields/{name}/versions").json()["versions"]) == 1
        in_the_middle += job["attempts"] - 1
    print(f"a refresh of {duration:.1f} s, killed {sum(planned)} times, {in_the_middle} times in the middle")
    assert in_the_middle > sum(planned) // 2, "most kills should have come in the middle of a job"
