"""What is recorded of one attempt at a job: its trace, its metrics, and the job's id in every line of the log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from services.shared.jobs.job import Job
from services.shared.telemetry import logs, metrics
from services.shared.telemetry.traces import JobTrace


class AttemptRecord:
    """Begins with the claim; `end` says how it went. Any thread may call any method."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._started = time.monotonic()
        self._trace = JobTrace(job.kind, job.id, job.attempts, job.traceparent)
        self._ended = False
        metrics.JOB_ATTEMPTS.labels(job.kind).inc()
        if job.attempts == 1 and job.waits == 0 and job.started_at is not None:
            metrics.JOB_QUEUE_SECONDS.labels(job.kind).observe(max(job.started_at - job.created_at, 0.0))

    @contextmanager
    def here(self) -> Iterator[None]:
        """Within it, what this thread logs and calls belongs to the job."""
        job, span = logs.job_id.set(self._job.id), self._trace.enter()
        try:
            yield
        finally:
            self._trace.leave(span)
            logs.job_id.reset(job)

    def stage(self, name: str) -> None:
        """The job is in this stage."""
        self._trace.stage(name)

    def end(self, outcome: str) -> None:
        """The attempt is over: succeeded, failed, cancelled, waiting, released or lost. Only the first call counts."""
        if self._ended:
            return
        self._ended = True
        self._trace.end(outcome)
        metrics.JOB_ATTEMPTS_ENDED.labels(self._job.kind, outcome).inc()
        metrics.JOB_SECONDS.labels(self._job.kind).observe(time.monotonic() - self._started)
