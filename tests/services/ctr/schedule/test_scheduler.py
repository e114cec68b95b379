"""The thread that starts refreshes: once per occasion, whoever looks, and never because of its own work."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llactr_core.errors import DataError
from llactr_core.semantics.table import FieldTable
from services.ctr.metrics import SCHEDULE_RUNS
from services.ctr.registry.store import Registry
from services.ctr.registry.tables import ScheduleRow
from services.ctr.schedule.records import ScheduleRequest
from services.ctr.schedule.scheduler import Scheduler
from services.ctr.schedule.store import ScheduleStore
from services.ctr.settings import CtrSettings
from services.shared.jobs.job import Job
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage


class Killed(BaseException):
    """Stands for kill -9: nothing in our code may catch it."""


@pytest.fixture
def schedules(storage: Storage) -> ScheduleStore:
    return ScheduleStore(storage)


@pytest.fixture
def jobs(storage: Storage) -> JobStore:
    return JobStore(storage)


@pytest.fixture
def scheduler(
    schedules: ScheduleStore, registry: Registry, jobs: JobStore, work_settings: CtrSettings
) -> Iterator[Scheduler]:
    scheduler = Scheduler(schedules, registry, jobs, work_settings)
    yield scheduler
    scheduler.close()


@pytest.fixture
def champion(registry: Registry, publish: Callable[..., str], tiny: Any, bundles: Any, llm: Any) -> str:
    """A champion that was trained with the LLM service's current table."""
    table = llm.tables["current"]
    lineage = tiny.lineage_of(enhancer="llactr", field_schema="tiny", table_version=table.version)
    registry.register("tiny", bundles["llactr"].version, lineage, {})
    return publish("llactr", alias="champion")


def put(schedules: ScheduleStore, **content: object) -> None:
    schedules.put("tiny", ScheduleRequest.model_validate(content))


def make_due(storage: Storage, late_s: float = 1.0) -> None:
    with storage.session() as session:
        row = session.get(ScheduleRow, "tiny")
        assert row is not None
        row.next_at = time.time() - late_s


def refreshes(jobs: JobStore) -> list[Job]:
    return [jobs.get(job.id) for job in jobs.recent(500) if job.kind == "refresh"]


def runs(outcome: str) -> float:
    return float(SCHEDULE_RUNS.labels(outcome)._value.get())


def publish_table(llm: Any, seed: int) -> str:
    llm.tables["current"] = llm.make_table(seed)
    return str(llm.tables["current"].version)


@pytest.mark.usefixtures("champion")
def test_when_its_time_has_come_a_refresh_is_submitted_once(
    scheduler: Scheduler, schedules: ScheduleStore, jobs: JobStore, storage: Storage
) -> None:
    put(schedules, every_hours=24, request={"mode": "re-enhance", "ssft": {"epochs": 2}})
    scheduler.look()
    assert refreshes(jobs) == []
    make_due(storage, late_s=100 * 24 * 3600)
    before = runs("submitted")
    for _ in range(3):
        scheduler.look()
    (job,) = refreshes(jobs)
    assert (job.lane, job.payload["model"], job.payload["by"]) == ("tiny", "tiny", "schedule")
    assert (job.payload["request"]["mode"], job.payload["request"]["ssft"]) == ("re-enhance", {"epochs": 2})
    schedule = schedules.get("tiny")
    assert (schedule.last_job, schedule.is_due, runs("submitted")) == (job.id, False, before + 1)


@pytest.mark.usefixtures("champion")
def test_a_time_that_comes_while_a_refresh_is_at_work_passes(
    scheduler: Scheduler, schedules: ScheduleStore, jobs: JobStore, storage: Storage
) -> None:
    put(schedules, every_hours=24)
    other = jobs.submit("refresh", {}, lane="tiny")
    make_due(storage)
    before = runs("skipped")
    scheduler.look()
    assert [job.id for job in refreshes(jobs)] == [other.id]
    assert (schedules.get("tiny").is_due, schedules.get("tiny").last_job, runs("skipped")) == (False, None, before + 1)
    jobs.succeed(other.id, {})
    make_due(storage)
    scheduler.look()
    assert len(refreshes(jobs)) == 2


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("occasion", ["time", "table"])
def test_many_workers_submit_one_job(
    schedules: ScheduleStore,
    registry: Registry,
    jobs: JobStore,
    storage: Storage,
    work_settings: CtrSettings,
    llm: Any,
    occasion: str,
) -> None:
    put(schedules, every_hours=24, on_new_table=True)
    if occasion == "time":
        make_due(storage)
    else:
        publish_table(llm, 7)
    begin = threading.Barrier(4)

    def work() -> None:
        scheduler = Scheduler(schedules, registry, jobs, work_settings)
        begin.wait()
        for _ in range(3):
            scheduler.look()
        scheduler.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (job,) = refreshes(jobs)
    assert schedules.get("tiny").last_job == job.id


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("occasion", ["time", "table"])
def test_killed_between_the_submission_and_its_note_the_next_look_finds_the_same_job(
    scheduler: Scheduler,
    schedules: ScheduleStore,
    jobs: JobStore,
    storage: Storage,
    llm: Any,
    monkeypatch: pytest.MonkeyPatch,
    occasion: str,
) -> None:
    def die(*_: object) -> bool:
        raise Killed

    put(schedules, every_hours=24, on_new_table=True)
    if occasion == "time":
        make_due(storage)
    else:
        publish_table(llm, 7)
    with monkeypatch.context() as broken:
        broken.setattr(schedules, "advance", die)
        broken.setattr(schedules, "tried", die)
        with pytest.raises(Killed):
            scheduler.look()
    (job,) = refreshes(jobs)
    jobs.fail(job.id, DataError("no row"))
    scheduler.look()
    assert [one.id for one in refreshes(jobs)] == [job.id]
    assert schedules.get("tiny").last_job == job.id


