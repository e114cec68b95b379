"""The synchronous client."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import httpx2

from llactr_client import ctr_calls, key_calls, llm_calls
from llactr_client.call import Call, Reply, Service
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
    reply_of,
    timeout_of,
    trust,
)
from llactr_client.results import (
    Alias,
    ApiKey,
    AuditEntry,
    Comparison,
    Embeddings,
    FieldTable,
    Health,
    Job,
    ModelInfo,
    ModelVersion,
    Refresh,
    Role,
    SchemaInfo,
    Scores,
    Similarity,
    TableVersion,
)
from llactr_client.waiting import JobCallback, Waiting

T = TypeVar("T")
CTR_URL = "http://127.0.0.1:8000"
LLM_URL = "http://127.0.0.1:8001"


class Client:
    """Talks to the CTR service and the LLM service over pooled connections; safe to share between threads.

    Every method may raise ApiError (the service refused) and ConnectionFailed (no answer, also after retries).

    Args:
        ctr_url: base URL of the CTR service.
        llm_url: base URL of the LLM service.
        key: API key; reading and scoring may work without one, changing never does.
        timeout_s: seconds that one answer may take.
        retry: how often and with which pauses a call is repeated that did not arrive or was answered by 503 or 429.
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
        retry: Retry | None = None,
        trace: TraceSource | None = None,
    ) -> None:
        self._base: dict[Service, str] = {"ctr": ctr_url.rstrip("/"), "llm": llm_url.rstrip("/")}
        self._key = checked_key(key)
        self._retry = retry or Retry()
        self._trace = trace
        self._cache = ReplyCache()
        direct: dict[str, httpx2.BaseTransport | None] = dict.fromkeys(LOOPBACK)
        self._http = httpx2.Client(
            timeout=timeout_of(timeout_s), limits=limits(), mounts=direct, verify=trust(ctr_url, llm_url)
        )

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
        exchange = Exchange(call, self._key, self._retry, self._cache, self._trace)
        while True:
            pause = exchange.judge(self._transfer(call, exchange.headers))
            if pause is None:
                return exchange.result
            time.sleep(pause)

    def _transfer(self, call: Call[T], headers: Mapping[str, str]) -> Reply | httpx2.TransportError:
        url = self._base[call.service] + call.target
        try:
            return reply_of(self._http.request(call.method, url, content=call.body, headers=headers))
        except httpx2.TransportError as error:
            return error

    # -- the LLM service ------------------------------------------------------------------------------------------

    def register_schema(self, name: str, fields: Sequence[Mapping[str, object]]) -> SchemaInfo:
        """Register a schema's fields (name, description, kind); an equal one is registered already."""
        return self.send(llm_calls.register_schema(name, fields))

    def schemas(self) -> tuple[SchemaInfo, ...]:
        """All schemas."""
        return self.send(llm_calls.schemas())

    def schema(self, name: str) -> SchemaInfo:
        """One schema."""
        return self.send(llm_calls.schema(name))

    def refresh_fields(
        self,
        schema: str,
        *,
        samples: Mapping[str, Sequence[str]] | None = None,
        dataset: str | None = None,
        model: str | None = None,
        ssft: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
    ) -> Refresh:
        """Tune and embed a schema's fields anew, from samples or from a dataset that the service can read."""
        return self.send(llm_calls.refresh_fields(schema, samples, dataset, model, ssft, idempotency_key))

    def fields(self, schema: str, version: str | None = None) -> FieldTable:
        """The field vectors of a version or alias, default the current one; unchanged vectors are not sent again."""
        return self.send(llm_calls.fields(schema, version))

    def fields_file(self, schema: str, version: str | None = None) -> bytes:
        """The same as the bytes of a .safetensors file."""
        return self.send(llm_calls.fields_file(schema, version))

    def field_versions(self, schema: str) -> tuple[TableVersion, ...]:
        """The versions of a schema's field table."""
        return self.send(llm_calls.field_versions(schema))

    def similarity(self, schema: str) -> Similarity:
        """Cosines between the current field vectors."""
        return self.send(llm_calls.similarity(schema))

    def compare_fields(self, schema: str, a: str = "previous", b: str = "current") -> Comparison:
        """How the field vectors of one version or alias differ from those of another."""
        return self.send(llm_calls.compare_fields(schema, a, b))

    def delete_fields(self, schema: str, version: str) -> tuple[str, ...]:
        """Delete a version of a schema's field table that no alias points at."""
        return self.send(llm_calls.delete_fields(schema, version))

    def prune_fields(self, schema: str, *, dry_run: bool = False) -> tuple[str, ...]:
        """Delete the versions that the retention rule gives up, or (dry run) only tell them."""
        return self.send(llm_calls.prune_fields(schema, dry_run))

    def set_field_alias(self, schema: str, alias: str, version: str) -> Alias:
        """Point an alias at a version; rolling back is the same call with an older version."""
        return self.send(llm_calls.set_field_alias(schema, alias, version))

    def delete_field_alias(self, schema: str, alias: str) -> str:
        """Delete an alias other than `current` and `previous`; the version that it pointed at."""
        return self.send(llm_calls.delete_field_alias(schema, alias))

    def embeddings(
        self, texts: str | Sequence[str], *, model: str | None = None, version: str | None = None
    ) -> Embeddings:
        """Vectors of texts (or of one), by the base model or by the tuned model of a field table version."""
        return self.send(llm_calls.embeddings(texts, model, version))

    # -- the CTR service ------------------------------------------------------------------------------------------

    def score(
        self,
        rows: Sequence[Mapping[str, object]] | None = None,
        *,
        columns: Mapping[str, Sequence[object]] | None = None,
        model: str | None = None,
        details: bool = False,
    ) -> Scores:
        """Probabilities of rows, or of columns (exactly one of them); `model` is NAME, NAME:VERSION or NAME@ALIAS."""
        return self.send(ctr_calls.score(rows, columns, model, details))

    def models(self) -> tuple[ModelInfo, ...]:
        """All models with their aliases."""
        return self.send(ctr_calls.models())

    def model_versions(self, model: str) -> tuple[ModelVersion, ...]:
        """The versions of a model with lineage and metrics."""
        return self.send(ctr_calls.model_versions(model))

    def train(
        self,
        model: str,
        dataset: str,
        *,
        schema: Mapping[str, object] | None = None,
        label: str | None = None,
        backbone: str | None = None,
        enhancer: str | None = None,
        field_schema: str | None = None,
        table_version: str | None = None,
        warm_start: str | None = None,
        options: Mapping[str, object] | None = None,
        promote: bool | None = None,
        force: bool | None = None,
        read_test: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Start the training of a new version; what is None is left to the service. Without a schema give the label."""
        recipe = {
            "dataset": dataset,
            "schema": schema,
            "label": label,
            "backbone": backbone,
            "enhancer": enhancer,
            "field_schema": field_schema,
            "table_version": table_version,
            "warm_start": warm_start,
            "options": options,
            "promote": promote,
            "force": force,
            "read_test": read_test,
        }
        return self.send(ctr_calls.train(model, recipe, idempotency_key))

    def promote(self, model: str, version: str, *, alias: str = "champion", force: bool = False) -> Alias:
        """Point a model's alias at a version; rolling back is the same call with an older version."""
        return self.send(ctr_calls.promote(model, version, alias, force))

    def refresh(
        self,
        model: str | None = None,
        *,
        mode: str | None = None,
        table_version: str | None = None,
        dataset: str | None = None,
        llm: str | None = None,
        ssft: Mapping[str, object] | None = None,
        options: Mapping[str, object] | None = None,
        force: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Start the whole chain: a new field table, a new version trained on it, promotion."""
        request = {
            "model": model,
            "mode": mode,
            "table_version": table_version,
            "dataset": dataset,
            "llm": llm,
            "ssft": ssft,
            "options": options,
            "force": force,
        }
        return self.send(ctr_calls.refresh(request, idempotency_key))

    # -- keys, for admins -----------------------------------------------------------------------------------------

    def create_key(
        self,
        name: str,
        role: Role,
        *,
        service: Service,
        scopes: Collection[str] | None = None,
        key: str | None = None,
        rate_per_s: float | None = None,
    ) -> ApiKey:
        """Let a service accept a key: the given one (to use one key at both services), or one that is made here.

        The service is told the key's digest only; the answer's `key` is the one place where the key itself stands.
        `scopes` are the schemas (LLM) or models (CTR) that it shall be limited to, `rate_per_s` the
        most calls a second.
        """
        call = key_calls.register_key(service, key or key_calls.fresh_key(), name, role, scopes, rate_per_s)
        return self.send(call)

    def keys(self, service: Service) -> tuple[ApiKey, ...]:
        """The keys of a service, oldest first, the revoked ones too."""
        return self.send(key_calls.keys(service))

    def revoke_key(self, key_id: str, service: Service) -> ApiKey:
        """Let a service refuse a key from now on."""
        return self.send(key_calls.revoke_key(service, key_id))

    def audit(self, service: Service, *, limit: int = 100, before: str | None = None) -> tuple[AuditEntry, ...]:
        """The newest calls that needed more than reading, newest first; `before` is the id of the last one known."""
        return self.send(key_calls.audit(service, limit, before))

    # -- both -----------------------------------------------------------------------------------------------------

    def jobs(self, service: Service = "ctr") -> tuple[Job, ...]:
        """The latest jobs of a service."""
        return self.send(ctr_calls.jobs(service))

    def job(self, job_id: str, service: Service = "ctr") -> Job:
        """One job."""
        return self.send(ctr_calls.job(service, job_id))

    def cancel_job(self, job_id: str, service: Service = "ctr") -> Job:
        """Ask for the end of a job; what it has published stays."""
        return self.send(ctr_calls.cancel_job(service, job_id))

    def job_events(self, job_id: str, service: Service = "ctr") -> Iterator[Job]:
        """The job after each of its changes, from one open connection, until it ends."""
        call = ctr_calls.job_events(service, job_id)
        headers = Exchange(call, self._key, self._retry, self._cache).headers
        url = self._base[service] + call.target
        try:
            with self._http.stream(call.method, url, headers=headers, timeout=timeout_of(None)) as response:
                if response.status_code >= 300:
                    raise error_of(response.status_code, response.read())
                for line in response.iter_lines():
                    if line.startswith("data:"):
                        yield call.parse(Reply(200, {}, line.removeprefix("data:").strip().encode()))
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
            return self.send(ctr_calls.health(service, probe))
        except ClientError as error:
            return Health(False, 0, str(error))
