"""Waiting for a job to end: when to ask again, when to give up. No input or output here."""

import time
from collections.abc import Callable

from llactr_client.errors import ApiError, ClientError, ConnectionFailed, JobFailed, JobTimeout
from llactr_client.results import Job

JobCallback = Callable[[Job], None]
AGAIN_S = 0.2  # the pause before a stream of events that ended early is asked for again


class Waiting:
    """One wait. It bridges an outage of the service of up to `patience_s` (a restart), since jobs are durable.

    Args:
        job: the job as it was when the wait began.
        on_progress: called with each new state of the job, the last one included.
        timeout: seconds until JobTimeout; None waits for ever.
        patience_s: the longest time without any answer.
    """

    def __init__(
        self, job: Job, on_progress: JobCallback | None, timeout: float | None, patience_s: float = 60.0
    ) -> None:
        self.job = job
        self._tell = on_progress
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._patience_s = patience_s
        self._heard = time.monotonic()
        self._told: Job | None = None
        self.pause_s = 0.1

    def asked(self, outcome: Job | ClientError) -> Job | None:
        """Take the answer to one question; the job once it has succeeded, None to go on after `pause_s`.

        Raises:
            JobFailed: it failed or was cancelled.
            JobTimeout: the time is over.
            ApiError, ConnectionFailed: the service refuses to tell, or has been silent for too long.
        """
        if isinstance(outcome, ClientError):
            self._silent(outcome)
        else:
            self._heard = time.monotonic()
            self.job = outcome
            if outcome != self._told and self._tell is not None:
                self._tell(outcome)
            self._told = outcome
            if outcome.ended:
                return succeeded(outcome)
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise JobTimeout(f"job {self.job.id} is still {self.job.state} ({self.job.stage}); it goes on")
        self.pause_s = min(self.pause_s * 1.3, 0.5)
        return None

    def _silent(self, error: ClientError) -> None:
        bridged = isinstance(error, ConnectionFailed) or (isinstance(error, ApiError) and error.status == 503)
        if not bridged or time.monotonic() - self._heard > self._patience_s:
            raise error


def succeeded(job: Job) -> Job:
    """The job itself.

    Raises:
        JobFailed: it failed or was cancelled.
    """
    if job.state == "succeeded":
        return job
    problem = job.error or {}
    code = str(problem.get("code") or job.state)
    raise JobFailed(job.id, job.state, code, str(problem.get("detail") or "no reason was given"))
