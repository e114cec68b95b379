"""How the supervisor learns that it is to stop: by a signal, or from the `make` that runs it."""

import os
import signal
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Set by SIGINT, SIGTERM and (unless it is ignored, as under nohup) SIGHUP.

    It is a bare flag on purpose: a handler that took the lock of a threading.Event could wait for itself.

    Args:
        parent: where given, its end counts as a request too.
    """

    def __init__(self, parent: "Make | None" = None) -> None:
        self._signalled = False
        self._parent = parent

    @property
    def requested(self) -> bool:
        """Whether the supervisor is to stop."""
        if not self._signalled and self._parent is not None:
            self._signalled = self._parent.wants_end()
        return self._signalled

    def listen(self) -> None:
        """Install the signal handlers (main thread only)."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True


class Make:
    """The `make` process whose recipe this process is.

    GNU make passes SIGTERM on to its recipe, but not a SIGINT that was sent to make alone: it takes for granted that
    the terminal sent one to everybody, and waits. While it waits, it has put SIGINT back to its default action, and
    that can be seen from outside: the signal leaves the set SigCgt (caught signals) in /proc/PID/status.
    """

    def __init__(self) -> None:
        self._pid = os.getppid()
        self._caught = self._catches_interrupt()

    def wants_end(self) -> bool:
        """Whether make has received SIGINT, or is gone."""
        if os.getppid() != self._pid:
            return True
        return self._caught and not self._catches_interrupt()

    def _catches_interrupt(self) -> bool:
        try:
            status = Path(f"/proc/{self._pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        for line in status.splitlines():
            name, _, value = line.partition(":")
            if name == "SigCgt":
                return bool(int(value, 16) >> (signal.SIGINT - 1) & 1)
        return False
