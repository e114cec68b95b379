"""A disk that is full while a job works: how it shows, and how long space is waited for."""

import errno
import os
import shutil
from pathlib import Path

from llactr_core.errors import StorageFullError, UnavailableError

PAUSES_S = (1.0, 3.0, 6.0)
RESERVE = "reserve"
RESERVE_BYTES = 4 * 1024 * 1024  # what SQLite's log grows to before it begins anew

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Libraries that write by themselves (safetensors, SQLite) tell it in words alone.
_WORDS = (*(os.strerror(number) for number in _FULL), "database or disk is full")
MEBIBYTE = 1024 * 1024


def take_reserve(folder: Path) -> None:
    """Take up some room in a job's folder, for the database that may lie on the same disk.

    Raises:
        StorageFullError: there is not that much.
    """
    reserve = folder / RESERVE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not reserve.exists():
            reserve.write_bytes(os.urandom(RESERVE_BYTES))
    except OSError as error:
        full = storage_full(error, folder)
        if full is None:
            raise
        reserve.unlink(missing_ok=True)
        raise full from error


def give_reserve(folder: Path, error: UnavailableError) -> None:
    """Let the database have that room, if a full disk is why it does not answer."""
    if storage_full(error, folder) is not None:
        (folder / RESERVE).unlink(missing_ok=True)


def storage_full(error: BaseException, folder: Path) -> StorageFullError | None:
    """The error as one of a full disk, with what to do; None where it, and what caused it, is something else.

    Args:
        error: what ended the work.
        folder: where the work writes.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StorageFullError):
            return cause
        if getattr(cause, "errno", None) in _FULL or any(words in str(cause) for words in _WORDS):
            return StorageFullError(
                f"the disk of {folder} is full: {_free(folder)} left, and the job needs more; free some space there, "
                "or move the service's home to a larger disk, and submit the job again"
            )
        cause = cause.__cause__
    return None


def _free(folder: Path) -> str:
    existing = next((place for place in (folder, *folder.parents) if place.exists()), None)
    return "nothing is" if existing is None else f"{shutil.disk_usage(existing).free / MEBIBYTE:.1f} MiB are"
