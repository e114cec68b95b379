"""The metrics of both services, for Prometheus: declared here, counted where things happen, read at GET /metrics.

What only one service has stands in a `metrics.py` of its own, on the same `REGISTRY`.
A process counts what it does itself: the API its requests, reads and embeddings, the worker its jobs and tunings. What
several processes of one API count is added up (`services.shared.telemetry.several`).
Labels take few values, all known beforehand or bounded by what was registered; never an id or a text of a caller.
"""

from collections.abc import Iterable, Iterator
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from services.shared.telemetry import several

several.join_others()
# Else each counter and histogram has one more series, of when it was made, that nothing reads.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Register(CollectorRegistry):
    """A registry that knows what was declared on it, in that order."""

    def __init__(self) -> None:
        super().__init__(auto_describe=True)
        self.declared: list[Collector] = []

    def register(self, collector: Collector) -> None:
        """Add a metric.

        Raises:
            ValueError: its name is taken.
        """
        super().register(collector)
        self.declared.append(collector)


REGISTRY = Register()
LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DURATION_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 43200)
SIZE_BYTES = (100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)


class GaugeOnceSet(Gauge):
    """A gauge without labels that is absent until it is first set: in the other processes its 0 would be an alarm."""

    _is_set = False

    def set(self, value: float) -> None:
        """Show this value from here on."""
        super().set(value)
        self._is_set = True

    def collect(self) -> Iterable[Metric]:
        """The gauge with its value, or nothing."""
        return super().collect() if self._is_set else ()


# -- requests ---------------------------------------------------------------------------------------------------------
REQUESTS = Counter(
    "llactr_http_requests",
    "Requests by the route's template, the method and the class of the status (2xx, 4xx ...).",
    ("method", "route", "status"),
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "llactr_http_request_seconds",
    "Seconds from a request's head to the end of its answer.",
    ("method", "route"),
    buckets=LATENCY_S,
    registry=REGISTRY,
)
REQUESTS_IN_FLIGHT = Gauge(
    "llactr_http_requests_in_flight",
    "Requests that are being answered.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
REQUEST_BYTES = Histogram(
    "llactr_http_request_bytes",
    "Bytes of the request bodies that were read.",
    ("route",),
    buckets=SIZE_BYTES,
    registry=REGISTRY,
)
RESPONSE_BYTES = Histogram(
    "llactr_http_response_bytes", "Bytes of the answers' bodies.", ("route",), buckets=SIZE_BYTES, registry=REGISTRY
)
KEYS_REFUSED = Counter(
    "llactr_keys_refused",
    "Calls refused for their key: missing, unknown, of too low a role, limited to others (scope), or too many (rate).",
    ("reason",),
    registry=REGISTRY,
)

# -- storage and jobs -------------------------------------------------------------------------------------------------
STORAGE_UP = GaugeOnceSet(
    "llactr_storage_up",
    "Whether the SQL storage answered the API when it was last asked; absent in workers.",
    registry=REGISTRY,
)
JOBS = Gauge(
    "llactr_jobs", "Jobs in the storage by state; absent while it does not answer.", ("state",), registry=REGISTRY
)
JOB_ATTEMPTS_ENDED = Counter(
    "llactr_job_attempts_ended",
    "Attempts at jobs that this worker ended: succeeded, failed, cancelled, waiting (put off because something that it "
    "needs did not answer), released (given back) or lost (taken over by another worker).",
    ("kind", "outcome"),
    registry=REGISTRY,
)
JOB_SECONDS = Histogram(
    "llactr_job_seconds", "Seconds of one attempt at a job.", ("kind",), buckets=DURATION_S, registry=REGISTRY
)
JOB_QUEUE_SECONDS = Histogram(
    "llactr_job_queue_seconds",
    "Seconds from a job's submission to its first claim.",
    ("kind",),
    buckets=DURATION_S,
    registry=REGISTRY,
)
JOB_ATTEMPTS = Counter("llactr_job_attempts", "Jobs taken up by this worker.", ("kind",), registry=REGISTRY)
LEASE_RENEWALS = Counter(
    "llactr_worker_lease_renewals",
    "Attempts to renew a lease: renewed, lost, or failed (the storage did not answer).",
    ("outcome",),
    registry=REGISTRY,
)
WORKER_HEARTBEAT = GaugeOnceSet(
    "llactr_worker_heartbeat_timestamp_seconds",
    "When the worker last looked at the storage and was answered, in seconds since the epoch; absent in APIs.",
    registry=REGISTRY,
)

# -- field tables, caches, embeddings ---------------------------------------------------------------------------------
CACHE_CALLS = Counter(
    "llactr_cache_calls",
    "Calls to Redis by operation (get, put, publish, script) and outcome (hit, miss, done, failed, skipped).",
    ("operation", "outcome"),
    registry=REGISTRY,
)
TABLE_READS = Counter(
    "llactr_table_reads",
    "Field tables read, by where they were found: memory, redis or storage.",
    ("source",),
    registry=REGISTRY,
)
EMBEDDING_TEXTS = Counter(
    "llactr_embedding_texts",
    "Texts asked for, by where their vectors came from: computed, memory, redis, sql, or shared with a call that was "
    "computing them.",
    ("source",),
    registry=REGISTRY,
)
ENGINE_CALLS = Counter(
    "llactr_engine_calls",
    "Batches of texts given to an engine (transformers or vllm), answered or failed.",
    ("engine", "outcome"),
    registry=REGISTRY,
)
ENGINE_SECONDS = Histogram(
    "llactr_engine_seconds",
    "Seconds an engine took for one batch of texts.",
    ("engine",),
    buckets=LATENCY_S,
    registry=REGISTRY,
)

# -- tuning -----------------------------------------------------------------------------------------------------------
TUNING_SECONDS = Histogram(
    "llactr_tuning_seconds", "Seconds of one tuning of a language model.", buckets=DURATION_S, registry=REGISTRY
)
TUNING_TOKENS = Counter("llactr_tuning_tokens", "Tokens that tunings have read.", registry=REGISTRY)
TUNING_ACCURACY = Gauge(
    "llactr_tuning_accuracy", "Held-out field accuracy of the schema's last tuning.", ("schema",), registry=REGISTRY
)

# -- the process ------------------------------------------------------------------------------------------------------
BUILD_INFO = Gauge("llactr_build_info", "Always 1; the label tells the version.", ("version",), registry=REGISTRY)
BUILD_INFO.labels(version("llactr")).set(1)
ProcessCollector(registry=REGISTRY)


def described() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """(name, type, labels, help) of every metric of the services that are imported, the name as Prometheus shows it."""
    for metric in REGISTRY.declared:
        if isinstance(metric, MetricWrapperBase):
            [family] = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield name, family.type, metric._labelnames, family.documentation
