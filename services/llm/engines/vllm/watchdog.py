"""A process between a worker and a program that it started: the program's process group never outlives the worker.

`python -I watchdog.py PROGRAM ARGUMENTS...`, its standard input a pipe that the worker holds open. When the pipe is
closed, which the kernel does also for a worker killed with -9, or on SIGTERM, the program's whole group is ended.
Only the standard library, so that it starts at once in any environment.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

GRACE_S = 5.0
PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> int:
    """Run the program until it ends or its time has come; its exit status."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_watchdog)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=_end, args=(program,), daemon=True).start())
    threading.Thread(target=_end_with_pipe, args=(program,), daemon=True).start()
    try:
        return program.wait()
    finally:
        _send(program, signal.SIGKILL)  # what the program left behind in its group


def _end_with_pipe(program: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 1024):
        pass
    _end(program)


def _end(program: "subprocess.Popen[bytes]") -> None:
    _send(program, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(GRACE_S)
    _send(program, signal.SIGKILL)


def _send(program: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, number)


def _end_with_watchdog() -> None:
    # Should this process itself be killed with -9, the program gets a SIGTERM from the kernel (Linux).
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
