"""The service's storage on both databases, and answered requests as the pipeline reports them."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from services.ctr.formats.decoding import Batch
from services.ctr.registry.store import Registry
from services.ctr.serving.hooks import Scored
from services.ctr.serving.pool import Loaded, ModelPool
from services.ctr.settings import CtrSettings

JOBS = ("student", "technician", "admin", "retired", "astronaut")


@pytest.fixture
def settings(tmp_path: Path, dataset: Path, database_url: str) -> CtrSettings:
    return CtrSettings(
        home=tmp_path / "home",
        database_url=database_url,
        data_roots=[dataset.parent],
        poll_s=0.05,
        traffic_flush_s=0.05,
        live_every_s=0.1,
    )


@pytest.fixture
def pool(registry: Registry, publish: Callable[..., str]) -> ModelPool:
    """The bundle "llactr" as champion and "none" as challenger of "tiny"."""
    publish("none", alias="challenger")
    publish("llactr", alias="champion")
    pool = ModelPool(registry)
    pool.refresh()
    return pool


def tiny_rows(count: int, seed: int = 0) -> list[dict[str, object]]:
    random = np.random.default_rng(seed)
    return [
        {"job": str(random.choice(JOBS)), "age": int(random.integers(15, 90)), "tags": "a|b", "city": f"c{i % 15}"}
        for i in range(count)
    ]


@pytest.fixture
def answered(pool: ModelPool) -> Callable[..., Scored]:
    """A request on the champion (or another version of "tiny"), scored as the service does it."""

    def answered(
        rows: Sequence[Mapping[str, object]] | Mapping[str, Sequence[object]],
        *,
        request_id: str | None = None,
        arm: str | None = None,
        row_ids: Sequence[str | None] | None = None,
        loaded: Loaded | None = None,
    ) -> Scored:
        loaded = loaded or pool.champion("tiny")
        scores = loaded.scorer.score(rows)
        return Scored(request_id or uuid.uuid4().hex, loaded, arm, Batch(rows, len(scores)), scores, row_ids, size=100)

    return answered


@pytest.fixture
def rows_of() -> Callable[..., list[dict[str, object]]]:
    return tiny_rows
