"""Jobs over HTTP: one, the recent ones, cancellation, and a stream of changes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from llactr_core.errors import RateError, UnavailableError
from services.shared.access.auth import Guard, Role, caller_of
from services.shared.http.problems import documented
from services.shared.jobs.job import Job
from services.shared.jobs.store import JobStore

EVENT_POLL_S = 0.2
KEEP_ALIVE_S = 15.0
LOOKERS = 4

EXAMPLE: dict[str, JsonValue] = {
    "id": "3f0c6c1f8f0e4f7f9d7f1f5f0a4d2b11",
    "kind": "refresh",
    "state": "running",
    "stage": "tuning",
    "progress": 0.4,
    "eta_s": 21.5,
    "step": 40,
    "loss": 0.83,
    "result": None,
    "error": None,
    "attempts": 1,
    "created_at": "2026-11-02T10:00:00.000+00:00",
    "started_at": "2026-11-02T10:00:00.200+00:00",
    "finished_at": None,
}


class JobView(BaseModel):
    """A job as the outside sees it."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    kind: str
    state: str = Field(description="queued, running, succeeded, failed or cancelled; the last three are final.")
    stage: str = Field(description="What is being done, in words.")
    progress: float = Field(ge=0, le=1, description="The share that is done.")
    eta_s: float | None = Field(description="Seconds left, where that is known.")
    step: int | None = Field(description="The optimizer step, while a model is tuned or trained.")
    loss: float | None = Field(description="The loss at that step.")
    result: dict[str, Any] | None = Field(description="What came out; only of a job that succeeded.")
    error: dict[str, Any] | None = Field(description="The problem (RFC 9457); only of a job that failed.")
    attempts: int = Field(description="How often a worker took it up; more than 1 after a worker was killed.")
    created_at: str
    started_at: str | None
    finished_at: str | None


class JobList(BaseModel):
    """The newest jobs first."""

    jobs: list[JobView]


class JobRef(BaseModel):
    """What a call that starts a job answers: where to look."""

    id: str
    state: str


class Accepted(BaseModel):
    """The answer 202: the job does it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"job": {"id": EXAMPLE["id"], "state": "queued"}}]})

    job: JobRef


def job_router(store: JobStore, guard: Guard, max_streams: int, ended: Callable[[], object] | None = None) -> APIRouter:
    """The routes under /v1/jobs.

    Args:
        store: the jobs.
        guard: checks the keys.
        max_streams: so many streams of events may be open.
        ended: is called before an answer tells that a job has ended.
    """
    streams = _Streams(max_streams)
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    reader, trainer = Depends(guard.require(Role.READER)), Depends(guard.require(Role.TRAINER))

    def peek(job_id: str) -> Job:
        job = store.peek(job_id)
        if job.is_final and ended is not None:
            ended()
        return job

    def own(request: Request, job_id: str) -> Job:
        job = peek(job_id)
        guard.allow(request, job.lane)
        return job

    @router.get("", summary="The newest jobs", dependencies=[reader], responses=documented(401, 403))
    def recent(request: Request, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> JobList:
        return JobList(jobs=[JobView(**job.public()) for job in store.recent(limit, caller_of(request).scopes)])

    @router.get("/{job_id}", summary="One job", dependencies=[reader], responses=documented(401, 403, 404))
    def one(request: Request, job_id: str) -> JobView:
        return JobView(**own(request, job_id).public())

    @router.delete(
        "/{job_id}",
        summary="Cancel a job",
        description="200: it is cancelled. 202: it runs, and its worker was asked to stop.",
        dependencies=[trainer],
        responses={202: {"model": JobView, "description": "Asked to stop."}, **documented(401, 403, 404, 409)},
    )
    def cancel(request: Request, job_id: str, response: Response) -> JobView:
        own(request, job_id)
        job = store.cancel(job_id)
        response.status_code = 200 if job.is_final else 202
        return JobView(**job.public())

    @router.get(
        "/{job_id}/events",
        summary="A job's changes as server-sent events",
        description="Each `progress` event carries the job as JSON. The stream ends after a final state, and where the "
        "process that sends it ends: then ask again.",
        dependencies=[reader],
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}, **documented(401, 403, 404)},
    )
    async def events(request: Request, job_id: str) -> StreamingResponse:
        await run_in_threadpool(own, request, job_id)
        streams.check()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        is_ending = getattr(request.state, "is_ending", _never)
        content = streams.counted(_changes(partial(streams.look, partial(peek, job_id)), is_ending))
        return StreamingResponse(content, media_type="text/event-stream", headers=headers)

    return router


class _Streams:
    """The open streams of events; a few threads look at the jobs for all of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0
        self._threads = CapacityLimiter(LOOKERS)

    def check(self) -> None:
        """Let one more stream be opened.

        Raises:
            RateError: too many are.
        """
        if self._open >= self._most:
            raise RateError(
                f"{self._open} streams of events are open here, and {self._most} may be; ask for the job itself "
                "(GET /v1/jobs/{id}) every few seconds, or for the stream later"
            )

    async def counted(self, content: AsyncIterator[str]) -> AsyncIterator[str]:
        """The content of a stream, which is open meanwhile."""
        self._open += 1
        try:
            async for part in content:
                yield part
        finally:
            self._open -= 1

    async def look(self, peek: Callable[[], Job]) -> Job:
        """The job as it is now.

        Raises:
            UnavailableError: the database does not answer.
        """
        return await to_thread.run_sync(peek, limiter=self._threads)


def _never() -> bool:
    return False


async def _changes(look: Callable[[], Awaitable[Job]], is_ending: Callable[[], bool]) -> AsyncIterator[str]:
    last, silent_s, is_final = "", 0.0, False
    while not is_final and not is_ending():
        try:
            job = await look()
            content, is_final = json.dumps(job.public()), job.is_final
        except UnavailableError:  # who listens hears of it when the database answers again
            content = last
        if content != last:
            last, silent_s = content, 0.0
            yield f"event: progress\ndata: {content}\n\n"
        elif silent_s >= KEEP_ALIVE_S:
            silent_s = 0.0
            yield ": still here\n\n"
        if not is_final:
            await asyncio.sleep(EVENT_POLL_S)
            silent_s += EVENT_POLL_S
