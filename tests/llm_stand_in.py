"""A stand-in for the LLM service that speaks real HTTP: field tables, tunings as jobs, ETags."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


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
        self.statuses: list[int] = []
        self.url = ""

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
        if method == "POST" and path == "/v1/embeddings":
            vectors = [{"index": i, "embedding": vector_of(text)} for i, text in enumerate(body["input"])]
            return 200, {"data": vectors, "model": "random"}
        if path.startswith("/v1/jobs/"):
            return self.job(method, path.rsplit("/", 1)[1])
        if method == "GET" and re.fullmatch(r"/v1/fields/(tiny|takeaway)(-larr)?/versions/[^/]+", path):
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


def vector_of(text: str) -> list[float]:
    """Eight numbers that follow from the text alone."""
    return [byte / 128 - 1 for byte in hashlib.sha256(text.encode()).digest()[:8]]


def problem(status: int, code: str, detail: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail}


@contextmanager
def serving(fake: FakeLlm) -> Iterator[FakeLlm]:
    """The stand-in at work, at `fake.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            fake.traces.append((self.command, self.headers.get("traceparent")))
            status, content = fake.answer(self.command, self.path, self.headers.get("idempotency-key"), body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            if status == 200 and etag == self.headers.get("if-none-match"):
                status, data = 304, b""
            fake.statuses.append(status)
            self.send_response(status)
            self.send_header("etag", etag)
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
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
