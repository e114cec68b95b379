"""What /proc says about the processes of a service: its workers, their memory, their connections."""

import os
from pathlib import Path

ESTABLISHED = "01"


def children(pid: int) -> list[int]:
    """The processes that a process started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def memory_mb(pid: int) -> float:
    """Resident memory in MiB; 0 where the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


def connections(pid: int, port: int) -> int:
    """Connections of callers that a process serves on this port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    served = {f"socket:[{line[9]}]" for line in lines if line[3] == ESTABLISHED and line[1].endswith(f":{port:04X}")}
    return sum(_link(file) in served for file in Path(f"/proc/{pid}/fd").iterdir())


def _link(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:
        return ""


def pin(pid: int, core: int) -> None:
    """Keep a process, all its threads, and what it starts later on one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def load_average() -> float:
    """Processes that ran or waited to run on this machine in the last minute, on average."""
    return os.getloadavg()[0]
