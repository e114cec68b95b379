"""Podman with a storage of its own in one folder, so that stand-ins never get among the machine's own images."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

# Where the limits of this process are lower than Podman's defaults, no container would start with those.
CONTAINERS_CONF = """[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
"""
STORAGE_CONF = """[storage]
driver = "overlay"
graphroot = "{folder}/images"
runroot = "{folder}/run"
"""
PROJECT = "llactr-compose-test"


class PodmanError(Exception):
    """A command failed."""


class Podman:
    """Runs podman and podman-compose.

    Args:
        folder: an empty one, for images, containers and volumes.
        checkout: the folder with the compose file.
        variables: what the compose file is told.
    """

    def __init__(self, folder: Path, checkout: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.checkout = checkout
        (folder / "containers.conf").write_text(CONTAINERS_CONF, encoding="utf-8")
        (folder / "storage.conf").write_text(STORAGE_CONF.format(folder=folder), encoding="utf-8")
        own = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "COMPOSE_PROJECT_NAME": PROJECT,
            "TMPDIR": str(folder),
        }
        self._environment = {**os.environ, **own, **variables}

    def run(self, *words: str, timeout_s: float = 120.0, stdin: Any = None) -> str:
        """The standard output of `podman WORDS`.

        Raises:
            PodmanError: it ends with another status than 0, or not in time.
        """
        return self._run(["podman", *words], timeout_s, stdin)

    def status(self, *words: str, timeout_s: float = 120.0) -> int:
        """The exit status of `podman WORDS`."""
        command = ["podman", *words]
        done = subprocess.run(command, env=self._environment, capture_output=True, timeout=timeout_s, check=False)
        return done.returncode

    def compose(self, *words: str, timeout_s: float = 300.0) -> str:
        """The output of `podman-compose WORDS` on the compose file."""
        return self._run([str(Path(sys.executable).with_name("podman-compose")), *words], timeout_s)

    def inspect(self, service: str) -> dict[str, Any]:
        """What Podman knows of a service's container."""
        found: dict[str, Any] = json.loads(self.run("inspect", self.container(service)))[0]
        return found

    def inside(self, service: str, *words: str) -> str:
        """The output of a command inside a service's container."""
        return self.run("exec", self.container(service), *words).strip()

    def healthy(self, service: str) -> bool:
        """The service's own health check, run once."""
        return self.status("healthcheck", "run", self.container(service)) == 0

    @staticmethod
    def container(service: str) -> str:
        """The name of a service's container."""
        return f"{PROJECT}_{service}_1"

    def clear(self) -> None:
        """Leave nothing: containers, volumes, images, networks, the folder.

        Raises:
            PodmanError: something in the folder stays mounted; then nothing in it is deleted.
        """
        self.status("pod", "rm", "--force", "--all", timeout_s=300)
        self.status("rm", "--force", "--all", "--volumes", timeout_s=300)
        self.status("volume", "rm", "--force", "--all")
        self.status("network", "rm", "--force", f"{PROJECT}_default")
        self.status("rmi", "--force", "--all", timeout_s=300)
        # What is still mounted in the folder may be the machine's own: it must be gone before anything is deleted.
        for mounted in sorted(self._mounts(), reverse=True):
            subprocess.run(["umount", "--lazy", mounted], check=False)
        if left := self._mounts():
            raise PodmanError(f"{self.folder} is left as it is: {', '.join(left)} cannot be unmounted")
        shutil.rmtree(self.folder)

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        places = [line.split()[4] for line in lines]
        return [place for place in places if Path(place).is_relative_to(self.folder)]

    def _run(self, command: list[str], timeout_s: float, stdin: Any = None) -> str:
        try:
            done = subprocess.run(
                command,
                cwd=self.checkout,
                env=self._environment,
                stdin=stdin,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PodmanError(f"{' '.join(command[:6])} ... took more than {timeout_s:.0f} s") from error
        if done.returncode != 0:
            said = (done.stdout[-1500:] + done.stderr[-1500:]).decode("utf-8", "replace")
            raise PodmanError(f"{' '.join(command[:6])} ... ended with {done.returncode}: {said}")
        return done.stdout.decode("utf-8", "replace")
