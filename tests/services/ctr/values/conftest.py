"""A model with value semantics whose vectors the stand-in for the LLM service gives."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llm_stand_in import FakeLlm, vector_of
from starlette.testclient import TestClient

from llactr_core.bundle import Bundle
from llactr_core.data.splits import open_dataset
from llactr_core.progress import silent
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.values.gather import recipe_of, table_of, unit
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle
from services.ctr.app import build_app
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
from services.shared.access.auth import ensure_admin_key

JOBS = ["student", "technician", "admin", "retired"]


@pytest.fixture(scope="session")
def valued_bundle(dataset: Path, tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    fields = tiny.make_table()

    def embed(texts: Any) -> Any:
        return unit(np.array([vector_of(text) for text in texts], np.float32))

    values = table_of(tiny.schema, {"job": JOBS}, embed, "random", recipe_of([fields.version]))
    folder = tmp_path_factory.mktemp("valued")
    options = TrainOptions.parse({**tiny.options, "backbone": "fm"})
    splits = open_dataset(dataset, "click")
    return train_bundle(splits, tiny.schema, Semantics(fields, values), options, folder / "b", folder / "c", silent)


@pytest.fixture
def publish_valued(registry: Registry, settings: CtrSettings, valued_bundle: Bundle, tiny: Any) -> Callable[..., str]:
    """Register the bundle; returns its version."""

    def publish(alias: str | None = "champion") -> str:
        target = settings.bundles / valued_bundle.version
        if not target.exists():
            shutil.copytree(valued_bundle.path, target)
        of_llm = {"enhancer": "llactr", "field_schema": "tiny", "table_version": tiny.make_table().version}
        registry.register("tiny", valued_bundle.version, tiny.lineage_of(valued_bundle, **of_llm), {})
        if alias:
            registry.set_alias("tiny", alias, valued_bundle.version)
        return valued_bundle.version

    return publish


class House:
    """The running service, with the admin's key."""

    def __init__(self, client: TestClient, key: str, version: str) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {key}"}
        self.version = version

    def add(self, values: dict[str, Any], **more: Any) -> Any:
        return self.client.post("/v1/admin/models/tiny/values", json={"values": values, **more}, headers=self.headers)

    def score(self, job: str, **params: str) -> Any:
        return self.client.post("/v1/score", json={"rows": [{"job": job, "age": 30}]}, params=params).json()


@pytest.fixture
def house(work_settings: CtrSettings, publish_valued: Callable[..., str]) -> Iterator[House]:
    version = publish_valued()
    key = ensure_admin_key(work_settings.key_file)
    settings = work_settings.model_copy(update={"overlay_poll_s": 0.05})
    with TestClient(build_app(settings), raise_server_exceptions=False) as client:
        yield House(client, key, version)


@pytest.fixture
def llm_away(llm: FakeLlm) -> FakeLlm:
    llm.away = True
    return llm
