"""The admin key: a file that its owner alone may read."""

import logging
import math
import os
import secrets
import stat
import time
from pathlib import Path

LOOK_EVERY_S = 0.2
SETTLED_S = 1.0  # a file that was written twice in one tick of the clock looks unchanged

logger = logging.getLogger(__name__)


class AdminKey:
    """The key in the file, which may be changed at any time. What is wrong with the file is logged once per change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: str | None = None
        self._stamp: tuple[int, ...] | None = None
        self._complaint = ""
        self._looked = -math.inf
        self._is_there = False

    @property
    def last(self) -> str | None:
        """The key as it was read last; costs no look at the file."""
        return self._key

    def lately(self) -> str | None:
        """The key, by a look at the file at most 0.2 s ago: a look takes longer than all else about a key."""
        if time.monotonic() > self._looked + LOOK_EVERY_S:
            self.read()
        return self._key if self._is_there else None

    def read(self) -> str | None:
        """The key; None where there is no file, or it is empty or cannot be read."""
        self._looked, self._is_there = time.monotonic(), False
        try:
            found = self._path.stat()
            stamp = (found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns)
            if stamp != self._stamp:
                self._key = self._path.read_text(encoding="utf-8").strip() or None
                self._stamp = stamp if time.time() - found.st_mtime > SETTLED_S else None
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            self._complain(logging.ERROR, f"the admin key file {self._path} cannot be read: {type(error).__name__}")
            return None
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            self._complain(logging.WARNING, f"others may read the admin key file {self._path}; give it the mode 0600")
        else:
            self._complaint = ""
        self._is_there = True
        return self._key

    def _complain(self, level: int, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            logger.log(level, complaint)


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
