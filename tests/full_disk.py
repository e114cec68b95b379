"""A worker whose home is a disk of a few MiB. Run by a test in a mount namespace of its own; prints JSON.

Usage: full_disk.py HOME DATASET BUNDLE FREE_KIB, where HOME is the small disk and BUNDLE was trained on DATASET.
"""

import json
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llactr_core.bundle import Bundle
from llactr_core.errors import UnavailableError
from llactr_core.scorer import Scorer
from services.ctr.registry.records import Lineage
from services.ctr.registry.store import CHAMPION, Registry
from services.ctr.settings import CtrSettings
from services.ctr.worker import build_handlers
from services.shared.jobs import worker
from services.shared.jobs.full_disk import RESERVE
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage, migrate

OPTIONS: dict[str, Any] = {"epochs": 1, "width": 128, "seed": 7}


def main(home: Path, dataset: Path, bundle: Bundle, free_kib: int) -> dict[str, Any]:
    """Train a model that the disk has no room for, then a small one."""
    settings = CtrSettings(home=home, data_roots=[dataset, home], poll_s=0.05)
    settings.state.mkdir()
    storage = Storage(settings.storage_url)
    migrate(storage, "services.ctr")
    registry, store = Registry(storage, settings.bundles), JobStore(storage)
    shutil.copytree(bundle.path, settings.bundles / bundle.version)
    registry.register("tiny", bundle.version, _lineage(bundle, dataset), bundle.metrics)
    registry.set_alias("tiny", CHAMPION, bundle.version)
    worker.PAUSES_S = (0.1, 0.1, 0.1)
    stop = threading.Event()
    handlers = build_handlers(settings, storage, store)
    thread = threading.Thread(target=worker.run_worker, args=(store, handlers, settings, stop))
    thread.start()
    try:
        job = _submit(store, _many_values(home), OPTIONS, label="click")
        while not (settings.state / "jobs" / job / RESERVE).exists():
            time.sleep(0.01)
        _fill(home / "ballast", free_kib)
        failed = _ended(store, job)
        left = (settings.state / "jobs" / job).exists()
        champion = registry.get("tiny", CHAMPION).version
        (home / "ballast").unlink()
        again = _ended(store, _submit(store, dataset, {**OPTIONS, "width": 4}, schema=bundle.manifest["schema"]))
    finally:
        stop.set()
        thread.join(20)
    Scorer.load(registry.bundle_path(champion))
    return {"failed": failed, "left": left, "champion": champion, "again": again, "ended": not thread.is_alive()}


def _many_values(home: Path) -> Path:
    """Rows of so many values that a model of them takes 16 MB with its optimizer's state."""
    rows = 20_000
    content = pa.table({"id": [f"id{i % 10_000}" for i in range(rows)], "click": [i % 3 // 2 for i in range(rows)]})
    pq.write_table(content, home / "many.parquet")
    return home / "many.parquet"


def _lineage(bundle: Bundle, dataset: Path) -> Lineage:
    content = bundle.manifest
    return Lineage(
        dataset=str(dataset),
        data_digest={},
        data_schema=content["schema"],
        schema_fingerprint="f",
        backbone="fm",
        enhancer="none",
        options=content["options"],
        code_version="0",
    )


def _submit(store: JobStore, dataset: Path, options: dict[str, Any], **described: object) -> str:
    request = {"dataset": str(dataset), "backbone": "fm", "enhancer": "none", "options": options, **described}
    return store.submit("train", {"model": "tiny", "request": request}, lane="tiny").id


def _fill(ballast: Path, free_kib: int) -> None:
    with ballast.open("wb", buffering=0) as file:
        while shutil.disk_usage(ballast).free > free_kib * 1024:
            file.write(b"0" * 4096)


def _ended(store: JobStore, job: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            found = store.get(job)
        except UnavailableError:
            continue
        finally:
            time.sleep(0.05)
        if found.is_final:
            return {"state": found.state.value, "error": found.error, "result": found.result}
    raise TimeoutError(f"job {job} does not end: {store.get(job)}")


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(main(Path(given[0]), Path(given[1]), Bundle.open(Path(given[2])), int(given[3]))))
