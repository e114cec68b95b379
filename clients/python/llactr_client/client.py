"""The synchronous client."""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx2

from llactr_client.call import Call, Parts, Reply, Service
from llactr_client.calls import jobs as jobs_calls
from llactr_client.calls import keys as keys_calls
from llactr_client.calls import llm, scoring, training
from llactr_client.calls import models as models_calls
from llactr_client.calls import traffic as traffic_calls
from llactr_client.calls import values as values_calls
from llactr_client.deadline import Deadline, Timeouts, timely
from llactr_client.errors import ClientError, error_of
from llactr_client.exchange import (
    LOOPBACK,
    Exchange,
    ReplyCache,
    Retry,
    TraceSource,
    checked_key,
    limits,
    lost,
    named,
    reply_of,
    trust,
)
from llactr_client.results import Health, Job
from llactr_client.waiting import AGAIN_S, JobCallback, Waiting

T = TypeVar("T")
P = ParamSpec("P")
CTR_URL = "http://127.0.0.1:8000"
LLM_URL = "http://127.0.0.1:8001"


def _sent(plan: Callable[P, Call[T]]) -> Callable[Concatenate["Client", P], T]:
    """The method that sends the planned call."""

    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client.send(plan(*args, **kwargs))

    return named(method, plan)


def _sent_in_parts(plan: Callable[P, Parts[T]]) -> Callable[Concatenate["Client", P], T]:
    """The method that sends the planned calls one after the other."""

    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client.send_parts(plan(*args, **kwargs))

    return named(method, plan)


