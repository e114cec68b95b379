"""The LLM service for real: an API and a worker process, a free port, a temporary home, and a tiny language model."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient
from tiny_model import save_tiny_model

from services.llm.app import build_app
from services.llm.settings import LlmSettings
from services.shared.access.auth import ensure_admin_key
from services.shared.storage.storage import Storage, migrate

ROOT = Path(__file__).parents[3]
FIELDS = [
    {"name": "user_gender", "description": "gender of the user", "kind": "categorical"},
    {"name": "movie_genre", "description": "genres of the movie", "kind": "multi-valued"},
    {"name": "zip", "description": "", "kind": "categorical"},
]
SAMPLES = {"user_gender": ["F", "M"], "movie_genre": ["Comedy", "Drama", "Noir"], "zip": [94110, "10001", 0.5]}
SKIP = {"skip": True}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class House:
    """The processes of one home, and a way to talk to the API. Without a URL the database is a file of the home."""

    home: Path
    model: Path
    data: Path
    database_url: str | None = None
    redis_url: str | None = None
    port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = ensure_admin_key(self.home / "admin.key")
        self.url = f"http://127.0.0.1:{self.port}"
        self.anyone = httpx2.Client(base_url=self.url, timeout=30)
        self.admin = httpx2.Client(base_url=self.url, timeout=30, headers={"Authorization": f"Bearer {self.key}"})

    def neighbour(self) -> "House":
        """A second house on the same home, database and Redis: its API listens on a port of its own."""
        return replace(self, port=free_port(), processes=[])

    def environment(self) -> dict[str, str]:
        urls = {"LLACTR_LLM_DATABASE_URL": self.database_url, "LLACTR_LLM_REDIS_URL": self.redis_url}
        return {
            **os.environ,
            "LLACTR_HOME": str(self.home),
            "LLM_PORT": str(self.port),
            "LLM_MODEL": str(self.model),
            "LLACTR_LLM_DATA_ROOTS": f'["{self.data}"]',
            "LLACTR_LLM_LEASE_S": "2",
            "LLACTR_LLM_POLL_S": "0.1",
            "OMP_NUM_THREADS": "1",
            **{name: url for name, url in urls.items() if url is not None},
        }

    def start(self, process: str) -> subprocess.Popen[bytes]:
        """Start `api` or `worker`; its log goes to a file in the home."""
        with (self.home / f"{process}.log").open("ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", f"services.llm.{process}"],
                cwd=ROOT,
                env=self.environment(),
                stdout=log,
                stderr=log,
            )
        self.processes.append(started)
        return started

    def until_ready(self) -> None:
        wait_for(self._answers, 60, "the API to answer")

    def _answers(self) -> bool:
        try:
            return self.anyone.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    def register(self, name: str) -> dict[str, Any]:
        return dict(self.admin.post("/v1/schemas", json={"name": name, "fields": FIELDS}).raise_for_status().json())

    def refresh(self, name: str, **body: Any) -> httpx2.Response:
        return self.admin.post(f"/v1/admin/fields/{name}/refresh", json=body)

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.anyone.get(f"/v1/jobs/{job_id}").raise_for_status().json())

    def finished(self, job_id: str, seconds: float = 60) -> dict[str, Any]:
        final = ("succeeded", "failed", "cancelled")
        wait_for(lambda: self.job(job_id)["state"] in final, seconds, f"job {job_id} to end")
        return self.job(job_id)

    def published(self, name: str, **body: Any) -> str:
        """Register the schema, refresh its fields, and give the version."""
        self.register(name)
        answer = self.refresh(name, **(body or {"samples": SAMPLES, "ssft": SKIP}))
        if answer.status_code == 200:
            return str(answer.json()["version"])
        assert answer.status_code == 202, answer.text
        job = self.finished(answer.json()["job"]["id"])
        assert job["state"] == "succeeded", job
        return str(job["result"]["version"])

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)  # does nothing to one that has ended
        ended = [process.wait(10) for process in self.processes]
        self.anyone.close()
        self.admin.close()
        # One that has just been started may not have come to its signal handlers.
        assert set(ended) <= {0, -signal.SIGKILL, -signal.SIGTERM}, ended


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError(f"waited {seconds} s for {what}")


@pytest.fixture(scope="session", name="wait_for")
def _wait_for() -> Callable[[Callable[[], bool], float, str], None]:
    return wait_for


@pytest.fixture(scope="session", name="free_port")
def _free_port() -> Callable[[], int]:
    return free_port


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@contextmanager
def house_maker(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., House]]:
    """Makes houses in which nothing runs yet, or one beside another; what was started in them ends with the context."""
    houses: list[House] = []

    def make(database_url: str | None = None, redis_url: str | None = None, *, beside: House | None = None) -> House:
        if beside is not None:
            houses.append(beside.neighbour())
            return houses[-1]
        home, data = tmp_path_factory.mktemp("llm-home"), tmp_path_factory.mktemp("data")
        houses.append(House(home, tiny_model, data, database_url, redis_url))
        return houses[-1]

    yield make
    for made in houses:
        made.stop()


@pytest.fixture(scope="module")
def new_house(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., House]]:
    """Makes houses; what was started in them ends with the module: even idle processes take time from other tests."""
    with house_maker(tiny_model, tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="session")
def house(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An API and a worker, running."""
    with house_maker(tiny_model, tmp_path_factory) as make:
        running = make()
        running.start("api")
        running.start("worker")
        running.until_ready()
        yield running


@pytest.fixture
def settings(tmp_path: Path, tiny_model: Path) -> LlmSettings:
    return LlmSettings(home=tmp_path, model=str(tiny_model), data_roots=[tmp_path / "data"])


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, settings: LlmSettings) -> Iterator[Storage]:
    """A migrated database, once on SQLite and once on PostgreSQL."""
    opened = Storage(request.getfixturevalue("postgres_url") if request.param == "postgresql" else settings.storage_url)
    migrate(opened, "services.llm")
    yield opened
    opened.close()


@pytest.fixture
def app(settings: LlmSettings) -> Iterator[TestClient]:
    """The app without a worker, in this process."""
    with TestClient(build_app(settings)) as client:
        yield client
