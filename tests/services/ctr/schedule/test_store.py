"""Schedules in SQL, on both databases."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llactr_core.errors import NotFoundError
from services.ctr.registry.store import Registry
from services.ctr.registry.tables import ScheduleRow
from services.ctr.schedule.records import HOUR_S, ScheduleRequest
from services.ctr.schedule.store import ScheduleStore
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage, migrate


@pytest.fixture
def storage(database_url: str, tiny: object, tmp_path: Path) -> Iterator[Storage]:
    storage = Storage(database_url)
    migrate(storage, "services.ctr")
    Registry(storage, tmp_path).register("tiny", "v1", tiny.lineage_of(), {})  # type: ignore[attr-defined]
    yield storage
    storage.close()


@pytest.fixture
def schedules(storage: Storage) -> ScheduleStore:
    return ScheduleStore(storage)


def asked(**content: object) -> ScheduleRequest:
    return ScheduleRequest.model_validate(content)


def asked_often(hours: float) -> ScheduleRequest:
    """More often than the API allows, so that a test need not wait a minute."""
    return asked(every_hours=1).model_copy(update={"every_hours": hours})


def test_what_was_put_is_there_and_what_was_deleted_is_not(schedules: ScheduleStore) -> None:
    before = time.time()
    put = schedules.put("tiny", asked(every_hours=24, request={"mode": "re-enhance", "ssft": {"epochs": 2}}))
    assert put == schedules.get("tiny") == schedules.all()[0]
    assert (put.every_s, put.on_new_table, put.is_due) == (24 * HOUR_S, False, False)
    assert put.plan.ssft == {"epochs": 2}
    assert put.next_at == pytest.approx(before + 24 * HOUR_S, abs=60)
    assert schedules.delete("tiny") == put
    assert schedules.all() == []
    for call in (schedules.get, schedules.delete):
        with pytest.raises(NotFoundError, match="no schedule"):
            call("tiny")
    with pytest.raises(NotFoundError, match="nobody"):
        schedules.put("nobody", asked(on_new_table=True))


def test_the_same_interval_again_does_not_start_the_clock_anew(schedules: ScheduleStore) -> None:
    first = schedules.put("tiny", asked(every_hours=24))
    same = schedules.put("tiny", asked(every_hours=24, on_new_table=True))
    assert (same.next_at, same.on_new_table) == (first.next_at, True)
    assert schedules.put("tiny", asked(every_hours=1)).next_at < first.next_at  # type: ignore[operator]
    assert schedules.put("tiny", asked(on_new_table=True)).next_at is None


def test_of_two_that_saw_the_same_time_come_one_goes_on_and_missed_times_are_made_up_for_once(
    schedules: ScheduleStore,
) -> None:
    every_s = 0.2
    put = schedules.put("tiny", asked_often(every_s / HOUR_S))
    time.sleep(3.5 * every_s)
    due = schedules.get("tiny")
    assert due.is_due
    assert [schedules.advance(due, "job1"), schedules.advance(due, "job2")] == [True, False]
    moved = schedules.get("tiny")
    assert moved.last_job == "job1"
    assert put.next_at is not None
    assert moved.next_at is not None
    beats = (moved.next_at - put.next_at) / every_s
    assert round(beats) >= 3
    assert beats == pytest.approx(round(beats), abs=1e-3), "the times keep their distance from the first one"


def test_a_table_is_tried_by_one_and_a_new_schedule_forgets_it(schedules: ScheduleStore) -> None:
    seen = schedules.put("tiny", asked(on_new_table=True))
    assert [schedules.tried(seen, "table", job) for job in ("job1", "job2")] == [True, False]
    assert (schedules.get("tiny").tried_table, schedules.get("tiny").last_job) == ("table", "job1")
    assert schedules.put("tiny", asked(on_new_table=True)).tried_table is None


def test_a_schedule_that_was_replaced_is_not_moved_by_who_saw_the_old_one(schedules: ScheduleStore) -> None:
    old = schedules.put("tiny", asked_often(1e-7))
    schedules.put("tiny", asked(every_hours=24))
    assert not schedules.advance(old, "job")


def test_only_a_refresh_of_the_model_that_has_not_ended_counts_as_one_at_work(
    schedules: ScheduleStore, storage: Storage
) -> None:
    jobs = JobStore(storage)
    jobs.submit("train", {}, lane="tiny")
    jobs.submit("refresh", {}, lane="other")
    assert not schedules.is_refreshing("tiny")
    job = jobs.submit("refresh", {}, lane="tiny")
    assert schedules.is_refreshing("tiny")
    jobs.succeed(job.id, {})
    assert not schedules.is_refreshing("tiny")


def test_a_schedule_that_cannot_be_read_stops_no_other(
    schedules: ScheduleStore, storage: Storage, tiny: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Registry(storage, tmp_path).register("other", "v1", tiny.lineage_of(), {})  # type: ignore[attr-defined]
    for model in ("other", "tiny"):
        schedules.put(model, asked(every_hours=1))
    with storage.session() as session:
        session.get_one(ScheduleRow, "other").request = {"mode": "of another release"}
    assert [schedule.model for schedule in schedules.all()] == ["tiny"]
    assert "'other' is not followed" in caplog.text
