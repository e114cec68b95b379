"""What is known of every request once it was answered: its id, its place in the metrics, its line in the log."""

import logging
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from prometheus_client import Counter, Histogram

from services.shared.telemetry import metrics
from services.shared.telemetry.logs import request_id
from services.shared.telemetry.tally import TALLY

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
LONGEST_REQUEST_ID = 128
ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._:-]{1,%d}" % LONGEST_REQUEST_ID)

access_log = logging.getLogger("services.access")


@dataclass(frozen=True)
class KnownRoute:
    """What stands in a scope for the route, where the router never sees the request. `path` is the template."""

    path: str


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The caller's X-Request-Id if it is plain, else one that nobody else has."""
    given = headers.get(b"x-request-id")
    if given is not None and ACCEPTED_ID.fullmatch(given):
        return given.decode()
    return f"{random.getrandbits(128):032x}"


def count(method: str, route: str | None, status: int, seconds: float, read: int, sent: int) -> None:
    """Count an answered request.

    Args:
        route: the template of the path, as /v1/jobs/{job_id}; None where no route knows it.
        status: 0 where no answer was begun.
        read, sent: bytes of the two bodies.
    """
    shown = f"{status // 100}xx" if status else "none"
    requests, request_seconds, request_bytes, response_bytes = _series(
        method if method in METHODS else "other", route or "unknown", shown
    )
    TALLY.add(requests)
    TALLY.observe(request_seconds, seconds)
    TALLY.observe(request_bytes, read)
    TALLY.observe(response_bytes, sent)


@lru_cache(maxsize=1024)
def _series(method: str, route: str, status: str) -> tuple[Counter, Histogram, Histogram, Histogram]:
    """The series of a kind of request; to look them up again for each one takes as long as to count it."""
    return (
        metrics.REQUESTS.labels(method, route, status),
        metrics.REQUEST_SECONDS.labels(method, route),
        metrics.REQUEST_BYTES.labels(route),
        metrics.RESPONSE_BYTES.labels(route),
    )


def log_request(method: str, path: str, status: int, seconds: float, name: str, *, is_frequent: bool = False) -> None:
    """A line for a request; at DEBUG where it is frequent and went well, since the line takes as long as the answer."""
    level = logging.DEBUG if status < 400 and is_frequent else logging.INFO
    if not access_log.isEnabledFor(level):
        return
    token = request_id.set(name)
    facts = {"method": method, "path": path, "status": status, "ms": round(seconds * 1000, 2)}
    access_log.log(level, "%s %s %d", method, path, status, extra={"facts": facts})
    request_id.reset(token)
