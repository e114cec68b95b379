"""Calls that their caller may repeat: what was asked under an Idempotency-Key, and what stands for it."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Double, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from llactr_core.errors import ConflictError, OptionError
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Base

MAX_KEY = 200


class CallRow(Base):
    """The table `idempotency_keys`: one key of one lane. `at` is in seconds since the epoch (UTC)."""

    __tablename__ = "idempotency_keys"

    lane: Mapped[str] = mapped_column(String(100), primary_key=True)
    key: Mapped[str] = mapped_column(String(MAX_KEY), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str | None] = mapped_column(String(32), index=True)
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    at: Mapped[float] = mapped_column(Double, index=True)


@dataclass(frozen=True)
class Call:
    """One call under its caller's own key; `digest` tells whether two calls ask for the same."""

    lane: str
    key: str
    digest: str


def call_of(key: str | None, lane: str, kind: str, asked: object) -> Call | None:
    """The call, or None where its caller gave no key.

    Args:
        key: the Idempotency-Key; keys of two lanes have nothing to do with each other.
        lane: what the call is about, such as the name of a schema.
        kind: the kind of job that it asks for.
        asked: the request as it was sent; plain JSON.

    Raises:
        OptionError: the key is empty or longer than 200 characters.
    """
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY:
        raise OptionError(f"Idempotency-Key has {len(key)} characters; give 1 to {MAX_KEY}", field="Idempotency-Key")
    content = json.dumps([kind, asked], sort_keys=True)
    return Call(lane, key, hashlib.sha256(content.encode()).hexdigest())


def find_call(session: Session, call: Call) -> CallRow | None:
    """What stands for an earlier call under this key, or None.

    Raises:
        ConflictError: the key was used for another call.
    """
    row = session.get(CallRow, (call.lane, call.key))
    if row is not None and row.digest != call.digest:
        stands = f" (job {row.job_id})" if row.job_id else ""
        raise ConflictError(
            f"Idempotency-Key {call.key!r} was used for another call{stands}; use a new key for a new call"
        )
    return row


def keep_call(
    session: Session, call: Call | None, job_id: str | None = None, answer: dict[str, Any] | None = None
) -> None:
    """Let a job or an answer stand for the call. The database raises IntegrityError where something stands already."""
    if call is not None:
        session.add(
            CallRow(
                lane=call.lane,
                key=call.key,
                digest=call.digest,
                job_id=job_id,
                answer=answer,
                at=time_of(session),
            )
        )
        session.flush()
