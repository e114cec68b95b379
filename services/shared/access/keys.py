"""API keys: three roles, digests in SQL."""

import hashlib
import hmac
import re
import secrets
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import JSON, Double, String, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from llactr_core.errors import ConflictError, NotFoundError, OptionError
from services.shared.access.admin_key import AdminKey
from services.shared.access.caller import ADMIN_FILE, Caller, Role
from services.shared.access.key_cache import KeyCache
from services.shared.storage.storage import Base, Storage

MAX_NAME = 100
MAX_SCOPES = 1000
MIN_RATE, MAX_RATE = 0.001, 1e6
DIGEST = re.compile(r"[0-9a-f]{64}")


class KeyRow(Base):
    """The table `api_keys`: never the key, only its SHA-256."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    scopes: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    rate_per_s: Mapped[float | None] = mapped_column(Double)
    created_at: Mapped[float] = mapped_column(Double)
    revoked_at: Mapped[float | None] = mapped_column(Double)


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key, without the key."""

    id: str
    name: str
    role: Role
    scopes: tuple[str, ...] | None
    rate_per_s: float | None
    created_at: float
    revoked_at: float | None


class KeyStore:
    """The keys of one service: those in SQL, and the one in the admin key file.

    Callers are remembered for `remember_s` seconds: a key that another process revokes is accepted that long, and
    where the storage does not answer, at most 10 minutes.
    """

    def __init__(self, storage: Storage, admin_key_file: Path, remember_s: float = 0.0) -> None:
        self.storage = storage
        self.admin_key_file = admin_key_file
        self._cache = KeyCache(remember_s)
        self._admin = AdminKey(admin_key_file)

    def create(
        self, name: str, role: Role, scopes: Collection[str] | None = None, rate_per_s: float | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key; the key itself (second) is shown this once.

        Raises:
            OptionError: the name, the scopes or the rate is not allowed.
        """
        key = f"llactr_{secrets.token_urlsafe(32)}"
        return self.register(name, role, digest_of(key), scopes, rate_per_s), key

    def register(
        self,
        name: str,
        role: Role,
        digest: str,
        scopes: Collection[str] | None = None,
        rate_per_s: float | None = None,
    ) -> ApiKey:
        """Accept a key that its maker keeps: only its SHA-256 (hex) is given. Giving the same again changes nothing.

        Raises:
            OptionError: the name, the digest, the scopes or the rate is not allowed.
            ConflictError: the key is registered otherwise, or was revoked.
        """
        _check(name, role, digest, scopes)
        _check_rate(rate_per_s)
        wanted = None if scopes is None else sorted(set(scopes))
        row = KeyRow(
            id=uuid.uuid4().hex,
            name=name,
            digest=digest,
            role=role.label,
            scopes=wanted,
            rate_per_s=rate_per_s,
            created_at=time.time(),
        )
        try:
            with self.storage.session() as session:
                session.add(row)
        except IntegrityError:
            return self._equal(row)
        self._cache.clear()  # it may be remembered as unknown
        return _key_of(row)

    def _equal(self, wanted: KeyRow) -> ApiKey:
        with self.storage.reading() as session:
            row = session.scalar(select(KeyRow).where(KeyRow.digest == wanted.digest))
            if row is None or _terms(row) != _terms(wanted) or row.revoked_at is not None:
                raise ConflictError("a key with this digest was registered otherwise or was revoked; make another key")
            return _key_of(row)

    def list(self) -> list[ApiKey]:
        """Every key in SQL, oldest first, the revoked ones too."""
        with self.storage.reading() as session:
            return [_key_of(row) for row in session.scalars(select(KeyRow).order_by(KeyRow.created_at))]

    def revoke(self, key_id: str) -> ApiKey:
        """Refuse a key from now on.

        Raises:
            NotFoundError: there is no such key.
        """
        with self.storage.session() as session:
            row = session.get(KeyRow, key_id)
            if row is None:
                raise NotFoundError(f"there is no key {key_id!r}; GET /v1/admin/keys lists the known ones")
            row.revoked_at = row.revoked_at or time.time()
            revoked = _key_of(row)
        self._cache.clear()
        return revoked

    def remembered(self, key: str) -> Caller | None:
        """Whose key it is, if that was looked up lately or it is the admin key; costs no SQL."""
        known = self._cache.known(digest_of(key))
        return ADMIN_FILE if known is None and self._is(self._admin.lately(), key) else known

    def is_familiar(self, key: str) -> bool:
        """Whether the key was seen to be right in the last 10 minutes, or is the admin key as it was read last."""
        return self._cache.is_familiar(digest_of(key)) or self._is(self._admin.last, key)

    def trusted(self, key: str) -> Caller:
        """Whose key it was when the storage answered last.

        Raises:
            UnavailableError: it was not known in the last 10 minutes.
        """
        return self._cache.trusted(digest_of(key))

    def caller(self, key: str) -> Caller | None:
        """Whose key it is, or None when it is unknown or revoked."""
        if self._is(self._admin.read(), key):
            return ADMIN_FILE
        return self._cache.caller(digest_of(key), self._look_up)

    @staticmethod
    def _is(admin: str | None, key: str) -> bool:
        return admin is not None and hmac.compare_digest(admin.encode(), key.encode())

    def _look_up(self, digest: str) -> Caller | None:
        with self.storage.reading() as session:
            row = session.scalar(select(KeyRow).where(KeyRow.digest == digest, KeyRow.revoked_at.is_(None)))
            if row is None or not hmac.compare_digest(row.digest, digest):
                return None
            scopes = None if row.scopes is None else frozenset(row.scopes)
            return Caller(row.id, row.name, Role[row.role.upper()], scopes, row.rate_per_s)

    def any(self) -> bool:
        """Whether there is any key at all that would be accepted."""
        if self._admin.read() is not None:
            return True
        with self.storage.reading() as session:
            return session.scalar(select(KeyRow.id).where(KeyRow.revoked_at.is_(None)).limit(1)) is not None


def digest_of(key: str) -> str:
    """SHA-256 of a key, in hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def _check(name: str, role: Role, digest: str, scopes: Collection[str] | None) -> None:
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise OptionError(
            f"the name of a key has {len(name)} characters; give 1 to {MAX_NAME} printable ones", field="name"
        )
    if not DIGEST.fullmatch(digest):
        raise OptionError("the digest is no SHA-256; give 64 hexadecimal digits in lower case", field="digest")
    if scopes is None:
        return
    if role is Role.ADMIN:
        raise OptionError("an admin key is for everything; leave scopes out, or give reader or trainer", field="role")
    if not 1 <= len(scopes) <= MAX_SCOPES or not all(1 <= len(one) <= MAX_NAME and one.isprintable() for one in scopes):
        raise OptionError(
            f"{len(scopes)} scopes were given; give 1 to {MAX_SCOPES} names of schemas or models, or null for all",
            field="scopes",
        )


def _check_rate(rate_per_s: float | None) -> None:
    if rate_per_s is not None and not MIN_RATE <= rate_per_s <= MAX_RATE:
        raise OptionError(
            f"the rate is {rate_per_s:g}; give {MIN_RATE:g} to {MAX_RATE:g} calls a second, or null",
            field="rate_per_s",
        )


def _terms(row: KeyRow) -> tuple[object, ...]:
    return row.name, row.role, row.scopes, row.rate_per_s


def _key_of(row: KeyRow) -> ApiKey:
    scopes = None if row.scopes is None else tuple(row.scopes)
    return ApiKey(row.id, row.name, Role[row.role.upper()], scopes, row.rate_per_s, row.created_at, row.revoked_at)
