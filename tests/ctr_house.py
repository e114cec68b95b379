"""The CTR service for real: processes of the API and the worker on a free port, a home of their own, a real bundle."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from servers import free_port, wait_until

from llactr_core.bundle import Bundle
from services.ctr.registry.records import Lineage
from services.ctr.registry.store import CHAMPION, Registry
from services.ctr.settings import CtrSettings
from services.shared.access.auth import ensure_admin_key
from services.shared.storage.storage import Storage, migrate

ROOT = Path(__file__).parents[1]


@dataclass
class CtrHouse:
    """The processes of one home, and a way to talk to the API. `extra` are further variables of the environment."""

    home: Path
    database_url: str | None = None
    redis_url: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.key = ensure_admin_key(self.home / "admin.key")
        self.url = f"http://127.0.0.1:{self.port}"
        self.anyone = httpx2.Client(base_url=self.url, timeout=30)
        self.admin = httpx2.Client(base_url=self.url, timeout=30, headers={"Authorization": f"Bearer {self.key}"})

    def environment(self) -> dict[str, str]:
        urls = {"LLACTR_CTR_DATABASE_URL": self.database_url, "LLACTR_CTR_REDIS_URL": self.redis_url}
        return {
            **os.environ,
            "LLACTR_HOME": str(self.home),
            "CTR_PORT": str(self.port),
            "LLACTR_CTR_LEASE_S": "2",
            "LLACTR_CTR_POLL_S": "0.2",
            "OMP_NUM_THREADS": "1",
            **{name: url for name, url in urls.items() if url is not None},
            **self.extra,
        }

    def publish(
        self, bundle: Bundle, model: str, alias: str | None = CHAMPION, lineage: Mapping[str, object] | None = None
    ) -> str:
        """Register a bundle as a version of a model, without any process; returns the version."""
        given = None if self.database_url is None else {"database_url": self.database_url}
        settings = CtrSettings.model_validate({"home": self.home, **(given or {})})
        storage = Storage(settings.storage_url)
        migrate(storage, "services.ctr")
        registry = Registry(storage, settings.bundles)
        target = settings.bundles / bundle.version
        if not target.exists():
            shutil.copytree(bundle.path, target)
        options = bundle.manifest["options"]
        content = {
            "dataset": "data/tiny",
            "data_digest": {"train": "t"},
            "data_schema": bundle.schema.model_dump(mode="json"),
            "schema_fingerprint": bundle.schema.fingerprint,
            "backbone": "fm",
            "enhancer": "none",
            "options": options,
            "code_version": "0",
            **(lineage or {}),
        }
        registry.register(model, bundle.version, Lineage.model_validate(content), bundle.metrics)
        if alias is not None:
            registry.set_alias(model, alias, bundle.version)
        storage.close()
        return bundle.version

    def start(self, process: str = "api") -> subprocess.Popen[bytes]:
        """Start `api` or `worker`; its log goes to a file in the home."""
        with (self.home / f"{process}.log").open("ab") as log:
            command = [sys.executable, "-m", f"services.ctr.{process}"]
            started = subprocess.Popen(command, cwd=ROOT, env=self.environment(), stdout=log, stderr=log)
        self.processes.append(started)
        return started

    def until_ready(self) -> None:
        wait_until(self._answers, 60, "the CTR API to answer")

    def _answers(self) -> bool:
        try:
            return self.anyone.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)  # does nothing to one that has ended
        ended = [process.wait(15) for process in self.processes]
        self.anyone.close()
        self.admin.close()
        assert set(ended) <= {0, -signal.SIGKILL}, ended
