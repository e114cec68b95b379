"""What retention gives up, what it never does, and what is left after a kill."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from llactr_core.errors import ConflictError, NotFoundError
from services.ctr.registry.bundles import sweep
from services.ctr.registry.retention import Retention
from services.ctr.registry.store import Registry
from services.ctr.registry.tables import VersionRow
from services.ctr.settings import CtrSettings
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage

DAY_S = 24 * 3600.0


def age(path: Path, seconds: float) -> Path:
    at = time.time() - seconds
    os.utime(path, (at, at))
    return path


@pytest.fixture
def make(registry: Registry, storage: Storage, tiny: Any) -> Callable[..., None]:
    def make(*versions: str, model: str = "m", age_s: float = 2 * DAY_S) -> None:
        for version in versions:
            registry.register(model, version, tiny.lineage_of(), {})
            folder = registry.bundle_path(version)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "manifest.json").write_text("{}")
            age(folder, age_s)
            with storage.session() as session:
                aged = VersionRow.created_at - age_s
                session.execute(update(VersionRow).where(VersionRow.version == version).values(created_at=aged))

    return make


@pytest.fixture
def retention(registry: Registry, settings: CtrSettings) -> Retention:
    return Retention(registry, settings.model_copy(update={"keep_versions": 2}))


def test_only_old_versions_that_nobody_names_go(
    registry: Registry, retention: Retention, storage: Storage, make: Callable[..., None]
) -> None:
    champions = [f"c{number}" for number in range(7)]
    make(*champions, "plain", "aliased", "started")
    for version in champions:
        registry.set_alias("m", "champion", version)
    registry.set_alias("m", "mine", "aliased")
    job = JobStore(storage).submit("train", {"model": "m", "request": {"warm_start": "started"}}, lane="m")
    make("fresh", age_s=3600.0)
    make("new1", "new2")
    assert retention.unused("m") == ["plain", "c1", "c0"]
    assert retention.prune("m") == ["plain", "c1", "c0"]
    assert sorted(path.name for path in registry.bundles.iterdir()) == sorted(
        [*champions[2:], "aliased", "started", "fresh", "new1", "new2"]
    )
    JobStore(storage).cancel(job.id)
    assert retention.prune("m") == ["started"]
    with pytest.raises(NotFoundError):
        retention.prune("nobody")


def test_what_an_alias_or_a_job_names_cannot_be_deleted(
    registry: Registry, retention: Retention, storage: Storage, make: Callable[..., None]
) -> None:
    make("a", "b", "c")
    registry.set_alias("m", "mine", "a")
    JobStore(storage).submit("refresh", {"model": "m", "request": {"warm_start": "b"}}, lane="m")
    with pytest.raises(ConflictError, match="'mine' points at"):
        retention.delete("m", "a")
    with pytest.raises(ConflictError, match="a job"):
        retention.delete("m", "b")
    retention.delete("m", "c")
    with pytest.raises(NotFoundError, match="no version 'c'"):
        retention.delete("m", "c")
    assert [v.version for v in registry.versions("m")] == ["b", "a"]


def test_a_bundle_stays_while_another_model_has_it(
    registry: Registry, retention: Retention, make: Callable[..., None]
) -> None:
    make("a")
    make("a", model="other")
    retention.delete("m", "a")
    assert registry.bundle_path("a").is_dir()
    retention.delete("other", "a")
    assert not registry.bundle_path("a").exists()


def test_what_a_kill_left_behind_is_swept_once_it_is_old(registry: Registry, make: Callable[..., None]) -> None:
    make("a")
    for name, seconds in (("orphan", 2 * DAY_S), ("young", 3600.0), (".x.import", 7200.0), (".y.import", 60.0)):
        folder = registry.bundles / name
        folder.mkdir()
        age(folder, seconds)
    assert sweep(registry) == 2
    assert sorted(path.name for path in registry.bundles.iterdir()) == [".y.import", "a", "young"]


def test_no_alias_ever_points_at_a_deleted_version(
    registry: Registry, retention: Retention, make: Callable[..., None]
) -> None:
    versions = [f"v{number}" for number in range(8)]
    make(*versions)
    failures: list[BaseException] = []

    def work(act: Callable[[str], object]) -> None:
        for version in versions:
            try:
                act(version)
            except (ConflictError, NotFoundError):
                continue
            except BaseException as error:
                failures.append(error)

    acts: list[Callable[[str], object]] = [
        lambda version: registry.set_alias("m", f"alias-{version}", version),
        lambda version: retention.delete("m", version),
    ]
    threads = [threading.Thread(target=work, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    pointed = set(registry.aliases().get("m", {}).values())
    assert pointed <= {v.version for v in registry.versions("m")} == {path.name for path in registry.bundles.iterdir()}
