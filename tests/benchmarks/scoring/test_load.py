import itertools
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.scoring.load import read_bodies, request_of, run, write_bodies


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if body == b"good" else 503)
        self.send_header("Content-Length", "70000")
        self.end_headers()
        self.wfile.write(b"x" * 70_000)

    def handle(self) -> None:
        with suppress(ConnectionError):  # the generator leaves with requests on their way
            super().handle()

    def log_message(self, *_arguments: object) -> None:
        pass


def test_bodies_come_back_as_they_were(tmp_path: Path) -> None:
    bodies = [b"", b"one", b"two" * 1000]
    assert read_bodies(write_bodies(tmp_path / "bodies", bodies)) == bodies


@pytest.mark.parametrize("concurrency", [1, 4])
def test_every_answer_is_counted_by_its_status(concurrency: int) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        requests = [request_of(body, "/", "text/plain") for body in (b"good", b"bad", b"good", b"good")]
        seen = run(server.server_port, itertools.cycle(requests), concurrency, 0.5)
    finally:
        server.shutdown()
        server.server_close()
    assert seen["answered"] > 10
    assert 0.2 < seen["failed"] / (seen["answered"] + seen["failed"]) < 0.3
    assert 0 < seen["p50_us"] <= seen["p99_us"] < 1e6
