import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from llactr_core.progress import Progress
from services.shared.access.auth import Guard, ensure_admin_key
from services.shared.http.app import create_app
from services.shared.jobs.routes import job_router
from services.shared.jobs.store import JobStore
from services.shared.settings import ServiceSettings


@pytest.fixture
def client(store: JobStore, settings: ServiceSettings) -> Iterator[TestClient]:
    app = create_app("test", settings, [job_router(store, Guard(store.storage, settings), 2)])
    with TestClient(app, headers={"Authorization": f"Bearer {ensure_admin_key(settings.key_file)}"}) as opened:
        yield opened


def test_one_and_the_recent(client: TestClient, store: JobStore) -> None:
    ids = [store.submit("train", {"n": n}).id for n in range(3)]
    assert client.get(f"/v1/jobs/{ids[0]}").json() == store.get(ids[0]).public()
    assert [job["id"] for job in client.get("/v1/jobs?limit=2").json()["jobs"]] == ids[:0:-1]
    assert client.get("/v1/jobs?limit=0").status_code == 422
    assert client.get("/v1/jobs/nope").json()["code"] == "not-found"


def test_cancelling(client: TestClient, store: JobStore) -> None:
    job = store.submit("train", {})
    answers = [client.delete(f"/v1/jobs/{job.id}") for _ in range(2)]
    assert [(answer.status_code, answer.json()["state"]) for answer in answers] == [(200, "cancelled")] * 2
    running = store.submit("train", {"n": 1})
    store.claim("w", 10)
    answer = client.delete(f"/v1/jobs/{running.id}")
    assert (answer.status_code, answer.json()["stage"]) == (202, "cancelling")
    store.succeed(running.id, {})
    assert client.delete(f"/v1/jobs/{running.id}").status_code == 409
    assert client.delete("/v1/jobs/nope").status_code == 404


def test_events_tell_every_change_and_end_with_the_job(client: TestClient, store: JobStore) -> None:
    job = store.submit("train", {})

    def advance() -> None:
        time.sleep(0.3)
        store.report(job.id, Progress("half", 0.5))
        time.sleep(0.5)
        store.succeed(job.id, {"version": "v"})

    thread = threading.Thread(target=advance)
    thread.start()
    answer = client.get(f"/v1/jobs/{job.id}/events")
    thread.join()
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [part.split("\n") for part in answer.text.strip().split("\n\n")]
    assert {event[0] for event in events} == {"event: progress"}
    told = [json.loads(event[1].removeprefix("data: ")) for event in events]
    assert [one["state"] for one in told] == ["queued", "queued", "succeeded"]
    assert [one["stage"] for one in told] == ["queued", "half", "done"]
    assert told[-1]["result"] == {"version": "v"}


def test_streams_are_bounded_in_number(client: TestClient, store: JobStore) -> None:
    job = store.submit("train", {})
    with ThreadPoolExecutor(2) as threads:
        streams = [threads.submit(client.get, f"/v1/jobs/{job.id}/events") for _ in range(2)]
        time.sleep(0.5)
        refused = client.get(f"/v1/jobs/{job.id}/events")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert client.get(f"/v1/jobs/{job.id}").status_code == 200
        store.cancel(job.id)
        assert [stream.result(10).status_code for stream in streams] == [200, 200]
    assert client.get(f"/v1/jobs/{job.id}/events").status_code == 200


def test_events_of_an_ended_job_are_its_end(client: TestClient, store: JobStore) -> None:
    job = store.submit("train", {})
    store.cancel(job.id)
    assert client.get(f"/v1/jobs/{job.id}/events").text.count("event: progress") == 1
    assert client.get("/v1/jobs/nope/events").json()["code"] == "not-found"
