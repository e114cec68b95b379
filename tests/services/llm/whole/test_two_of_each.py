"""Two API processes and two workers on one PostgreSQL and one home: what is asked twice is done once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from servers import Postgres

SAMPLES = {"user_gender": ["F", "M"], "movie_genre": ["Comedy", "Drama", "Noir", "War"], "zip": ["94110", "10001", "7"]}
TUNED = {"epochs": 2, "batch_size": 4, "rank": 2, "alpha": 4}


@pytest.fixture(scope="module")
def houses(postgres: Postgres, new_house: Any) -> list[Any]:
    first = new_house(postgres.new_database())
    both = [first, new_house(beside=first)]
    for house in both:
        house.start("api")
        house.start("worker")
    for house in both:
        house.until_ready()
    return both


def begun(house: Any, ids: set[str]) -> Counter[str]:
    """How often a worker took up each of the jobs, by the workers' log."""
    lines = (house.home / "worker.log").read_text().splitlines()
    return Counter(one for line in lines for one in ids if f"job {one} (refresh), attempt" in line)


def test_equal_refreshes_at_once_are_one_job_one_tuning_one_version(houses: list[Any]) -> None:
    houses[0].register("equal")
    orders = [SAMPLES, {name: values[::-1] for name, values in SAMPLES.items()}]
    with ThreadPoolExecutor(20) as callers:
        calls = [
            callers.submit(houses[n % 2].refresh, "equal", samples=orders[n % 4 // 2], ssft=TUNED) for n in range(20)
        ]
        answers = [call.result() for call in calls]
    assert {answer.status_code for answer in answers} <= {200, 202}
    ids = {answer.json()["job"]["id"] for answer in answers if answer.status_code == 202}
    assert len(ids) == 1
    [job_id] = ids
    ended = houses[1].finished(job_id)
    assert (ended["state"], ended["attempts"], ended["result"]["reused"]) == ("succeeded", 1, False)
    assert {answer.json()["version"] for answer in answers if answer.status_code == 200} <= {ended["result"]["version"]}
    assert begun(houses[0], ids) == {job_id: 1}
    for house in houses:
        [version] = house.anyone.get("/v1/fields/equal/versions").json()["versions"]
        assert (version["version"], version["job"]) == (ended["result"]["version"], job_id)
        assert house.anyone.get("/v1/fields/equal").json()["version"] == version["version"]


def test_different_refreshes_are_each_done_once(houses: list[Any]) -> None:
    for n in range(2):
        houses[0].register(f"different-{n}")
    asked = [houses[n].refresh(f"different-{n}", samples=SAMPLES, ssft={**TUNED, "seed": n}) for n in range(2)]
    ids = {answer.json()["job"]["id"] for answer in asked}
    ended = [houses[0].finished(job_id) for job_id in sorted(ids)]
    assert {(job["state"], job["attempts"], job["result"]["reused"]) for job in ended} == {("succeeded", 1, False)}
    assert len({job["result"]["version"] for job in ended}) == 2
    assert begun(houses[0], ids) == dict.fromkeys(ids, 1)
