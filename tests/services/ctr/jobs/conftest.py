"""A stand-in for the LLM service that speaks real HTTP, and job contexts as the worker makes them."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from services.ctr.settings import CtrSettings
from services.shared.jobs.store import JobStore
from services.shared.jobs.worker import JobContext
from services.shared.storage.storage import Storage


class FakeLlm:
    """Answers as the contract says, from what a test puts into it; remembers the calls."""

    def __init__(self, make_table: Callable[..., Any]) -> None:
        self.make_table = make_table
        self.tables = {"current": make_table(0)}
        self.calls: list[tuple[str, str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}
        self.traces: list[tuple[str, str | None]] = []
        self.polls_to_end = 2
        self.reads_datasets = True
        self.away = False
        self.job_error: dict[str, Any] | None = None

    def count(self, method: str, part: str) -> int:
        return sum(1 for m, path, _ in self.calls if m == method and part in path)

    def answer(self, method: str, path: str, key: str | None, body: Any) -> tuple[int, Any]:
        self.calls.append((method, path, body))
        if self.away:
            return 503, problem(503, "unavailable", "starting")
        if method == "POST" and path == "/v1/schemas":
            return 201, {**body, "fingerprint": "f"}
        if method == "POST" and path.endswith("/refresh"):
            return self.refresh(key, body)
        if path.startswith("/v1/jobs/"):
            return self.job(method, path.rsplit("/", 1)[1])
        if method == "GET" and path.startswith("/v1/fields/tiny/versions/"):
            table = self.tables.get(path.rsplit("/", 1)[1])
            return (200, table.to_bytes()) if table else (404, problem(404, "not-found", "there is no such table"))
        return 404, problem(404, "not-found", "there is no such schema")

    def refresh(self, key: str | None, body: Any) -> tuple[int, Any]:
        if "dataset" in body and not self.reads_datasets:
            return 403, problem(403, "forbidden", "outside the allowed folders")
        job = self.keys.setdefault(key or "", f"job{len(self.jobs)}")
        if job not in self.jobs:
            self.jobs[job] = {"id": job, "state": "running", "stage": "tune", "progress": 0.5, "loss": 1.5, "polls": 0}
        return 202, {"job": {"id": job, "state": "queued"}}

    def job(self, method: str, name: str) -> tuple[int, Any]:
        if name not in self.jobs:
            return 404, problem(404, "not-found", "there is no such job")
        job = self.jobs[name]
        if method == "DELETE":
            job["state"] = "cancelled"
            return 200, job
        job["polls"] += 1
        if job["polls"] > self.polls_to_end and job["state"] == "running":
            if self.job_error is not None:
                job |= {"state": "failed", "error": self.job_error}
            else:
                table = self.make_table(100 + len(self.tables))
                self.tables |= {table.version: table, "current": table}
                job |= {"state": "succeeded", "result": {"schema": "tiny", "version": table.version, "reused": False}}
        return 200, job


def problem(status: int, code: str, detail: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail}


@pytest.fixture
def llm(tiny: Any) -> Iterator[Any]:
    fake = FakeLlm(tiny.make_table)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            fake.traces.append((self.command, self.headers.get("traceparent")))
            status, content = fake.answer(self.command, self.path, self.headers.get("idempotency-key"), body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def work_settings(settings: CtrSettings, llm: Any) -> CtrSettings:
    return settings.model_copy(update={"llm_url": llm.url})


class Attempts:
    """Submits one job and gives the context of each attempt at it; `stages` is what they reported."""

    def __init__(self, store: JobStore, settings: CtrSettings) -> None:
        self.store = store
        self._settings = settings
        self._job = ""
        self.stages: list[tuple[str, float]] = []

    def submit(self, kind: str, model: str, request: dict[str, Any]) -> None:
        self._job = self.store.submit(kind, {"model": model, "request": request}).id

    def cancel(self) -> None:
        self.store.cancel(self._job)

    def next(self) -> JobContext:
        job = self.store.claim("test", -1.0)  # the lease is over at once: the next attempt can claim it again
        assert job is not None
        assert job.id == self._job
        directory = self._settings.state / "jobs" / job.id
        directory.mkdir(parents=True, exist_ok=True)
        context = JobContext(self.store, job, directory)
        real = context.report

        def report(progress: Any) -> None:
            self.stages.append((progress.stage, progress.done))
            real(progress)

        context.report = report  # type: ignore[method-assign]
        return context


@pytest.fixture
def attempts(storage: Storage, work_settings: CtrSettings) -> Attempts:
    return Attempts(JobStore(storage), work_settings)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from llactr_client import Retry

    from services.ctr.jobs import llm

    monkeypatch.setattr(llm, "POLL_S", 0.01)
    monkeypatch.setattr(llm, "RETRY", Retry(attempts=1))
