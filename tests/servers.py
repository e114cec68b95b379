"""A real PostgreSQL and a real Redis: on free ports, in temporary folders, killed and started again by the tests."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import redis

POSTGRES_FOLDERS = "/usr/lib/postgresql"
PACKAGES = {"postgres": "postgresql", "redis-server": "redis-server"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """The path of a server's program; Debian's package is installed where the machine lacks it."""
    found = _find(name)
    if found is None:
        # One of the test processes installs, the others wait for it.
        with Path(tempfile.gettempdir(), "llactr-test-packages.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _find(name) is None:
                command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", PACKAGES[name]]
                if subprocess.run(command, capture_output=True, check=False).returncode != 0:
                    subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=True)
                    subprocess.run(command, capture_output=True, check=True)
        found = _find(name)
    assert found is not None, f"{PACKAGES[name]} was installed and brings no {name}"
    return found


def _find(name: str) -> str | None:
    folders = sorted(Path(POSTGRES_FOLDERS).glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, folders)]))


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.05)


class Postgres:
    """A cluster of its own. `kill` is a power failure: SIGKILL to every process of the server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "postgres"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._emptied: str | None = None
        # PostgreSQL refuses to run as root: its own account does, in a folder that it may reach and owns.
        self._account = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if _is_root() else []
        self.folder.mkdir()
        binaries = Path(program("postgres")).parent
        if _is_root():
            shutil.chown(self.folder, "postgres")
        self._open_the_way()
        options = ["--auth=trust", "--username=llactr", "--encoding=UTF8", "--no-sync", "--locale=C"]
        subprocess.run(
            [*self._account, binaries / "initdb", "-D", self.folder / "data", *options], check=True, capture_output=True
        )

    def _open_the_way(self) -> None:
        """Let the account reach its folder; each start of pytest closes the folder of all temporary ones again."""
        if _is_root():
            for parent in self.folder.parents:
                if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                    parent.chmod(parent.stat().st_mode | 0o011)

    def start(self) -> None:
        self._open_the_way()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self._account,
                    program("postgres"),
                    *("-D", str(self.folder / "data"), "-p", str(self.port), "-h", "127.0.0.1"),
                    *("-k", str(self.folder), "-c", "max_connections=100"),
                    # What is written outlives the process without it, and the machine need not.
                    *("-c", "fsync=off"),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, 60, "PostgreSQL to answer")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.process = None

    def freeze(self) -> None:
        """Stop every process of the server: connections stay, and nothing is answered."""
        assert self.process is not None
        # Each process that serves a connection leads a group of its own.
        for process in self._processes():
            os.kill(process, signal.SIGSTOP)

    def thaw(self) -> None:
        for process in self._processes():
            os.kill(process, signal.SIGCONT)

    def _processes(self) -> list[int]:
        assert self.process is not None
        first = self.process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]

    def new_database(self) -> str:
        """An empty database; its SQLAlchemy URL."""
        name = f"test_{time.monotonic_ns()}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name).replace("postgresql://", "postgresql+psycopg://")

    def emptied_database(self) -> str:
        """The URL of one database, the same each time, with nothing in it: far cheaper than another one."""
        if self._emptied is None:
            self._emptied = self.new_database()
            return self._emptied
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        with psycopg.connect(self._emptied.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"{others} AND pid <> pg_backend_pid()".encode())
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return self._emptied

    def _url(self, database: str) -> str:
        return f"postgresql://llactr@127.0.0.1:{self.port}/{database}"

    def close(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)  # PostgreSQL's "fast" shutdown
            self.process.wait(30)


class Redis:
    """A server without persistence: what it loses, it loses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(program("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--save", "", "--appendonly", "no", "--dir", str(self.folder), *options),
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, 20, "Redis to answer")

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=2) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def freeze(self) -> None:
        """Stop the server: connections stay, and nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)


def _is_root() -> bool:
    return os.geteuid() == 0