def test_a_new_table_is_tried_once_whatever_comes_of_it(
    scheduler: Scheduler, schedules: ScheduleStore, jobs: JobStore, llm: Any, champion: str
) -> None:
    put(schedules, on_new_table=True, request={"mode": "re-enhance", "ssft": {"epochs": 2}})
    for _ in range(3):
        scheduler.look()
    assert refreshes(jobs) == []
    assert llm.statuses == [200, 304, 304], "an unchanged table is not sent again"
    table = publish_table(llm, 7)
    scheduler.look()
    (job,) = refreshes(jobs)
    request = job.payload["request"]
    assert (request["table_version"], request["mode"], request["ssft"]) == (table, "re-enhance", {})
    assert schedules.get("tiny").tried_table == table
    jobs.succeed(job.id, {"promoted": False})
    for _ in range(3):
        scheduler.look()
    assert len(refreshes(jobs)) == 1
    publish_table(llm, 8)
    scheduler.look()
    assert len(refreshes(jobs)) == 2


def test_a_table_that_a_refresh_made_or_used_starts_no_other(
    scheduler: Scheduler,
    schedules: ScheduleStore,
    jobs: JobStore,
    registry: Registry,
    llm: Any,
    champion: str,
    bundles: Any,
    tiny: Any,
) -> None:
    put(schedules, on_new_table=True)
    refresh = jobs.submit("refresh", {}, lane="tiny")  # it publishes the table before it has a version
    table = publish_table(llm, 9)
    scheduler.look()
    assert len(refreshes(jobs)) == 1
    refused = tiny.lineage_of(enhancer="llactr", field_schema="tiny", table_version=table, parent=champion)
    registry.register("tiny", bundles["none"].version, refused, {})
    jobs.succeed(refresh.id, {"promoted": False})
    scheduler.look()
    assert len(refreshes(jobs)) == 1


@pytest.mark.usefixtures("champion")
def test_a_table_of_other_fields_is_left_alone(
    scheduler: Scheduler, schedules: ScheduleStore, jobs: JobStore, llm: Any, tiny: Any
) -> None:
    put(schedules, on_new_table=True)
    known = tiny.make_table(3)
    llm.tables["current"] = FieldTable((*known.fields[:-1], "added"), known.vectors, "random", "recipe", {})
    scheduler.look()
    assert refreshes(jobs) == []


@pytest.mark.usefixtures("champion")
def test_while_the_llm_service_is_away_that_is_logged_once_and_the_clock_goes_on(
    scheduler: Scheduler,
    schedules: ScheduleStore,
    jobs: JobStore,
    storage: Storage,
    llm: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(schedules, every_hours=24, on_new_table=True)
    llm.away = True
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            scheduler.look()
        said = [record for record in caplog.records if "not ready" in record.getMessage()]
    assert len(said) == 1
    make_due(storage)
    scheduler.look()
    (job,) = refreshes(jobs)
    jobs.succeed(job.id, {})
    llm.away = False
    table = publish_table(llm, 5)
    scheduler.look()
    assert refreshes(jobs)[0].payload["request"]["table_version"] == table


def test_without_a_champion_or_with_one_without_semantics_no_table_is_asked_for(
    scheduler: Scheduler, schedules: ScheduleStore, publish: Callable[..., str], llm: Any
) -> None:
    publish("none")
    put(schedules, on_new_table=True)
    scheduler.look()
    publish("none", alias="champion")
    scheduler.look()
    assert llm.calls == []


@pytest.mark.usefixtures("champion")
def test_its_thread_looks_until_it_is_closed(
    schedules: ScheduleStore, registry: Registry, jobs: JobStore, storage: Storage, work_settings: CtrSettings
) -> None:
    quick = work_settings.model_copy(update={"schedule_poll_s": 0.02})
    scheduler = Scheduler(schedules, registry, jobs, quick)
    scheduler.start()
    put(schedules, every_hours=24)
    make_due(storage)
    end = time.monotonic() + 10
    while not refreshes(jobs) and time.monotonic() < end:
        time.sleep(0.02)
    scheduler.close()
    assert len(refreshes(jobs)) == 1
    make_due(storage)
    time.sleep(0.1)
    assert len(refreshes(jobs)) == 1
