"""Runs a command that the kernel kills when its supervisor is gone: `python -m services.cli.leash PID COMMAND...`.

PR_SET_PDEATHSIG outlives exec, so this process becomes the command itself and nothing is left between the two.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, whose id is the first argument, and become the command after it."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The supervisor may have died before the line above: then nobody would ever tell this process.
    if os.getppid() != parent:
        raise SystemExit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
