"""Old jobs, their calls and their folders."""

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import select, update

from services.shared.jobs.calls import CallRow, call_of
from services.shared.jobs.job import Job, JobRow
from services.shared.jobs.store import JobStore
from services.shared.jobs.upkeep import DAY_S, Upkeep


@pytest.fixture
def upkeep(store: JobStore, tmp_path: Path) -> Upkeep:
    return Upkeep(store.storage, tmp_path / "jobs", keep_days=90)


def test_jobs_that_ended_long_ago_go_with_their_calls(store: JobStore, upkeep: Upkeep) -> None:
    old, recent, waiting = (submitted(store, name) for name in ("old", "recent", "waiting"))
    store.succeed(old.id, {})
    store.keep_answer(call_of("answered", "a", "train", {}), {"version": "v"})
    age(store, 91)
    store.succeed(recent.id, {})
    assert upkeep.prune() == 1
    assert {job.id for job in store.recent()} == {recent.id, waiting.id}
    with store.storage.reading() as session:
        assert set(session.scalars(select(CallRow.key))) == {"recent", "waiting"}
    assert upkeep.prune() == 0


def test_folders_of_jobs_that_ended_or_are_gone_are_removed(store: JobStore, upkeep: Upkeep, tmp_path: Path) -> None:
    ended, waiting, fresh = (submitted(store, name) for name in ("ended", "waiting", "fresh"))
    for job in (ended, fresh):
        store.succeed(job.id, {})
    for name in (ended.id, waiting.id, fresh.id, "of no job"):
        folder = tmp_path / "jobs" / name
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
        if name != fresh.id:
            os.utime(folder, (time.time() - 7200,) * 2)
    upkeep.when_due()
    assert {folder.name for folder in (tmp_path / "jobs").iterdir()} == {waiting.id, fresh.id}


def submitted(store: JobStore, name: str) -> Job:
    return store.submit("train", {}, call_of(name, "a", "train", {}))


def age(store: JobStore, days: float) -> None:
    """Let days pass for everything that is there."""
    with store.storage.session() as session:
        session.execute(update(JobRow).values(finished_at=JobRow.finished_at - days * DAY_S))
        session.execute(update(CallRow).values(at=CallRow.at - days * DAY_S))
