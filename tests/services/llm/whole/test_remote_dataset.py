"""A refresh from a dataset in an object store, with real processes."""

import csv
import io
import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
from object_store import ObjectStore

TINY = {"epochs": 1, "batch_size": 4, "rank": 2, "alpha": 4}
WORDS = {"user_gender": ["F", "M"], "movie_genre": ["Noir", "War"], "zip": ["1", "2", "3"]}


def put_films(store: ObjectStore) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["user_gender", "movie_genre", "zip"])
    writer.writeheader()
    rows = [{"user_gender": g, "movie_genre": m, "zip": z} for g in "FM" for m in ("War|Noir", "War") for z in "123"]
    writer.writerows(rows)
    for part in ("train", "valid", "test"):
        store.put(f"logs/films/{part}.csv", text.getvalue().encode())
    return f"{store.url}/logs/films"


@pytest.fixture
def house(new_house: Callable[[], Any], object_store: ObjectStore) -> Any:
    """An API that may read s3://.../logs; its worker is started by the tests."""
    made = new_house()
    environment = made.environment()
    roots = json.dumps([str(made.data), f"{object_store.url}/logs/"])
    made.environment = lambda: {**environment, "LLACTR_LLM_DATA_ROOTS": roots}
    made.start("api")
    made.until_ready()
    return made


def test_a_refresh_reads_what_it_may_and_waits_for_a_store_that_is_away(
    house: Any, object_store: ObjectStore, wait_for: Callable[[Callable[[], bool], float, str], None]
) -> None:
    films = put_films(object_store)
    house.register("films")
    refusals = {
        f"{object_store.url}/other/films": (403, "forbidden"),
        "s3://elsewhere/logs/films": (403, "forbidden"),
        f"{object_store.url}/logs/none": (404, "not-found"),
        f"simplecache::{films}": (422, "invalid-option"),
        "local:///etc/passwd": (422, "invalid-option"),
    }
    for dataset, expected in refusals.items():
        answer = house.refresh("films", dataset=dataset, ssft=TINY)
        assert (answer.status_code, answer.json()["code"]) == expected, answer.text

    job_id = house.refresh("films", dataset=films, ssft=TINY).json()["job"]["id"]
    object_store.kill()
    away = house.refresh("films", dataset=films, ssft={**TINY, "seed": 2})
    assert (away.status_code, away.json()["code"]) == (503, "unavailable")
    worker = house.start("worker")
    wait_for(lambda: "does not answer" in (house.job(job_id)["stage"] or ""), 60, "the job to wait for the store")
    assert house.job(job_id)["state"] == "queued"
    worker.send_signal(signal.SIGSTOP)  # the store comes back empty; the worker must not see it so
    object_store.start()
    put_films(object_store)
    worker.send_signal(signal.SIGCONT)
    job = house.finished(job_id, 120)
    assert job["state"] == "succeeded", job
    sent = house.refresh("films", samples=WORDS, ssft=TINY)
    assert (sent.status_code, sent.json()["version"]) == (200, job["result"]["version"])
