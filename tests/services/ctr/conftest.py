"""A tiny dataset, real bundles trained on it once per session, and a running CTR service on a folder of its own."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from llm_stand_in import FakeLlm, serving
from starlette.testclient import TestClient

from llactr_core.bundle import Bundle
from llactr_core.data.splits import open_dataset
from llactr_core.progress import silent
from llactr_core.schema import Schema
from llactr_core.scorer import Scorer
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle
from services.ctr.app import build_app
from services.ctr.registry.records import Lineage
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
from services.shared.access.auth import ensure_admin_key
from services.shared.storage.storage import Storage, migrate

torch.set_num_threads(1)

SCHEMA = Schema.parse(
    {
        "name": "tiny",
        "label": "click",
        "fields": [
            {"name": "job", "description": "the person's job"},
            {"name": "age", "kind": "numeric"},
            {"name": "tags", "kind": "multi-valued"},
            {"name": "city"},
        ],
    }
)
OPTIONS = {"epochs": 2, "width": 4, "batch_size": 64, "learning_rate": 0.05}


def write_dataset(folder: Path, rows: int = 240, seed: int = 0) -> Path:
    """Train, valid and test files in which students click more often."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(("train", "valid", "test")):
        random = np.random.default_rng(seed * 10 + number)
        job = random.choice(["student", "technician", "admin", "retired"], rows)
        tags = ["|".join(random.choice(["a", "b", "c"], random.integers(1, 3), replace=False)) for _ in range(rows)]
        columns = {
            "job": job,
            "age": random.integers(18, 80, rows).astype(float),
            "tags": tags,
            "city": random.choice([f"c{i}" for i in range(12)], rows),
            "click": (random.random(rows) < np.where(job == "student", 0.7, 0.2)).astype(int),
        }
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


def make_table(seed: int = 0) -> FieldTable:
    vectors = np.random.default_rng(seed).normal(size=(4, 8)).astype(np.float32)
    return FieldTable(SCHEMA.names, vectors, "random", f"recipe-{seed}", {"options": {"sam_num": 7, "epochs": 1}})


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def bundles(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Two real bundles, one of each enhancer."""
    folder = tmp_path_factory.mktemp("bundles")
    splits = open_dataset(dataset, "click")
    made = {}
    for name in ("none", "llactr"):
        options = TrainOptions.parse({**OPTIONS, "backbone": "fm", "enhancer": name})
        table = make_table() if name == "llactr" else None
        made[name] = train_bundle(
            splits, SCHEMA, Semantics(table), options, folder / name, folder / f"{name}-ck", silent
        )
    return made


@pytest.fixture
def settings(tmp_path: Path, dataset: Path) -> CtrSettings:
    return CtrSettings(home=tmp_path / "home", data_roots=[dataset.parent, tmp_path], poll_s=0.05, max_rows=20_000)


@pytest.fixture
def llm() -> Iterator[FakeLlm]:
    with serving(FakeLlm(make_table)) as fake:
        yield fake


@pytest.fixture
def work_settings(settings: CtrSettings, llm: FakeLlm) -> CtrSettings:
    return settings.model_copy(update={"llm_url": llm.url})


@pytest.fixture
def storage(settings: CtrSettings) -> Iterator[Storage]:
    settings.state.mkdir(parents=True)
    storage = Storage(settings.storage_url)
    migrate(storage, "services.ctr")
    yield storage
    storage.close()


@pytest.fixture
def registry(storage: Storage, settings: CtrSettings) -> Registry:
    return Registry(storage, settings.bundles)


def lineage_of(bundle: Bundle | None = None, **changes: object) -> Lineage:
    content: dict[str, object] = {
        "dataset": "data/tiny",
        "data_digest": {"train": "t"},
        "data_schema": SCHEMA.model_dump(mode="json"),
        "schema_fingerprint": SCHEMA.fingerprint,
        "backbone": "fm",
        "enhancer": "none",
        "options": bundle.manifest["options"] if bundle else {},
        "code_version": "0",
    }
    return Lineage.model_validate(content | changes)


@dataclass(frozen=True)
class Tiny:
    """What the tests build their own things from (test files cannot import this one)."""

    schema: Schema
    options: dict[str, object]
    write_dataset: Callable[..., Path]
    make_table: Callable[..., FieldTable]
    lineage_of: Callable[..., Lineage]


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return Tiny(SCHEMA, dict(OPTIONS), write_dataset, make_table, lineage_of)


@pytest.fixture
def publish(registry: Registry, settings: CtrSettings, bundles: dict[str, Bundle]) -> Callable[..., str]:
    """Put a bundle into the service's folder and register it; returns its version."""

    def publish(name: str, model: str = "tiny", alias: str | None = None) -> str:
        bundle = bundles[name]
        target = settings.bundles / bundle.version
        if not target.exists():
            shutil.copytree(bundle.path, target)
        registry.register(model, bundle.version, lineage_of(bundle), bundle.metrics)
        if alias:
            registry.set_alias(model, alias, bundle.version)
        return bundle.version

    return publish


@dataclass
class Service:
    """The running app, with the admin's key as a header."""

    client: TestClient
    admin: dict[str, str]
    scorers: dict[str, Scorer]


@pytest.fixture(scope="session")
def scorers(bundles: dict[str, Bundle]) -> dict[str, Scorer]:
    return {name: Scorer.load(bundle.path) for name, bundle in bundles.items()}


@pytest.fixture
def service(settings: CtrSettings, storage: Storage, scorers: dict[str, Scorer]) -> Iterator[Service]:
    key = ensure_admin_key(settings.key_file)
    with TestClient(build_app(settings), raise_server_exceptions=False) as client:
        yield Service(client, {"Authorization": f"Bearer {key}"}, scorers)


@pytest.fixture
def scoring(service: Service, publish: Callable[..., str]) -> Service:
    """The service with the bundle "llactr" as champion of "tiny"."""
    version = publish("llactr")
    answer = service.client.put(
        "/v1/admin/models/tiny/aliases/champion", json={"version": version}, headers=service.admin
    )
    assert answer.status_code == 200, answer.text
    return service
