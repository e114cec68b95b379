"""All processes below this one, also those in process groups and sessions of their own, and how they are ended."""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection

import psutil

PR_SET_CHILD_SUBREAPER = 36
LOOK_S = 0.1
KILL_S = 4.0


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none can get out of sight (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(known: Collection[int]) -> None:
    """Take note of the end of adopted processes; those in `known` are left to whoever waits for them."""
    if not hasattr(os, "waitid"):
        return
    with contextlib.suppress(ChildProcessError):
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None and ended.si_pid not in known:
            os.waitpid(ended.si_pid, os.WNOHANG)


def end_descendants(grace_s: float) -> None:
    """Send SIGTERM to every descendant, wait up to `grace_s`, then SIGKILL what is left, until nothing is."""
    told: set[psutil.Process] = set()
    deadline = time.monotonic() + grace_s
    while (alive := _alive()) and time.monotonic() < deadline:
        for process in alive:
            if process not in told:
                told.add(process)
                _send(process, signal.SIGTERM)
        time.sleep(LOOK_S)
    deadline = time.monotonic() + KILL_S
    while (alive := _alive()) and time.monotonic() < deadline:
        for process in alive:
            _kill_group(process)
            _send(process, signal.SIGKILL)
        time.sleep(LOOK_S)


def _alive() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
            elif process.ppid() == os.getpid():
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)
    return found


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        process.send_signal(number)


def _kill_group(process: psutil.Process) -> None:
    # A group takes what is forked between the look and the kill as well; our own group is never one of them.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(process.pid)
        if group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)
