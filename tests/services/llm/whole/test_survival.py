"""Jobs outlive their workers: kill -9 in the middle, a worker that takes over, two workers at once, SIGTERM."""

import signal
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from llactr_core.semantics.weights import DEFAULT_MODEL

SAMPLES = {"user_gender": ["F", "M"], "movie_genre": ["Comedy", "Drama", "Noir", "War"], "zip": ["94110", "10001", "7"]}
LONG = {"epochs": 15, "batch_size": 4, "rank": 2, "alpha": 4}


@pytest.fixture(scope="module")
def own(new_house: Any) -> Any:
    """A house whose workers each test starts."""
    running = new_house()
    running.start("api")
    running.until_ready()
    return running


def tuning(house: Any, job_id: str) -> bool:
    job = house.job(job_id)
    assert job["state"] not in ("failed", "succeeded"), job
    return job["stage"] == "tune fields" and (job["step"] or 0) > 5


def test_a_job_survives_its_workers(own: Any, wait_for: Any) -> None:
    """Killed: another worker finishes it, with the result of a run without a kill. SIGTERM: it waits again at once."""
    own.register("killed")
    job_id = own.refresh("killed", samples=SAMPLES, ssft=LONG).json()["job"]["id"]
    first = own.start("worker")
    wait_for(lambda: tuning(own, job_id), 60, "the tuning to begin")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert own.job(job_id)["state"] == "running"
    assert list((own.home / "llm" / "jobs" / job_id / "checkpoints").iterdir())
    second = own.start("worker")
    done = own.finished(job_id)
    assert (done["state"], done["attempts"]) == ("succeeded", 2)

    own.register("undisturbed")
    again = own.refresh("undisturbed", samples=SAMPLES, ssft=LONG).json()["job"]["id"]
    assert own.finished(again)["result"]["version"] == done["result"]["version"]

    own.register("stopped")
    stopped = own.refresh("stopped", samples=SAMPLES, ssft={**LONG, "epochs": 1000}).json()["job"]["id"]
    wait_for(lambda: tuning(own, stopped), 60, "the tuning to begin")
    second.send_signal(signal.SIGTERM)
    assert second.wait(6) == 0
    job = own.job(stopped)
    assert (job["state"], job["attempts"]) == ("queued", 0)
    assert own.admin.delete(f"/v1/jobs/{stopped}").json()["state"] == "cancelled"


def test_two_workers_never_run_one_job_twice(own: Any) -> None:
    (own.data / "no-field.csv").write_text("x\n" + "1\n" * 20)
    own.register("shared-out")
    dataset = str(own.data / "no-field.csv")
    asked = [own.refresh("shared-out", dataset=dataset, ssft={"seed": seed}).json() for seed in range(20)]
    ids = [one["job"]["id"] for one in asked]
    workers = [own.start("worker") for _ in range(2)]
    ended = [own.finished(job_id) for job_id in ids]
    assert {(job["state"], job["error"]["code"], job["attempts"]) for job in ended} == {("failed", "invalid-data", 1)}
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(10) for worker in workers] == [0, 0]
    log = (own.home / "worker.log").read_text()
    begun = Counter(job_id for line in log.splitlines() for job_id in ids if f"job {job_id} (refresh), attempt" in line)
    assert begun == Counter(ids)
    with closing(sqlite3.connect(own.home / "llm.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_api_ends_soon_although_someone_listens(own: Any) -> None:
    own.register("listened")
    job_id = own.refresh("listened", ssft={"skip": True}).json()["job"]["id"]
    with own.anyone.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        assert next(answer.iter_lines()) == "event: progress"
        own.processes[0].send_signal(signal.SIGTERM)
        assert own.processes[0].wait(6) == 0


def test_the_api_ends_soon_although_it_embeds(new_house: Any, wait_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLACTR_LLM_DRAIN_S", "1")
    house = new_house()
    house.model = DEFAULT_MODEL
    api = house.start("api")
    house.until_ready()
    texts = [f"{number} " + "word " * 490 for number in range(256)]

    def has_begun() -> bool:
        return 'llactr_engine_calls_total{engine="transformers",outcome="answered"}' in house.admin.get("/metrics").text

    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(house.admin.post, "/v1/embeddings", json={"input": texts}, timeout=90)
        wait_for(has_begun, 60, "the first texts to be embedded")
        assert house.anyone.post("/v1/embeddings", json={"input": "short"}).status_code == 200
        assert not long.done()
        api.send_signal(signal.SIGTERM)
        assert api.wait(6) == 0
        answer = long.result(1)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "1")
    assert "Traceback" not in (house.home / "api.log").read_text()
