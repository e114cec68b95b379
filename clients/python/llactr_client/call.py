"""One HTTP call as a value: what to send, and how to read the answer. Nothing here does any input or output."""

import json
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

from llactr_client.errors import ApiError

Service = Literal["ctr", "llm"]
T = TypeVar("T")
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Reply:
    """A service's answer: status, headers (lower-case names) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def object(self) -> dict[str, object]:
        """The body as a JSON object.

        Raises:
            ApiError: the body is something else, so what answered is no LLaCTR service.
        """
        try:
            content = json.loads(self.body)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            start = self.body[:80].decode("utf-8", "replace")
            raise ApiError(self.status, "unexpected-answer", f"expected a JSON object, got {start!r}")
        return content


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request to one of the services, and the function that reads its answer.

    `accept` lists statuses >= 400 that are answers to this call and not errors. `repeatable` allows retries: sending
    twice has the effect of sending once; where that holds only while the first one never arrived, `twice` is False.
    `cached` lets an ETag save the transfer. `deadline_s` is the time for all tries together.
    """

    service: Service
    method: str
    path: str
    parse: Callable[[Reply], T]
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    accept: frozenset[int] = frozenset()
    repeatable: bool = True
    twice: bool = True
    cached: bool = False
    deadline_s: float | None = None

    @property
    def target(self) -> str:
        """Path and query, escaped."""
        return f"{self.path}?{urlencode(self.params)}" if self.params else self.path


def path(*parts: str) -> str:
    """The path of the escaped parts: path("v1", "fields", "a/b") -> "/v1/fields/a%2Fb"."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def encode(content: Mapping[str, object]) -> bytes:
    """JSON bytes. Numpy scalars and dates are understood; NaN and infinities become null, which means missing."""
    try:
        return _dump(content)
    except ValueError:
        return _dump(_finite(content))


def given(content: Mapping[str, object]) -> dict[str, object]:
    """The entries that are not None."""
    return {key: value for key, value in content.items() if value is not None}


def asked(content: Mapping[str, object]) -> dict[str, str]:
    """The entries that are neither None nor False, as parameters of a query."""
    shown = {key: value for key, value in content.items() if value is not None and value is not False}
    return {key: "true" if value is True else str(value) for key, value in shown.items()}


def job_headers(idempotency_key: str | None) -> dict[str, str]:
    """Headers of a call that starts a job. Without a key a fresh one is made, so that a retry starts no second job."""
    return {**JSON, "Idempotency-Key": idempotency_key or uuid.uuid4().hex}


def _dump(content: object) -> bytes:
    return json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_plain).encode()


def _plain(value: object) -> object:
    item = getattr(value, "item", None)
    if callable(item):
        return _finite(item())
    isoformat = getattr(value, "isoformat", None)
    if callable(isoformat):
        return isoformat()
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent as JSON")


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_finite(entry) for entry in value]
    return value


@dataclass(frozen=True)
class Parts(Generic[T]):
    """What is sent in several calls: the first, those that follow from its answer, and how the answers become one.

    `deadline_s` is the time for all of them together.
    """

    first: Call[T]
    rest: Callable[[T], Iterator[Call[T]]]
    joined: Callable[[Sequence[T]], T]
    deadline_s: float | None = None
