"""Every error that LLaCTR raises on purpose, in one tree.

LlactrError                     500  internal
|-- InputError                  422  invalid-input
|   |-- SchemaError             422  invalid-schema
|   |-- DataError               422  invalid-data
|   |-- RowError                422  invalid-row        (names row and field)
|   `-- OptionError             422  invalid-option
|-- MalformedError              400  malformed-body
|-- AuthenticationError         401  unauthenticated
|-- PermissionDenied            403  forbidden
|-- NotFoundError               404  not-found
|-- ConflictError               409  conflict
|   |-- NoModelError            409  no-model
|   `-- GateError               409  gate-refused       (carries the gate's numbers)
|-- TooLargeError               413  too-large
|-- UnsupportedMediaError       415  unsupported-media-type
|-- RateError                   429  too-many-requests
|-- BundleError                 500  invalid-bundle
|-- ArtifactError               500  invalid-artifact
|-- UnavailableError            503  unavailable
|   |-- StorageFullError        507  storage-full
|   `-- OverloadError           503  overloaded
|-- DeadlineError               504  deadline-exceeded
`-- JobCancelled                409  job-cancelled

A message says what was given, what is allowed, and what to do next. The status is the HTTP status under which a
service reports the error (RFC 9457, `services.shared.http.problems`); the code is stable and documented.
"""

from collections.abc import Mapping
from typing import Any


class LlactrError(Exception):
    """Base of the tree. `detail` is the message; `row` and `field` point into the caller's data where that applies."""

    status = 500
    code = "internal"

    def __init__(self, detail: str, *, row: int | None = None, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.row = row
        self.field = field


class InputError(LlactrError):
    """Something that the caller gave is wrong and was refused as a whole."""

    status = 422
    code = "invalid-input"


class SchemaError(InputError):
    """A schema contradicts itself, or does not fit the data or the field table that it is used with."""

    code = "invalid-schema"


class DataError(InputError):
    """A data file is empty, unreadable, or has a label that cannot be learned from."""

    code = "invalid-data"


class RowError(InputError):
    """A feature row cannot be scored: it is no object, or one of its values is nested."""

    code = "invalid-row"


class OptionError(InputError):
    """An option is unknown, out of range, or cannot be combined with another one."""

    code = "invalid-option"


class MalformedError(LlactrError):
    """A request body cannot be parsed at all."""

    status = 400
    code = "malformed-body"


class AuthenticationError(LlactrError):
    """No API key, or one that is not known."""

    status = 401
    code = "unauthenticated"


class PermissionDenied(LlactrError):
    """The API key is known, but its role, or what it is limited to, does not allow the call."""

    status = 403
    code = "forbidden"


class NotFoundError(LlactrError):
    """A schema, table version, model, alias or job of that name does not exist."""

    status = 404
    code = "not-found"


class ConflictError(LlactrError):
    """The call is valid, but the present state does not admit it."""

    status = 409
    code = "conflict"


class NoModelError(ConflictError):
    """Nothing can be scored because no model has been trained and promoted."""

    code = "no-model"


class GateError(ConflictError):
    """The gate refused a promotion; `gate` holds the numbers that it looked at."""

    code = "gate-refused"

    def __init__(self, detail: str, gate: Mapping[str, Any] | None) -> None:
        super().__init__(detail)
        self.gate = gate


class TooLargeError(LlactrError):
    """A body, a number of rows or a text exceeds its limit."""

    status = 413
    code = "too-large"


class UnsupportedMediaError(LlactrError):
    """The Content-Type is not one that the endpoint reads."""

    status = 415
    code = "unsupported-media-type"


class RateError(LlactrError):
    """More requests than the key, or the queue, allows. `retry_after_s`: seconds to wait, where that is known."""

    status = 429
    code = "too-many-requests"

    def __init__(self, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class BundleError(LlactrError):
    """A bundle is corrupted, truncated, of another format, or its golden rows score differently."""

    code = "invalid-bundle"


class ArtifactError(LlactrError):
    """A stored artifact (field table, adapter, checkpoint, model weights) does not match its digest or format."""

    code = "invalid-artifact"


class UnavailableError(LlactrError):
    """A dependency does not answer; the same call may succeed later."""

    status = 503
    code = "unavailable"


class StorageFullError(UnavailableError):
    """A disk or a store has no room for what should be written; what was there before stays."""

    status = 507
    code = "storage-full"


class OverloadError(UnavailableError):
    """More requests wait than can be answered in time; the same call may succeed in a moment."""

    code = "overloaded"


class DeadlineError(LlactrError):
    """The time that the caller gave a request had passed before it was answered."""

    status = 504
    code = "deadline-exceeded"


class JobCancelled(LlactrError):
    """A job was cancelled while it ran; what it had published before stays."""

    status = 409
    code = "job-cancelled"
