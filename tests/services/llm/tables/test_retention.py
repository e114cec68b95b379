"""Unused tables go by the rule; what an alias, another schema or a publication needs stays; leftovers are swept."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llactr_client import Client
from sqlalchemy import update

from llactr_core.errors import ConflictError, NotFoundError
from llactr_core.semantics.table import FieldTable
from services.llm.rows import FieldTableRow
from services.llm.settings import LlmSettings
from services.llm.tables.retention import DAY_S, Retention
from services.llm.tables.store import Origin, TableStore
from services.shared.storage.storage import Storage


@pytest.fixture
def settings(tmp_path: Path) -> LlmSettings:
    return LlmSettings(home=tmp_path, keep_versions=2, keep_days=10)


@pytest.fixture
def store(storage: Storage, settings: LlmSettings) -> TableStore:
    return TableStore(storage, settings)


@pytest.fixture
def retention(store: TableStore, settings: LlmSettings) -> Retention:
    return Retention(store, settings)


def table(seed: int) -> FieldTable:
    vectors = np.random.default_rng(seed).standard_normal((2, 4)).astype(np.float32)
    return FieldTable(("a", "b"), vectors, "tiny", f"recipe-{seed}")


def publish(store: TableStore, seed: int, schema: str = "s", adapter: Path | None = None) -> str:
    return store.publish(table(seed), Origin(schema, "f" * 64, "tiny", None), adapter).version


def adapter(folder: Path, content: str) -> Path:
    folder.mkdir()
    (folder / "weights").write_text(content)
    return folder


def grow_old(store: TableStore, days: float) -> None:
    with store.storage.session() as session:
        session.execute(update(FieldTableRow).values(created_at=FieldTableRow.created_at - days * DAY_S))


def files(settings: LlmSettings) -> set[str]:
    folder = settings.state / "artifacts"
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def age_files(settings: LlmSettings) -> None:
    for folder in ("artifacts", "spool"):
        for path in (settings.state / folder).rglob("*"):
            with suppress(FileNotFoundError):  # just deleted
                os.utime(path, (time.time() - DAY_S,) * 2)


def test_the_rule(store: TableStore, retention: Retention, settings: LlmSettings) -> None:
    versions = [publish(store, seed) for seed in range(6)]
    store.move("s", "night", versions[0])
    assert retention.prune("s") == [], "none is old"
    grow_old(store, 11)
    # Newest two: 5, 4. Aliased: 5 (current), 4 (previous), 0 (night).
    assert [info.version for info in retention.unused("s")] == [versions[3], versions[2], versions[1]]
    assert retention.prune("s") == [versions[3], versions[2], versions[1]]
    assert {info.version for info in store.versions("s")} == {versions[0], versions[4], versions[5]}
    age_files(settings)
    retention.sweep()
    assert len(files(settings)) == 3
    for version in (versions[0], versions[4], versions[5]):
        assert store.read(store.info("s", version)).table.version == version
    assert retention.prune("s") == []


def test_a_round_prunes_every_schema(store: TableStore, retention: Retention) -> None:
    for schema in ("one", "two"):
        for seed in range(4):
            publish(store, seed, schema)
    grow_old(store, 11)
    retention.round()
    assert [len(store.versions(schema)) for schema in ("one", "two")] == [2, 2]


def test_one_table_is_deleted_unless_an_alias_points_there(
    store: TableStore, retention: Retention, settings: LlmSettings
) -> None:
    one, two, three = (publish(store, seed) for seed in range(3))
    for used, alias in ((three, "current"), (two, "previous")):
        with pytest.raises(ConflictError, match=alias):
            retention.delete("s", used)
    retention.delete("s", one)
    with pytest.raises(NotFoundError):
        store.info("s", one)
    with pytest.raises(NotFoundError):
        retention.delete("s", one)
    retention.sweep()
    assert any(one in name for name in files(settings)), "it may be a publication that goes on"
    age_files(settings)
    retention.sweep()
    assert not any(one in name for name in files(settings))
    assert publish(store, 0) == one, "it may come again"


def test_files_that_another_table_needs_stay(
    store: TableStore, retention: Retention, settings: LlmSettings, tmp_path: Path
) -> None:
    shared = adapter(tmp_path / "shared", "tuned")
    old = publish(store, 0, "one", shared)
    publish(store, 0, "two", shared)
    newer = publish(store, 1, "one", shared)
    publish(store, 2, "one")
    store.move("one", "previous", newer)
    retention.delete("one", old)
    age_files(settings)
    retention.sweep()
    info = store.info("two")
    assert store.read(info).table == table(0)
    assert store.adapter(info) is not None
    assert sum(name.startswith("adapters/") for name in files(settings)) == 2  # the weights and their list


def test_leftovers_are_swept_once_they_are_old(
    store: TableStore, retention: Retention, settings: LlmSettings, tmp_path: Path
) -> None:
    used = publish(store, 0, adapter=adapter(tmp_path / "used", "used"))
    store.contents.keep(table(1))  # a publication that died before its row was written
    store.contents.keep_adapter(adapter(tmp_path / "left", "left"))
    assert retention.sweep() == 0, "it may be a publication that goes on"
    age_files(settings)
    assert retention.sweep() == 2
    info = store.info("s")
    assert (info.version, store.read(info).table) == (used, table(0))
    assert store.adapter(info) is not None
    assert len(files(settings)) == 3


def test_a_slow_store_holds_up_nobody_who_writes(
    store: TableStore, retention: Retention, settings: LlmSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(*_: object) -> bool:
        with ThreadPoolExecutor(1) as other:
            other.submit(store.move, "s", "night", "current").result(5)
        return True

    publish(store, 0)
    store.contents.keep(table(1))
    age_files(settings)
    monkeypatch.setattr(store.contents, "is_whole", written)
    publish(store, 0)
    monkeypatch.setattr(store.contents.artifacts, "delete", written)
    assert retention.sweep() == 1


def test_copies_of_adapters_go_with_the_last_table(
    store: TableStore, retention: Retention, settings: LlmSettings, tmp_path: Path
) -> None:
    gone, kept = (publish(store, seed, adapter=adapter(tmp_path / str(seed), str(seed))) for seed in range(2))
    publish(store, 2)
    store.move("s", "previous", kept)
    copies = [store.adapter(store.info("s", version)) for version in (gone, kept)]
    retention.delete("s", gone)
    retention.sweep()
    assert [copy is not None and copy.is_dir() for copy in copies] == [True, True], "it may be in use"
    age_files(settings)
    retention.sweep()
    assert [copy is not None and copy.is_dir() for copy in copies] == [False, True]


def test_publishing_while_others_clean_up(store: TableStore, settings: LlmSettings, retention: Retention) -> None:
    """A table comes and goes again and again while its old files are swept: it is whole whenever it is there."""
    publish(store, 1)

    def clean(_: int) -> None:
        age_files(settings)
        retention.sweep()

    def come_and_go(_: int) -> None:
        version = publish(store, 0)
        info = store.info("s")
        assert info.version == version
        assert store.contents.is_whole(info.version, info.file_digest)
        store.move("s", "current", publish(store, 1))
        store.move("s", "previous", "current")
        retention.delete("s", version)

    with ThreadPoolExecutor(2) as pool:
        cleaning = pool.map(clean, range(15))
        list(map(come_and_go, range(15)))
        list(cleaning)


def test_over_http(house: Any) -> None:
    versions = [house.published("pruned", ssft={"skip": True, "seed": seed}) for seed in (1, 2, 3)]
    path = "/v1/admin/fields/pruned/prune"
    assert house.admin.post(path, json={"dry_run": True}).json() == {
        "schema": "pruned",
        "versions": [],
        "dry_run": True,
    }
    assert house.anyone.post(path, json={}).status_code == 401
    assert house.admin.post("/v1/admin/fields/none/prune", json={}).status_code == 404
    assert house.admin.post(path).json() == {"schema": "pruned", "versions": [], "dry_run": False}
    assert house.admin.post(path, json={"all": True}).status_code == 422
    refused = house.admin.delete(f"/v1/fields/pruned/versions/{versions[2]}")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    with Client(llm_url=house.url, key=house.key) as client:
        assert client.compare_fields("pruned", versions[0]).b == versions[2]
        assert client.prune_fields("pruned") == ()
        assert client.delete_fields("pruned", versions[0]) == (versions[0],)
    assert house.anyone.get(f"/v1/fields/pruned/versions/{versions[0]}").status_code == 404
    assert house.admin.delete(f"/v1/fields/pruned/versions/{versions[0]}").status_code == 404
    assert house.admin.delete("/v1/fields/pruned/versions/current").status_code == 422
