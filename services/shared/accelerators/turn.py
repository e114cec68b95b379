"""One job per accelerator: whoever uses it holds a lock that all processes of this machine know."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

LOOK_S = 0.5


@contextmanager
def turn(names: Sequence[str], wait: Callable[[float], None], folder: Path | None = None) -> Iterator[None]:
    """Hold the named accelerators, in the order of their names; the kernel lets go of them when the process ends.

    Args:
        names: of the accelerators; without any there is nothing to wait for.
        wait: sleeps for so many seconds between two tries; what it raises ends the waiting.
        folder: of the lock files; the machine's folder for temporary files where none is given.
    """
    with ExitStack() as held:
        for name in sorted(set(names)):
            handle = _open(name, folder or Path(tempfile.gettempdir()))
            held.callback(os.close, handle)
            while not _is_ours(handle):
                wait(LOOK_S)
        yield


def _open(name: str, folder: Path) -> int:
    path = folder / f"llactr-turn-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    try:
        return os.open(path, os.O_RDONLY)  # another user may have made it
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT, 0o444)


def _is_ours(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
