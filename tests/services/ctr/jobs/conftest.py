"""Job contexts as the worker makes them."""

from typing import Any

import pytest

from services.ctr.promotion.promotion import Promotion
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
from services.shared.jobs.context import JobContext
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage


@pytest.fixture
def promotion(registry: Registry, work_settings: CtrSettings) -> Promotion:
    return Promotion(registry, work_settings)


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
