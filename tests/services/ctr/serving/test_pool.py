"""The pool: swaps are atomic, what cannot be loaded never replaces what serves, memory stays within its budget."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llactr_core.errors import (
    BundleError,
    ConflictError,
    InputError,
    LlactrError,
    NoModelError,
    NotFoundError,
    UnavailableError,
)
from services.ctr.registry.store import Registry
from services.ctr.serving import pool as pool_module
from services.ctr.serving.pool import ModelPool

BUDGET = 100


class FakeScorer:
    """A version such as "v1" weighs 40 of the budget, one such as "v1-70" weighs 70."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.nbytes = int(version.partition("-")[2] or 40)


FAILURES: dict[str, Exception] = {
    "damaged": BundleError("weights.safetensors is not as it was written"),
    "unreadable": OSError(5, "Input/output error"),
    "enormous": MemoryError(),
}


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
        if path.name in FAILURES:
            raise FAILURES[path.name]
        time.sleep(0.02)
        return FakeScorer("other" if path.name == "foreign" else path.name)

    return ModelPool(registry, budget=BUDGET, load=load)


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


@pytest.mark.parametrize("version", [*FAILURES, "foreign"])
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
    for asked in ("m:" + version, "m:" + version):
        with pytest.raises(LlactrError):
            pool.resolve(asked)
    assert loads == ["v1", version]
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + pool_module.RETRY_S)
    pool.refresh()
    assert loads == ["v1", version, version]


def test_references(pool: ModelPool, add: Callable[..., None]) -> None:
    add("m", "v1", "champion")
    add("m", "v2", "challenger")
    add("m", "v3")
    pool.refresh()
    assert pool.resolve("m").version == "v1"
    assert pool.resolve("m@challenger").version == "v2"
    assert pool.resolve("m:v3").version == "v3"
    for wrong in ("m:v9", "m:challenger", "m@nobody", "nobody:v1", "nobody@champion", "nobody"):
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
    with pytest.raises(InputError, match="from: n"):
        pool.default_champion(lambda name: name == "n")
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
    assert [(one.version, one.nbytes) for one in pool.loaded()] == [("v1", 40), ("v2", 40)]


def test_a_champion_that_made_room_is_loaded_again_and_the_default_models_one_stays(
    pool: ModelPool, add: Callable[..., None], loads: list[str]
) -> None:
    for name in ("default", "a", "b"):
        add(name, f"{name}1", "champion")
    pool.refresh()
    assert pool.champions() == {"default": "default1", "a": "a1", "b": "b1"}
    assert sum(one.nbytes for one in pool.loaded()) <= BUDGET
    for name in ("a", "b", "a", "b"):
        assert pool.resolve(name).version == f"{name}1"
        assert pool.in_memory("default") is pool.champion()
    assert loads.count("default1") == 1
    assert pool.in_memory("a") is None
    before = len(loads)
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: id(pool.resolve("a@champion")), range(8)))
    assert (len(found), loads[before:]) == (1, ["a1"])


def test_a_version_without_room_is_refused_with_the_reason_and_puts_nobody_out(
    pool: ModelPool, add: Callable[..., None]
) -> None:
    add("default", "v1", "champion")
    add("default", "v2-70")
    add("other", "w1-61")
    add("other", "w2-101")
    pool.refresh()
    for reference in ("other:w1-61", "other:w2-101"):
        with pytest.raises(ConflictError, match=r"MiB of memory.*raise memory_mb"):
            pool.resolve(reference)
    assert [one.version for one in pool.loaded()] == ["v1"]
    pool.load("default", "v2-70")  # as before a promotion: it may replace v1, so both need no room for long
    assert pool.champion().version == "v1"
    add("default", "v2-70", "champion")
    pool.refresh()
    assert [one.version for one in pool.loaded()] == ["v2-70"]


def test_a_single_model_may_be_larger_than_the_budget(pool: ModelPool, add: Callable[..., None]) -> None:
    add("m", "v1-150", "champion")
    pool.refresh()
    assert pool.champion().version == "v1-150"
    add("m", "v2-160", "champion")
    pool.refresh()
    assert [one.version for one in pool.loaded()] == ["v2-160"]


def test_after_a_restart_the_champion_before_serves_where_the_champion_is_damaged(
    pool: ModelPool, add: Callable[..., None]
) -> None:
    add("m", "v1", "champion")
    add("m", "damaged", "champion")
    pool.refresh()
    assert pool.champions() == {"m": "v1"}
    assert pool.champion().version == "v1"


def test_what_the_last_look_saw_is_resolved_without_the_database(
    pool: ModelPool, add: Callable[..., None], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("m", "v1", "champion")
    add("m", "v2", "challenger")
    add("n", "w1-60", "champion")
    pool.refresh()

    def away(*_: object) -> None:
        raise UnavailableError("the storage does not answer")

    for method in ("aliases", "get", "versions"):
        monkeypatch.setattr(registry, method, away)
    with pytest.raises(UnavailableError):
        pool.refresh()
    assert [pool.resolve(one).version for one in ("m", "m@challenger", "n", "m")] == ["v1", "v2", "w1-60", "v1"]
    with pytest.raises(UnavailableError):
        pool.resolve("m:v3")


def test_a_slow_load_holds_up_nobody_who_asks_for_what_is_loaded(registry: Registry, add: Callable[..., None]) -> None:
    going_on = threading.Event()

    def load(path: Path) -> Any:
        assert path.name == "v1" or going_on.wait(10)
        return FakeScorer(path.name)

    pool = ModelPool(registry, load=load)
    add("m", "v1", "champion")
    pool.refresh()
    add("m", "v2", "champion")
    with ThreadPoolExecutor(1) as thread:
        swap = thread.submit(pool.refresh)
        assert [pool.resolve("m").version for _ in range(100)] == ["v1"] * 100
        going_on.set()
        swap.result(10)
    assert pool.resolve("m").version == "v2"


def test_what_failed_a_moment_ago_is_refused_while_another_version_loads(
    registry: Registry, add: Callable[..., None]
) -> None:
    begun, going_on = threading.Event(), threading.Event()

    def load(path: Path) -> Any:
        if path.name == "damaged":
            raise FAILURES["damaged"]
        begun.set()
        assert going_on.wait(10)
        return FakeScorer(path.name)

    pool = ModelPool(registry, load=load)
    add("m", "damaged", "candidate")
    add("m", "v1", "champion")
    with pytest.raises(BundleError):
        pool.resolve("m:damaged")
    with ThreadPoolExecutor(2) as threads:
        loading = threads.submit(pool.resolve, "m:v1")
        assert begun.wait(10)
        assert isinstance(threads.submit(pool.resolve, "m:damaged").exception(5), BundleError)
        going_on.set()
        assert loading.result(10).version == "v1"


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
