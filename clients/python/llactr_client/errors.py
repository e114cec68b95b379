"""What can go wrong when a service is called, in one tree.

ClientError
|-- ApiError            the service answered with an error (RFC 9457 problem+json)
|-- ConnectionFailed    no answer: the service is down, unreachable, or too slow
|   `-- DeadlineExceeded    no answer before the caller's deadline
|-- JobFailed           a job that was waited for ended as failed or cancelled
`-- JobTimeout          a job that was waited for is still going when the time is over
"""

import json


class ClientError(Exception):
    """Base of the tree."""


class ApiError(ClientError):
    """The service refused the call. `row` and `field` point into the caller's data where that applies."""

    def __init__(
        self, status: int, code: str, detail: str, *, row: int | None = None, field: str | None = None
    ) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.row = row
        self.field = field


class ConnectionFailed(ClientError):
    """The service gave no answer, also after the retries."""


class DeadlineExceeded(ConnectionFailed):
    """The time that the caller gave was over before the answer, all tries together."""


class JobFailed(ClientError):
    """The job ended as failed or cancelled; `code` and `detail` are those of its problem."""

    def __init__(self, job_id: str, state: str, code: str, detail: str) -> None:
        super().__init__(f"job {job_id} {state}: {detail} ({code})")
        self.job_id = job_id
        self.state = state
        self.code = code
        self.detail = detail


class JobTimeout(ClientError):
    """The job had not ended when the time was over; it goes on at the service."""


def error_of(status: int, body: bytes) -> ApiError:
    """The error that a response with status >= 400 stands for; understands bodies that are no problem+json too."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        text = body[:300].decode("utf-8", "replace").strip()
        return ApiError(status, "unexpected-answer", text or "an error without a body")
    row, field = problem.get("row"), problem.get("field")
    return ApiError(
        status,
        str(problem.get("code") or "unexpected-answer"),
        str(problem.get("detail") or problem.get("title") or "an error without a detail"),
        row=row if isinstance(row, int) else None,
        field=field if isinstance(field, str) else None,
    )
