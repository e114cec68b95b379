"""API keys: three roles, digests in SQL, and the admin key in a file."""

import hashlib
import hmac
import os
import secrets
import time
import uuid
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from sqlalchemy import Double, String, select
from sqlalchemy.orm import Mapped, mapped_column

from llactr_core.errors import NotFoundError, OptionError
from services.shared.storage import Base, Storage


class Role(IntEnum):
    """What a key may do; a higher role may do all that a lower one may."""

    READER = 1
    TRAINER = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        """The role in lower case, as it is written everywhere outside the code."""
        return self.name.lower()


class KeyRow(Base):
    """The table `api_keys`: never the key, only its SHA-256."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[float] = mapped_column(Double)
    revoked_at: Mapped[float | None] = mapped_column(Double)


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key, without the key."""

    id: str
    name: str
    role: Role
    created_at: float
    revoked_at: float | None


class KeyStore:
    """The keys of one service: those in SQL, and the one in the admin key file."""

    def __init__(self, storage: Storage, admin_key_file: Path) -> None:
        self.storage = storage
        self.admin_key_file = admin_key_file

    def create(self, name: str, role: Role) -> tuple[ApiKey, str]:
        """Make a key; the key itself (second) is shown this once.

        Raises:
            OptionError: the name is empty or too long.
        """
        if not 1 <= len(name) <= 100:
            raise OptionError(f"the name of a key has {len(name)} characters; give 1 to 100", field="name")
        key = f"llactr_{secrets.token_urlsafe(32)}"
        row = KeyRow(id=uuid.uuid4().hex, name=name, digest=digest_of(key), role=role.label, created_at=time.time())
        with self.storage.session() as session:
            session.add(row)
            session.flush()
            return _key_of(row), key

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
            return _key_of(row)

    def role_of(self, key: str) -> Role | None:
        """The role of a key, or None when it is unknown or revoked."""
        digest = digest_of(key)
        admin = self._admin_key()
        if admin is not None and hmac.compare_digest(digest, digest_of(admin)):
            return Role.ADMIN
        with self.storage.reading() as session:
            row = session.scalar(select(KeyRow).where(KeyRow.digest == digest, KeyRow.revoked_at.is_(None)))
            if row is None or not hmac.compare_digest(row.digest, digest):
                return None
            return Role[row.role.upper()]

    def any(self) -> bool:
        """Whether there is any key at all that would be accepted."""
        if self._admin_key() is not None:
            return True
        with self.storage.reading() as session:
            return session.scalar(select(KeyRow.id).where(KeyRow.revoked_at.is_(None)).limit(1)) is not None

    def _admin_key(self) -> str | None:
        try:
            return self.admin_key_file.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None


def digest_of(key: str) -> str:
    """SHA-256 of a key, in hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def ensure_admin_key(path: Path) -> str:
    """The admin key in this file; made with mode 0600 where there is none yet, also by two processes at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"llactr_{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)  # fails when the file exists: the first one to come wins
        except FileExistsError:
            if not path.read_text(encoding="utf-8").strip():
                fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return path.read_text(encoding="utf-8").strip()


def _key_of(row: KeyRow) -> ApiKey:
    return ApiKey(row.id, row.name, Role[row.role.upper()], row.created_at, row.revoked_at)
