"""A scripted HTTP service for the commands that talk to one."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class ScriptedService:
    """Answers "METHOD path" with what is scripted for it, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, object]] = {}
        self.asked: list[tuple[str, dict[str, str], object]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                call = f"{self.command} {self.path}"
                service.asked.append((call, dict(self.headers), json.loads(body) if body else None))
                missing = (404, {"code": "not-found", "detail": f"nothing at {call}"})
                status, content = service.answers.get(call, missing)
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedService]:
    """Both services at once, with the key "secret"."""
    running = ScriptedService()
    monkeypatch.setenv("LLACTR_CTR_URL", running.url)
    monkeypatch.setenv("LLACTR_LLM_URL", running.url)
    monkeypatch.setenv("LLACTR_HOME", str(tmp_path))
    monkeypatch.delenv("LLACTR_KEY", raising=False)
    (tmp_path / "admin.key").write_text("secret")
    yield running
    running.close()
