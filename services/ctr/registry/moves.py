"""The history of aliases: every decision about one, with its reason, and what follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.ctr.registry.records import Move
from services.ctr.registry.tables import MoveRow, VersionRow
from services.shared.jobs.job import iso
from services.shared.storage.clock import time_of


class Outcome(StrEnum):
    """What came of a decision. The first and the third moved the alias."""

    MOVED = "moved"
    REFUSED = "refused"
    ROLLED_BACK = "rolled-back"
    REMOVED = "removed"


MOVES = (Outcome.MOVED, Outcome.ROLLED_BACK)


@dataclass(frozen=True)
class Why:
    """What is written down beside a decision.

    Args:
        reason: in words.
        outcome: what came of it.
        gate: the gate's result as JSON, where it was asked.
        by: the name of the key or schedule behind it.
        job: the id of the job behind it.
    """

    reason: str = "the alias was set"
    outcome: Outcome = Outcome.MOVED
    gate: Mapping[str, Any] | None = None
    by: str | None = None
    job: str | None = None


def note(session: Session, model: str, alias: str, version: str, previous: str | None, why: Why) -> None:
    """Write a decision down, in the transaction that carries it out."""
    session.add(
        MoveRow(
            model=model,
            alias=alias,
            version=version,
            previous=previous,
            outcome=why.outcome.value,
            reason=why.reason,
            gate=None if why.gate is None else dict(why.gate),
            by=why.by,
            job=why.job,
            at=time_of(session),
        )
    )


def decisions(session: Session, model: str, limit: int, before: int | None) -> list[Move]:
    """The decisions about a model's aliases, the newest first; those older than the number `before`."""
    query = select(MoveRow).where(MoveRow.model == model).order_by(MoveRow.number.desc()).limit(limit)
    if before is not None:
        query = query.where(MoveRow.number < before)
    return [public(row) for row in session.scalars(query)]


def decision_of(session: Session, job: str, alias: str) -> Move | None:
    """The last decision about an alias that a job came to."""
    query = select(MoveRow).where(MoveRow.job == job, MoveRow.alias == alias).order_by(MoveRow.number.desc())
    row = session.scalars(query.limit(1)).first()
    return None if row is None else public(row)


def judged(session: Session, model: str, alias: str, version: str, previous: str) -> list[dict[str, Any]]:
    """What the gate found about a version against another one, the newest first."""
    query = select(MoveRow.gate).where(
        MoveRow.model == model,
        MoveRow.alias == alias,
        MoveRow.version == version,
        MoveRow.previous == previous,
        MoveRow.gate.is_not(None),
    )
    return [gate for gate in session.scalars(query.order_by(MoveRow.number.desc())) if gate]


def trail(session: Session, model: str, alias: str) -> list[str]:
    """The versions that an alias pointed at, the oldest first and the present one last, roll backs undone.

    A roll back takes off what it left, so the one before the last is where the next roll back leads. Versions that
    were deleted are left out.
    """
    query = select(MoveRow).where(MoveRow.model == model, MoveRow.alias == alias).order_by(MoveRow.number)
    stack: list[str] = []
    for row in session.scalars(query):
        if row.outcome not in MOVES:
            continue
        if not stack and row.previous is not None:
            stack.append(row.previous)
        if row.outcome == Outcome.ROLLED_BACK:
            while stack and stack[-1] != row.version:
                stack.pop()
        if not stack or stack[-1] != row.version:
            stack.append(row.version)
    known = set(session.scalars(select(VersionRow.version).where(VersionRow.model == model)))
    return [version for version, _ in groupby(version for version in stack if version in known)]


def pointed_at(session: Session, model: str, alias: str) -> list[str]:
    """Every version that an alias is known to have pointed at, the last one first, each once."""
    query = select(MoveRow.version, MoveRow.previous).where(
        MoveRow.model == model, MoveRow.alias == alias, MoveRow.outcome.in_(MOVES)
    )
    rows = session.execute(query.order_by(MoveRow.number.desc()))
    return list(dict.fromkeys(version for row in rows for version in row if version is not None))


def public(row: MoveRow) -> Move:
    """A decision as the API shows it."""
    return Move(
        number=row.number,
        alias=row.alias,
        version=row.version,
        previous=row.previous,
        outcome=row.outcome,
        reason=row.reason,
        gate=row.gate,
        by=row.by,
        job=row.job,
        at=iso(row.at) or "",
    )
