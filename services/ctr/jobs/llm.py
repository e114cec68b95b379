"""The worker's talk with the LLM service: its errors as ours, and jobs that are followed until they end."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from llactr_client import ApiError, Client, ClientError, ConnectionFailed, Job
from llactr_client.exchange import Retry

from llactr_core import errors
from llactr_core.errors import (
    ConflictError,
    LlactrError,
    NotFoundError,
    OptionError,
    PermissionDenied,
    UnavailableError,
)
from llactr_core.progress import Progress
from llactr_core.schema import Schema
from llactr_core.semantics.table import FieldTable, Vectors
from services.ctr.jobs.span import Span
from services.ctr.settings import CtrSettings
from services.shared.jobs.context import JobContext
from services.shared.telemetry.traces import traceparent

POLL_S = 0.3
TEXTS_AT_ONCE = 128  # in one call; the service may refuse more than a few hundred
RETRY = Retry(attempts=3, most_s=1.0)  # the worker's own back-off takes over where this ends


@dataclass(frozen=True)
class TuningRequest:
    """What the LLM service shall tune: its schema, the data that it may sample itself or what it reads, and how."""

    schema: str
    dataset: str | None = None
    samples: Mapping[str, list[str]] | None = None
    model: str | None = None
    ssft: Mapping[str, Any] | None = None
    larr: Mapping[str, Any] | None = None


class FieldSemantics:
    """The LLM service as the worker sees it.

    Every method raises UnavailableError where the service does not answer, and otherwise the error that the service
    named, as one of our own tree.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def register(self, name: str, schema: Schema) -> None:
        """Make the fields known under this name; equal ones are known already."""
        fields = [_semantic(entry) for entry in schema.model_dump(mode="json", exclude_defaults=True)["fields"]]
        with _our_errors():
            self._client.register_schema(name, fields)

    def start(self, request: TuningRequest, key: str) -> tuple[str | None, str | None]:
        """Ask for a new field table: (job id, None), or (None, version) where the recipe exists. One job per key."""
        with _our_errors():
            answer = self._client.refresh_fields(
                request.schema,
                samples=request.samples,
                dataset=request.dataset,
                model=request.model,
                ssft=request.ssft,
                larr=request.larr,
                idempotency_key=key,
            )
        return (answer.job.id if answer.job else None), answer.version

    def follow(self, job_id: str, context: JobContext, span: Span) -> str:
        """Wait for a tuning job and return the version of its field table.

        Raises:
            NotFoundError: the service has no such job (any more).
        """
        while True:
            with _our_errors():
                job = self._client.job(job_id, "llm")
            if job.ended:
                return _version_of(job)
            span(Progress(f"tuning the field semantics: {job.stage}", job.progress, loss=job.loss, eta_s=job.eta_s))
            context.sleep(POLL_S)

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a tuning job; that it has ended already is as good."""
        try:
            with _our_errors():
                self._client.cancel_job(job_id, "llm")
        except (ConflictError, NotFoundError):
            return

    def table(self, schema: str, version: str) -> FieldTable:
        """A version of a field table, by version or alias, its content verified.

        Raises:
            NotFoundError: there is none; says how to make one.
        """
        try:
            with _our_errors():
                content = self._client.fields_file(schema, version)
        except NotFoundError as error:
            raise NotFoundError(
                f"the LLM service has no field table {version!r} of schema {schema!r} ({error.detail}); register the "
                f"schema and POST /v1/admin/fields/{schema}/refresh there, or train with enhancer 'none'"
            ) from error
        return FieldTable.from_bytes(content)

    def embed(self, texts: Sequence[str], version: str) -> Vectors:
        """The vectors float32 [n, D] of n > 0 texts, read by the model behind a field table, SCHEMA@VERSION.

        Raises:
            TooLargeError: a text has more tokens than the model reads.
        """
        parts = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            with _our_errors():
                answer = self._client.embeddings(texts[start : start + TEXTS_AT_ONCE], version=version)
            parts.append(np.array(answer.vectors, np.float32))
        return np.concatenate(parts)


@contextmanager
def field_semantics(settings: CtrSettings) -> Iterator[FieldSemantics]:
    """A connection to the LLM service that the settings name.

    Raises:
        OptionError: the key holds what no key can.
    """
    try:
        client = Client(
            llm_url=settings.llm_url,
            key=_key(settings),
            timeout_s=settings.llm_timeout_s,
            retry=RETRY,
            trace=traceparent,
        )
    except ClientError as error:
        raise OptionError(f"{error} (LLACTR_CTR_LLM_KEY, or admin.key)") from error
    with client:
        yield FieldSemantics(client)


def error_of(code: str, detail: str) -> LlactrError:
    """The error of our tree with this code; a plain LlactrError for a code that the tree does not have."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, LlactrError) and kind.code == code:
            return kind(detail)
    return LlactrError(f"{detail} ({code})")


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except ConnectionFailed as error:
        raise UnavailableError(str(error)) from error
    except ApiError as error:
        if error.status in (429, 502, 503, 504):
            raise UnavailableError(f"the LLM service is not ready: {error.detail}") from error
        if error.code == "unauthenticated":
            raise PermissionDenied(
                f"the LLM service refuses the worker's key ({error.detail}); set LLACTR_CTR_LLM_KEY or share admin.key"
            ) from error
        raise error_of(error.code, f"the LLM service says: {error.detail}") from error


def _version_of(job: Job) -> str:
    if job.state == "succeeded" and job.result is not None:
        return str(job.result["version"])
    problem = job.error or {}
    detail = f"the LLM service's job {job.id} {job.state}: {problem.get('detail') or 'no reason was given'}"
    raise error_of(str(problem.get("code") or "conflict"), detail)


def _semantic(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "categorical", "description": "", **entry}


def _key(settings: CtrSettings) -> str | None:
    if settings.llm_key is not None:
        return settings.llm_key.get_secret_value().strip()
    try:
        return settings.key_file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