class Client:
    """Talks to the CTR service and the LLM service over pooled connections; safe to share between threads.

    Every method may raise ApiError (the service refused) and ConnectionFailed (no answer, also after retries);
    DeadlineExceeded is a ConnectionFailed.

    Args:
        ctr_url: base URL of the CTR service.
        llm_url: base URL of the LLM service.
        key: API key; reading and scoring may work without one, changing never does.
        timeout_s: seconds that one answer may take.
        deadline_s: seconds that a call may take, all its tries together, where the call does not say; None: no limit.
        retry: how often and with which pauses a call is repeated that did not arrive, or broke off, or was answered
            by 503 or 429.
        trace: gives the W3C `traceparent` of the trace that the calls belong to, or None.

    Raises:
        ClientError: the key holds what no key can.
    """

    def __init__(
        self,
        ctr_url: str = CTR_URL,
        llm_url: str = LLM_URL,
        key: str | None = None,
        *,
        timeout_s: float = 60.0,
        deadline_s: float | None = None,
        retry: Retry | None = None,
        trace: TraceSource | None = None,
    ) -> None:
        self._base: dict[Service, str] = {"ctr": ctr_url.rstrip("/"), "llm": llm_url.rstrip("/")}
        self._key = checked_key(key)
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._retry = retry or Retry()
        self._trace = trace
        self._cache = ReplyCache()
        direct: dict[str, httpx2.BaseTransport | None] = dict.fromkeys(LOOPBACK)
        self._http = httpx2.Client(limits=limits(), mounts=direct, verify=trust(ctr_url, llm_url))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Send a call and return its parsed answer."""
        return self._send(call, Deadline(self._deadline_s if call.deadline_s is None else call.deadline_s))

    def send_parts(self, parts: Parts[T]) -> T:
        """Send the calls of a large input and return their joined answer."""
        deadline = Deadline(self._deadline_s if parts.deadline_s is None else parts.deadline_s)
        first = self._send(parts.first, deadline)
        return parts.joined([first, *(self._send(call, deadline) for call in parts.rest(first))])

    def _send(self, call: Call[T], deadline: Deadline) -> T:
        exchange = Exchange(call, self._key, self._retry, self._cache, self._trace, deadline)
        while True:
            pause = exchange.judge(self._transfer(call, exchange))
            if pause is None:
                return exchange.result
            time.sleep(pause)

    def _transfer(self, call: Call[T], exchange: Exchange[T]) -> Reply | httpx2.TransportError:
        url = self._base[call.service] + call.target
        waits = {"timeout": Timeouts(self._timeout_s, exchange.deadline)}
        sent = self._http.stream(call.method, url, content=call.body, headers=exchange.headers, extensions=waits)
        try:
            with sent as response:
                return reply_of(response, timely(response.iter_bytes(), exchange.deadline))
        except TimeoutError as error:
            raise exchange.late() from error
        except httpx2.TransportError as error:
            return error

    # -- the LLM service ------------------------------------------------------------------------------------------

    register_schema = _sent(llm.register_schema)
    schemas = _sent(llm.schemas)
    schema = _sent(llm.schema)
    refresh_fields = _sent(llm.refresh_fields)
    fields = _sent(llm.fields)
    fields_file = _sent(llm.fields_file)
    field_versions = _sent(llm.field_versions)
    similarity = _sent(llm.similarity)
    compare_fields = _sent(llm.compare_fields)
    delete_fields = _sent(llm.delete_fields)
    prune_fields = _sent(llm.prune_fields)
    set_field_alias = _sent(llm.set_field_alias)
    delete_field_alias = _sent(llm.delete_field_alias)
    embeddings = _sent(llm.embeddings)

    # -- the CTR service ------------------------------------------------------------------------------------------

    score = _sent_in_parts(scoring.score)
    explain = _sent(scoring.explain)
    models = _sent(models_calls.models)
    model_versions = _sent(models_calls.model_versions)
    model_version = _sent(models_calls.model_version)
    model_history = _sent(models_calls.model_history)
    promote = _sent(models_calls.promote)
    rollback = _sent(models_calls.rollback)
    delete_alias = _sent(models_calls.delete_alias)
    import_version = _sent(models_calls.import_version)
    delete_version = _sent(models_calls.delete_version)
    prune_versions = _sent(models_calls.prune_versions)
    train = _sent(training.train)
    refresh = _sent(training.refresh)
    prove = _sent(training.prove)
    proof_report = _sent(training.proof_report)
    schedule = _sent(training.schedule)
    set_schedule = _sent(training.set_schedule)
    delete_schedule = _sent(training.delete_schedule)
    add_values = _sent(values_calls.add_values)
    later_values = _sent(values_calls.later_values)
    drop_values = _sent(values_calls.drop_values)
    traffic = _sent(traffic_calls.traffic)
    set_traffic = _sent(traffic_calls.set_traffic)
    delete_traffic = _sent(traffic_calls.delete_traffic)
    shadow_report = _sent(traffic_calls.shadow_report)
    report_outcomes = _sent(traffic_calls.report_outcomes)
    quality = _sent(traffic_calls.quality)

    # -- both -----------------------------------------------------------------------------------------------------

    create_key = _sent(keys_calls.create_key)
    keys = _sent(keys_calls.keys)
    revoke_key = _sent(keys_calls.revoke_key)
    audit = _sent(keys_calls.audit)
    jobs = _sent(jobs_calls.jobs)
    job = _sent(jobs_calls.job)
    cancel_job = _sent(jobs_calls.cancel_job)

    def job_events(self, job_id: str, service: Service = "ctr") -> Iterator[Job]:
        """The job after each of its changes, until it ends; over the end of one of several processes too."""
        call = jobs_calls.job_events(job_id, service)
        headers = Exchange(call, self._key, self._retry, self._cache).headers
        url = self._base[service] + call.target
        patient = {"timeout": Timeouts(None, Deadline(None))}
        job: Job | None = None
        try:
            while job is None or not job.ended:
                with self._http.stream(call.method, url, headers=headers, extensions=patient) as response:
                    if response.status_code >= 300:
                        raise error_of(response.status_code, response.read())
                    for line in response.iter_lines():
                        if line.startswith("data:"):
                            job = call.parse(Reply(200, {}, line.removeprefix("data:").strip().encode()))
                            yield job
                if job is None or not job.ended:
                    time.sleep(AGAIN_S)
        except httpx2.TransportError as error:
            raise lost(call, error) from error

    def wait_for_job(self, job: Job, on_progress: JobCallback | None = None, timeout: float | None = None) -> Job:
        """Wait until the job has succeeded, over restarts of the service too.

        Raises:
            JobFailed: it failed or was cancelled.
            JobTimeout: it had not ended after `timeout` seconds.
        """
        waiting = Waiting(job, on_progress, timeout)
        outcome: Job | ClientError
        while True:
            try:
                outcome = self.job(job.id, job.service)
            except ClientError as error:
                outcome = error
            done = waiting.asked(outcome)
            if done is not None:
                return done
            time.sleep(waiting.pause_s)

    def health(self, service: Service) -> Health:
        """Whether the process lives."""
        return self._probe(service, "healthz")

    def ready(self, service: Service) -> Health:
        """Whether the service can do its work: for CTR, whether a champion is loaded."""
        return self._probe(service, "readyz")

    def _probe(self, service: Service, probe: str) -> Health:
        try:
            return self.send(jobs_calls.health(service, probe))
        except ClientError as error:
            return Health(False, 0, str(error))
