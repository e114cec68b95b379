"""Structured logs: one JSON object a line on stderr, with the request, the job and the trace that it belongs to."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from services.shared.telemetry.traces import current_ids

KEYS = {
    "time": "When, RFC 3339 in UTC with milliseconds.",
    "level": "DEBUG, INFO, WARNING, ERROR or CRITICAL.",
    "service": "The process: llm-api, llm-worker, ctr-api or ctr-worker.",
    "logger": "The module that speaks; services.access for the line that each request leaves.",
    "message": "What happened, in words.",
    "request_id": "The request it belongs to: the answer's X-Request-Id.",
    "job_id": "The job it belongs to.",
    "trace_id": "The trace it belongs to, in hexadecimal, where there is one.",
    "span_id": "The span within that trace.",
    "method": "Access lines: the request's method.",
    "path": "Access lines: the path without the query.",
    "status": "Access lines: the status; 499 where the caller hung up, 0 where no answer was begun.",
    "ms": "Access lines: milliseconds from the request's head to the end of the answer.",
    "traceback": "The traceback of an error that nobody expected.",
}
# Libraries that report every step of theirs at the level INFO.
CHATTY = ("alembic", "httpx2", "httpcore2", "onnx_ir", "onnxscript", "torch", "urllib3", "uvicorn.access")

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
job_id: ContextVar[str | None] = ContextVar("job_id", default=None)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON with the keys of KEYS.

    What a call gives as `extra={"facts": {...}}` becomes part of the object.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, variable in (("request_id", request_id), ("job_id", job_id)):
            value = variable.get()
            if value is not None:
                content[name] = value
        ids = current_ids()
        if ids is not None:
            content["trace_id"], content["span_id"] = ids
        content.update(getattr(record, "facts", {}))
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False, default=str)


def configure_logging(level: str, service: str) -> None:
    """Send every logger of the process, and Python's warnings, to stderr as JSON, instead of what was set up before.

    `service` names the process in each line: llm-api, llm-worker, ctr-api or ctr-worker.
    """
    logging.captureWarnings(True)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel("WARNING")
