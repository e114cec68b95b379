"""The pool: swaps are atomic, what cannot be loaded never replaces what serves."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llactr_core.errors import BundleError, InputError, NoModelError, NotFoundError
from services.ctr.registry.store import Registry
from services.ctr.serving import pool as pool_module
from services.ctr.serving.pool import ModelPool


class FakeScorer:
    def __init__(self, version: str) -> None:
        self.version = version


@pytest.fixture
def loads() -> list[str]:
    return []


@pytest.fixture
def add(registry: Registry, tiny: Any) -> Callable[..., None]:
    def add(model: str, version: str, *aliases: str) -> None:
        registry.register(model, version, tiny.lineage_of(), {})
        for alias in aliases:
            registry.set_alias(model, alias, version)

    return add


@pytest.fixture
def pool(registry: Registry, loads: list[str]) -> ModelPool:
    def load(path: Path) -> Any:
        loads.append(path.name)
        if path.name.startswith("bad"):
            raise BundleError("weights.safetensors is not as it was written")
        return FakeScorer("other" if path.name == "foreign" else path.name)

    return ModelPool(registry, max_loaded=2, load=load)


def test_without_a_champion_the_error_says_what_to_do(pool: ModelPool, add: Callable[..., None]) -> None:
    pool.refresh()
    with pytest.raises(NoModelError, match="make run"):
        pool.champion()
    with pytest.raises(NotFoundError):
        pool.champion("m")
    add("m", "v1")
    pool.refresh()
    with pytest.raises(NoModelError, match="aliases/champion"):
        pool.champion("m")


def test_the_champion_follows_its_alias_and_loads_once(
    pool: ModelPool, add: Callable[..., None], registry: Registry, loads: list[str]
) -> None:
    add("m", "v1", "champion")
    pool.refresh()
    first = pool.champion()
    pool.refresh()
    assert pool.champion() is first
    add("m", "v2", "champion")
    assert pool.champion() is first  # until the next look
    pool.refresh()
    assert pool.champion().version == "v2"
    registry.set_alias("m", "champion", "v1")
    pool.refresh()
    assert pool.champion() is first  # the roll back needed no load
    assert loads == ["v1", "v2"]


@pytest.mark.parametrize("version", ["bad", "foreign"])
def test_a_bundle_that_is_refused_leaves_the_champion_and_is_not_tried_at_every_look(
    pool: ModelPool, add: Callable[..., None], loads: list[str], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("m", "v1", "champion")
    pool.refresh()
    add("m", version, "champion")
    pool.refresh()
    pool.refresh()
    assert pool.champion().version == "v1"
    assert pool.resolve("m@champion").version == "v1"
    assert loads == ["v1", version]
    monkeypatch.setattr(pool_module, "RETRY_S", -1.0)
    pool._failed.clear()
    pool.refresh()
    pool.refresh()
    assert loads == ["v1", version, version, version]


def test_references(pool: ModelPool, add: Callable[..., None]) -> None:
    add("m", "v1", "champion")
    add("m", "v2", "challenger")
    add("m", "v3")
    pool.refresh()
    assert pool.resolve("m").version == "v1"
    assert pool.resolve("m@challenger").version == "v2"
    assert pool.resolve("m:v3").version == "v3"
    for wrong in ("m:v9", "m@nobody", "nobody:v1", "nobody@champion", "nobody"):
        with pytest.raises(NotFoundError):
            pool.resolve(wrong)
    for wrong in ("m:", "@champion", ":v1"):
        with pytest.raises(InputError, match="NAME:VERSION"):
            pool.resolve(wrong)


def test_the_default_is_the_only_model_then_the_one_named_default(pool: ModelPool, add: Callable[..., None]) -> None:
    add("m", "v1", "champion")
    pool.refresh()
    assert pool.champion().name == "m"
    add("n", "v2", "champion")
    pool.refresh()
    with pytest.raises(InputError, match="m, n"):
        pool.champion()
    add("default", "v3", "champion")
    pool.refresh()
    assert pool.champion().name == "default"


def test_only_the_last_used_versions_stay_in_memory(
    pool: ModelPool, add: Callable[..., None], loads: list[str]
) -> None:
    for version in ("v1", "v2", "v3"):
        add("m", version)
    for version in ("v1", "v2", "v1", "v3", "v1", "v2"):
        pool.resolve(f"m:{version}")
    assert loads == ["v1", "v2", "v3", "v2"]


def test_watching_survives_a_registry_that_fails(
    pool: ModelPool, add: Callable[..., None], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("m", "v1", "champion")
    looks = 0
    healthy = threading.Event()
    real = registry.aliases

    def aliases() -> dict[str, dict[str, str]]:
        nonlocal looks
        looks += 1
        if looks <= 2:
            raise OSError("the disk is away")
        healthy.set()
        return real()

    monkeypatch.setattr(registry, "aliases", aliases)
    pool.start()
    assert healthy.wait(5)
    pool.close()
    assert pool.champion().version == "v1"
