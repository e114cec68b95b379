"""GET /metrics: what Prometheus reads. It answers also while the storage does not."""

import threading
import time

import anyio.to_thread
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client.exposition import choose_encoder
from sqlalchemy import func, select

from llactr_core.errors import UnavailableError
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented
from services.shared.jobs.job import JobRow, State
from services.shared.storage.storage import Storage
from services.shared.telemetry import metrics, several

FRESH_S = 5.0
PATIENCE_S = 1.0


class JobCounts:
    """The jobs by state as the storage has them, counted at most every 5 s."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._counting = threading.Lock()
        self._counted_at = -FRESH_S

    def refresh(self) -> None:
        """Set the gauges `llactr_jobs` and `llactr_storage_up`. Returns at once while another thread counts."""
        if not self._counting.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._counted_at >= FRESH_S:
                self._count()
                self._counted_at = time.monotonic()
        finally:
            self._counting.release()

    def _count(self) -> None:
        try:
            with self._storage.reading() as session:
                rows = session.execute(select(JobRow.state, func.count()).group_by(JobRow.state)).all()
        except UnavailableError:
            unknown()
            return
        found = {row[0]: row[1] for row in rows}
        for state in State:
            metrics.JOBS.labels(state.value).set(found.get(state.value, 0))
        metrics.STORAGE_UP.set(1)


def unknown() -> None:
    """The storage does not answer: no number is better than an old one."""
    metrics.JOBS.clear()
    metrics.STORAGE_UP.set(0)


def metric_router(storage: Storage, guard: Guard) -> APIRouter:
    """The route /metrics."""
    router = APIRouter(tags=["health"])
    counts = JobCounts(storage)
    shown = several.of_all(metrics.REGISTRY, metrics.REGISTRY.declared)

    @router.get(
        "/metrics",
        summary="What the service's API did and how it is, in Prometheus' text format",
        dependencies=[Depends(guard.require(Role.READER))],
        response_class=Response,
        responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}, **documented(401, 403)},
    )
    async def scrape(request: Request) -> Response:
        with anyio.move_on_after(PATIENCE_S) as patience:
            await anyio.to_thread.run_sync(counts.refresh, abandon_on_cancel=True)
        if patience.cancelled_caught:
            unknown()
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(shown), media_type=media_type)

    return router
