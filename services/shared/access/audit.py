"""The audit: one row for every call that needs more than reading, whatever came of it."""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread
from sqlalchemy import Double, Integer, String, Text, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, mapped_column
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llactr_core.errors import LlactrError
from services.shared.access.caller import ANYONE, Caller, Role
from services.shared.storage.storage import Base, Storage

DAY_S = 86_400.0
PRUNE_EVERY_S = 3_600.0
REFUSALS_A_MINUTE = 60
MAX_PATH = 500
MAX_ID = 100
NO_ANSWER = 0
WRITERS = 8

logger = logging.getLogger(__name__)


class AuditRow(Base):
    """The table `audit`. The id begins with the time, so that ids are in the order of the calls."""

    __tablename__ = "audit"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[float] = mapped_column(Double, index=True)
    key_id: Mapped[str | None] = mapped_column(String(32))
    key_name: Mapped[str | None] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(20))
    method: Mapped[str] = mapped_column(String(10))
    path: Mapped[str] = mapped_column(Text)
    status: Mapped[int] = mapped_column(Integer)
    request_id: Mapped[str] = mapped_column(String(100))


@dataclass(frozen=True)
class AuditEntry:
    """A call: when (seconds since the epoch), whose key (None: none, or an unknown one), the role that it needed."""

    id: str
    at: float
    key_id: str | None
    key_name: str | None
    role: str
    method: str
    path: str
    status: int
    request_id: str


class AuditLog:
    """The entries in SQL, kept for so many days."""

    def __init__(self, storage: Storage, days: int) -> None:
        self.storage = storage
        self._keep_s = days * DAY_S
        self._pruned = 0.0

    def write(self, entry: AuditEntry) -> None:
        """Store an entry; the old ones go at most once an hour."""
        with self.storage.session() as session:
            session.execute(insert(AuditRow), [vars(entry)])
        if time.time() - self._pruned > PRUNE_EVERY_S:
            self._pruned = time.time()
            self.prune()

    def prune(self) -> None:
        """Delete what is older than it has to be kept."""
        with self.storage.session() as session:
            session.execute(delete(AuditRow).where(AuditRow.at < time.time() - self._keep_s))

    def entries(self, limit: int, before: str | None = None) -> list[AuditEntry]:
        """The newest entries, newest first, of those before the one with the id `before`."""
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(AuditRow.id < before)
        with self.storage.reading() as session:
            return [_entry_of(row) for row in session.scalars(query)]


class AuditTrail:
    """An ASGI middleware that writes an entry for every call that `Guard` marked as more than reading.

    The entry is stored before the answer is sent. It is the outermost middleware: an unexpected error has its answer.

    A caller cannot fill the storage with what it is refused: of the refusals (401, 403, 429) of one key, and of all
    callers without a valid key together, 60 a minute are written, and the rest is counted in the service's log.
    Where an entry cannot be written, it goes to the log as an error; the call is answered as it would have been.
    """

    def __init__(self, app: ASGIApp, log: AuditLog, clock: Callable[[], float] = time.time) -> None:
        self.app = app
        self._log = log
        self._clock = clock
        self._refusals = RefusalLimit()
        self._threads = CapacityLimiter(WRITERS)  # its own: those of the routes may all wait for the database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_noted = False

        async def watched(message: Message) -> None:
            nonlocal is_noted
            if message["type"] == "http.response.start":
                await self._note(scope, message["status"])
                is_noted = True
            await send(message)

        await self.app(scope, receive, watched)
        if not is_noted:
            await self._note(scope, NO_ANSWER)

    async def _note(self, scope: Scope, status: int) -> None:
        state = scope.get("state", {})
        needed: Role = state.get("needs", Role.READER)
        if needed is Role.READER:
            return
        caller: Caller = state.get("caller") or ANYONE
        now = self._clock()
        if status in (401, 403, 429) and not self._refusals.admits(caller.key_id, now):
            return
        entry = AuditEntry(
            id=f"{int(now * 1e9):016x}{secrets.token_hex(8)}",
            at=now,
            key_id=caller.key_id,
            key_name=caller.key_name,
            role=needed.label,
            method=scope["method"],
            path=_storable(scope["path"], MAX_PATH),
            status=status,
            request_id=_storable(str(state.get("request_id", "")), MAX_ID),
        )
        try:
            await to_thread.run_sync(self._log.write, entry, limiter=self._threads)
        except (LlactrError, SQLAlchemyError) as error:
            logger.error("an audit entry could not be stored: %s", type(error).__name__, extra={"facts": vars(entry)})


class RefusalLimit:
    """How many refusals of a caller are written: the first 60 of every minute."""

    def __init__(self) -> None:
        self._minute = 0
        self._counts: dict[str | None, int] = {}

    def admits(self, key_id: str | None, now: float) -> bool:
        """Count a refusal at the time `now` (s); whether it is to be written."""
        minute = int(now // 60)
        if minute != self._minute:
            for who, count in self._counts.items():
                if count > REFUSALS_A_MINUTE:
                    left = count - REFUSALS_A_MINUTE
                    logger.warning("the audit leaves out %d refusals of %s in one minute", left, who or "no known key")
            self._minute, self._counts = minute, {}
        self._counts[key_id] = self._counts.get(key_id, 0) + 1
        return self._counts[key_id] <= REFUSALS_A_MINUTE


def _storable(text: str, longest: int) -> str:
    # PostgreSQL takes neither a zero byte nor half a surrogate pair.
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")[:longest]


def _entry_of(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        row.id, row.at, row.key_id, row.key_name, row.role, row.method, row.path, row.status, row.request_id
    )
