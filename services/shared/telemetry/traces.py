"""One trace from a call to the worker's stages: W3C's `traceparent` comes in, is kept with the job, and goes out again.

Spans leave the process by OTLP over HTTP once `configure_tracing` has got an endpoint. Without one nothing is recorded,
but a caller's trace is still handed on, and named in the logs.
"""

import os
import threading
from collections.abc import Mapping
from contextvars import Token
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NoOpTracer, Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SPANS = {
    "METHOD ROUTE": "A request, named by its method and the route's template. Attributes: http.request.method, "
    "http.route, http.response.status_code, llactr.request_id. Probes and scrapes have none.",
    "job KIND": "One attempt at a job, in the trace of the call that submitted it. Attributes: llactr.job_id, "
    "llactr.attempt, llactr.outcome.",
    "STAGE": "What the job reported to be doing, a child of the attempt: as `stage` of GET /v1/jobs/{id} shows it, "
    "up to a colon.",
}
UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})
FLUSH_S = 2.0
MAX_HEADER = 512

_propagator = TraceContextTextMapPropagator()
_tracer: Tracer = NoOpTracer()
_provider: "TracerProvider | None" = None


def configure_tracing(service: str, endpoint: str | None) -> None:
    """Send spans to `<endpoint>/v1/traces` under the name `llactr-<service>`; without an endpoint nothing is sent.

    Headers, sampling, batching and the resource follow OpenTelemetry's standard variables (OTEL_...).
    """
    global _tracer, _provider
    if not endpoint:
        return
    # Only here: a process that sends no spans pays nothing for the exporter.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    close_tracing()
    name = os.environ.get("OTEL_SERVICE_NAME") or f"llactr-{service}"
    _provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    _tracer = _provider.get_tracer("llactr")


def is_recording() -> bool:
    """Whether spans leave this process."""
    return _provider is not None


def close_tracing() -> None:
    """Send what is left, for at most 2 s: a collector that does not answer must not keep a process from ending."""
    global _tracer, _provider
    if _provider is None:
        return
    sending = threading.Thread(target=_provider.shutdown, name="last-spans", daemon=True)
    sending.start()
    sending.join(FLUSH_S)
    _tracer, _provider = NoOpTracer(), None


def traceparent() -> str | None:
    """The header `traceparent` of the span that this code runs in, for what continues the trace elsewhere."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def current_ids() -> tuple[str, str] | None:
    """(trace id, span id) of the span that this code runs in, in hexadecimal; None outside of any trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


@dataclass(frozen=True)
class RequestTrace:
    """The span of a request that is being answered."""

    method: str
    span: Span
    token: Token[Context]

    def end(self, route: str | None, request_id: str, status: int) -> None:
        """The request was answered with this status."""
        if self.span.is_recording():
            if route is not None:
                self.span.update_name(f"{self.method} {route}")
                self.span.set_attribute("http.route", route)
            self.span.set_attribute("http.response.status_code", status)
            self.span.set_attribute("llactr.request_id", request_id)
            if status >= 500:
                self.span.set_status(StatusCode.ERROR)
        self.span.end()
        detach(self.token)


def begin_request(method: str, path: str, headers: Mapping[bytes, bytes]) -> RequestTrace | None:
    """Continue the caller's trace, or begin one; None where there is nothing to continue and nobody to tell."""
    given = headers.get(b"traceparent", b"")[:MAX_HEADER].decode("latin-1")
    if path in UNTRACED or (not given and _provider is None):
        return None
    context = _context_of(given, headers.get(b"tracestate", b"")[:MAX_HEADER].decode("latin-1"))
    span = _tracer.start_span(method, context, SpanKind.SERVER, {"http.request.method": method})
    return RequestTrace(method, span, attach(trace.set_span_in_context(span, context)))


class JobTrace:
    """The span of one attempt at a job, and under it that of the stage it is in. Any thread may call any method."""

    def __init__(self, kind: str, job_id: str, attempt: int, parent: str | None) -> None:
        attributes: dict[str, str | int] = {"llactr.job_id": job_id, "llactr.attempt": attempt}
        self._lock = threading.Lock()
        self._span = _tracer.start_span(f"job {kind}", _context_of(parent), SpanKind.CONSUMER, attributes)
        self._context = trace.set_span_in_context(self._span, Context())
        self._stage: tuple[str, Span] | None = None
        self._ended = False

    def enter(self) -> Token[Context]:
        """Let this thread run in the job's span; `leave` with the token ends that."""
        return attach(self._context)

    @staticmethod
    def leave(token: Token[Context]) -> None:
        """Let this thread run in what it ran in before."""
        detach(token)

    def stage(self, name: str) -> None:
        """The job is in this stage: the span of another one ends, and this thread runs in the stage's span."""
        name = name.split(":")[0]
        with self._lock:
            if self._ended or (self._stage is not None and self._stage[0] == name):
                return
            self._end_stage()
            span = _tracer.start_span(name, self._context)
            self._stage = name, span
        attach(trace.set_span_in_context(span, self._context))  # until the next stage, or the end of the thread

    def end(self, outcome: str) -> None:
        """The attempt is over: succeeded, failed, cancelled, waiting, released or lost."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self._end_stage()
            self._span.set_attribute("llactr.outcome", outcome)
            if outcome == "failed":
                self._span.set_status(StatusCode.ERROR)
            self._span.end()

    def _end_stage(self) -> None:
        if self._stage is not None:
            self._stage[1].end()


def _context_of(given: str | None, state: str = "") -> Context:
    carrier = {"traceparent": given or "", "tracestate": state}
    return _propagator.extract(carrier, Context())
