"""What a worker process shows on its own port: its metrics, and at /healthz whether the loop that takes jobs lives."""

import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from services.shared.telemetry.metrics import REGISTRY

LIVES_S = 60.0


class Pulse:
    """Beaten by a loop in every round, so that others can tell whether it still turns."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beaten_at = clock()

    def beat(self) -> None:
        """The loop turns."""
        self._beaten_at = self._clock()

    def silent_s(self) -> float:
        """Seconds since the last beat."""
        return self._clock() - self._beaten_at


def show(host: str, port: int, pulse: Pulse) -> None:
    """Answer GET /metrics and GET /healthz from a thread. 503 at /healthz: the loop stood still for a minute.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    shown = make_wsgi_app(REGISTRY)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/healthz":
            return cast(Iterable[bytes], shown(environ, start_response))
        silent_s = pulse.silent_s()
        lives = silent_s < LIVES_S
        start_response("200 OK" if lives else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [f"the loop that takes jobs turned {silent_s:.1f} s ago\n".encode()]

    server = make_server(host, port, answer, _Server, _Handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a scrape is no event."""
