"""Counting what engines do."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from services.shared.telemetry.metrics import ENGINE_CALLS, ENGINE_SECONDS


@contextmanager
def measured(engine: str) -> Iterator[None]:
    """Count one batch of texts given to an engine, and its seconds."""
    began = time.monotonic()
    try:
        yield
    except BaseException:
        ENGINE_CALLS.labels(engine, "failed").inc()
        raise
    ENGINE_CALLS.labels(engine, "answered").inc()
    ENGINE_SECONDS.labels(engine).observe(time.monotonic() - began)
