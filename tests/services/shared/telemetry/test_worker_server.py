"""The port of a worker: metrics always, and health only while the loop turns."""

import urllib.error
import urllib.request

from servers import free_port

from services.shared.telemetry.worker_server import LIVES_S, Pulse, show


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_loop_that_stands_still_is_seen_and_its_metrics_are_shown_on() -> None:
    now, port = [0.0], free_port()
    pulse = Pulse(lambda: now[0])
    show("127.0.0.1", port, pulse)
    assert [status(port, path) for path in ("/healthz", "/metrics")] == [200, 200]
    now[0] = LIVES_S + 1
    assert [status(port, path) for path in ("/healthz", "/metrics")] == [503, 200]
    pulse.beat()
    assert status(port, "/healthz") == 200
