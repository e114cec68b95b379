"""A server that speaks S3's protocol, on a free port, killed and started by the tests; a kill loses all objects."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from fsspec import filesystem
from servers import free_port, wait_until

BUCKET = "shelf"


class ObjectStore:
    """moto's server with one bucket. fsspec finds it by the variables of `environment`."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "s3.log"
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        self.url = f"s3://{BUCKET}"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        port = self.endpoint.rpartition(":")[2]
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **self.environment})
        wait_until(self._answers, 60, "the object store to answer")
        filesystem("s3", use_listings_cache=False).mkdir(BUCKET)

    def put(self, name: str, content: bytes) -> str:
        """Store an object; its URL."""
        filesystem("s3", use_listings_cache=False).pipe_file(f"{BUCKET}/{name}", content)
        return f"{self.url}/{name}"

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def close(self) -> None:
        if self.process is not None:
            self.kill()

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.endpoint}/moto-api/", timeout=2):
                return True
        except (URLError, OSError):
            return False


def running(folder: Path, patch: pytest.MonkeyPatch) -> ObjectStore:
    """A started store that this process and its children find."""
    store = ObjectStore(folder)
    for name, value in store.environment.items():
        patch.setenv(name, value)
    store.start()
    return store
