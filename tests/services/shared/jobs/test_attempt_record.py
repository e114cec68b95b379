"""What a worker counts of its attempts: how each one ended, and how long the jobs had waited."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from llactr_core.errors import OptionError, UnavailableError
from llactr_core.progress import Progress
from services.shared.jobs.context import JobContext
from services.shared.jobs.job import State
from services.shared.jobs.store import JobStore
from services.shared.jobs.worker import run_worker
from services.shared.settings import ServiceSettings
from services.shared.telemetry import metrics


def succeed(_context: JobContext) -> dict[str, Any]:
    return {}


def refuse(_context: JobContext) -> dict[str, Any]:
    raise OptionError("no such option")


def need(_context: JobContext) -> dict[str, Any]:
    raise UnavailableError("the other service is away")


def crash(_context: JobContext) -> dict[str, Any]:
    raise KeyError("a mistake of ours")


def go_on(context: JobContext) -> dict[str, Any]:
    while True:
        context.report(Progress("going on", 0.5))
        context.sleep(0.01)


def counted(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def attempts(outcome: str) -> float:
    return counted("llactr_job_attempts_ended_total", kind="counted", outcome=outcome)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("handler", "meanwhile", "outcome"),
    [
        (succeed, None, "succeeded"),
        (refuse, None, "failed"),
        (crash, None, "failed"),
        (need, None, "waiting"),
        (go_on, "cancel", "cancelled"),
        (go_on, "stop", "released"),
        (go_on, "steal", "lost"),
    ],
)
def test_the_end_of_an_attempt_is_counted(
    store: JobStore, settings: ServiceSettings, handler: Any, meanwhile: str | None, outcome: str
) -> None:
    before = attempts(outcome)
    begun = counted("llactr_job_attempts_total", kind="counted")
    waited = counted("llactr_job_queue_seconds_count", kind="counted")
    job = store.submit("counted", {})
    stop = threading.Event()
    worker = threading.Thread(target=run_worker, args=(store, {"counted": handler}, settings, stop))
    worker.start()
    if meanwhile is not None:
        until(lambda: store.peek(job.id).state is State.RUNNING)
    if meanwhile == "cancel":
        store.cancel(job.id)
    elif meanwhile == "stop":
        stop.set()
    elif meanwhile == "steal":
        store.fail(job.id, OptionError("another worker ended it"))
    until(lambda: attempts(outcome) == before + 1)
    stop.set()
    worker.join()
    assert counted("llactr_job_attempts_total", kind="counted") == begun + 1
    assert counted("llactr_job_queue_seconds_count", kind="counted") == waited + 1
    assert time.time() - counted("llactr_worker_heartbeat_timestamp_seconds") < 60
