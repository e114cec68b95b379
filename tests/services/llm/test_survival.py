"""Jobs outlive their workers: kill -9 in the middle, a worker that takes over, two workers at once, SIGTERM."""

import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SAMPLES = {"user_gender": ["F", "M"], "movie_genre": ["Comedy", "Drama", "Noir", "War"], "zip": ["94110", "10001", "7"]}
LONG = {"epochs": 60, "batch_size": 4, "rank": 2, "alpha": 4}


@pytest.fixture(scope="module")
def own(house: Any, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A house of its own, whose workers each test starts."""
    running = type(house)(tmp_path_factory.mktemp("own-home"), tiny_model, tmp_path_factory.mktemp("own-data"))
    running.start("api")
    running.until_ready()
    yield running
    running.stop()


def tuning(house: Any, job_id: str) -> bool:
    job = house.job(job_id)
    assert job["state"] not in ("failed", "succeeded"), job
    return job["stage"] == "tune fields" and (job["step"] or 0) > 5


def test_a_killed_workers_job_is_finished_by_another_with_the_same_result(own: Any, wait_for: Any) -> None:
    own.register("killed")
    job_id = own.refresh("killed", samples=SAMPLES, ssft=LONG).json()["job"]["id"]
    first = own.start("worker")
    wait_for(lambda: tuning(own, job_id), 60, "the tuning to begin")
    first.send_signal(signal.SIGKILL)
    first.wait()
    left = own.job(job_id)
    assert left["state"] == "running"
    assert list((own.home / "llm" / "jobs" / job_id / "checkpoints").iterdir())
    second = own.start("worker")
    done = own.finished(job_id)
    assert (done["state"], done["attempts"]) == ("succeeded", 2)
    version = done["result"]["version"]

    # The same work without a kill, in a home that knows nothing of it, gives the same bits.
    shutil.move(own.home / "llm" / "tables" / f"{version}.safetensors", own.home / "kept")
    own.register("undisturbed")
    again = own.refresh("undisturbed", samples=SAMPLES, ssft=LONG).json()["job"]["id"]
    assert own.finished(again)["result"]["version"] == version
    second.send_signal(signal.SIGTERM)
    assert second.wait(10) == 0


def test_sigterm_gives_the_job_back_at_once(own: Any, wait_for: Any) -> None:
    own.register("stopped")
    job_id = own.refresh("stopped", samples=SAMPLES, ssft={**LONG, "epochs": 1000}).json()["job"]["id"]
    worker = own.start("worker")
    wait_for(lambda: tuning(own, job_id), 60, "the tuning to begin")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(6) == 0
    job = own.job(job_id)
    assert (job["state"], job["attempts"]) == ("queued", 0)
    assert own.admin.delete(f"/v1/jobs/{job_id}").json()["state"] == "cancelled"


def test_two_workers_never_run_one_job_twice(own: Any) -> None:
    own.register("shared-out")
    ids = [own.refresh("shared-out", ssft={"skip": True, "seed": seed}).json()["job"]["id"] for seed in range(100, 110)]
    workers = [own.start("worker") for _ in range(2)]
    for job_id in ids:
        job = own.finished(job_id)
        assert (job["state"], job["attempts"]) == ("succeeded", 1)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(10) for worker in workers] == [0, 0]
    log = (own.home / "worker.log").read_text()
    begun = Counter(job_id for line in log.splitlines() for job_id in ids if f"job {job_id} (refresh), attempt" in line)
    assert begun == Counter(ids)
    with sqlite3.connect(own.home / "llm.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
