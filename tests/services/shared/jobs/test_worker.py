import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers import Postgres

from llactr_core.errors import ConflictError, JobCancelled, UnavailableError
from llactr_core.progress import Progress
from services.shared.accelerators.turn import turn
from services.shared.jobs import context as contexts
from services.shared.jobs import worker
from services.shared.jobs.context import Handler, JobContext
from services.shared.jobs.job import Job
from services.shared.jobs.store import JobStore
from services.shared.jobs.worker import run_worker
from services.shared.settings import ServiceSettings
from services.shared.storage.storage import Storage, migrate
from services.shared.telemetry.worker_server import Pulse


@contextmanager
def working(store: JobStore, settings: ServiceSettings, handlers: Mapping[str, Handler]) -> Iterator[threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=run_worker, args=(store, handlers, settings, stop))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def migrated(url: str) -> JobStore:
    storage = Storage(url)
    migrate(storage, "services.llm")
    return JobStore(storage)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.01)


def ended(store: JobStore, job: Job) -> Job:
    until(lambda: store.get(job.id).is_final)
    return store.get(job.id)


def forever(context: JobContext) -> dict[str, Any]:
    (context.directory / "seen").write_text("here")
    while True:
        context.report(Progress("turning", 0.5))
        context.sleep(0.01)


def test_a_job_runs_to_its_result_and_its_folder_goes(store: JobStore, settings: ServiceSettings) -> None:
    def double(context: JobContext) -> dict[str, Any]:
        context.report(Progress("doubling", 0.5, step=7))
        assert store.get(context.job.id).stage == "doubling"
        (context.directory / "file").write_text("x")
        return {"n": 2 * context.payload["n"]}

    job = store.submit("double", {"n": 21})
    with working(store, settings, {"double": double}):
        done = ended(store, job)
        until(lambda: not (settings.state / "jobs" / job.id).exists())
    assert done.result == {"n": 42}
    assert (done.state, done.progress, done.attempts) == ("succeeded", 1.0, 1)


@pytest.mark.parametrize(
    ("error", "code", "detail"),
    [(ConflictError("two at once"), "conflict", "two at once"), (KeyError("secret"), "internal", "an internal error")],
)
def test_an_error_ends_a_job_as_its_problem(
    store: JobStore, settings: ServiceSettings, error: Exception, code: str, detail: str
) -> None:
    def fail(_: JobContext) -> dict[str, Any]:
        raise error

    job = store.submit("fail", {})
    with working(store, settings, {"fail": fail}):
        done = ended(store, job)
    assert done.state == "failed"
    assert done.error is not None
    assert done.error["code"] == code
    assert done.error["detail"].startswith(detail)
    assert "secret" not in str(done.error)


@pytest.mark.parametrize("result", [{"x": float("nan")}, {"x": {1, 2}}, {"x": b"bytes"}, ["no", "object"]])
def test_a_result_that_cannot_be_kept_fails_the_job_and_not_the_worker(
    store: JobStore, settings: ServiceSettings, result: Any
) -> None:
    job, following = (store.submit("keep", {"result": n}) for n in range(2))
    results = iter([result, {"fine": 1}])
    with working(store, settings, {"keep": lambda _: next(results)}):
        assert ended(store, job).state == "failed"
        assert ended(store, following).result == {"fine": 1}


def test_a_job_waits_for_its_turn_on_an_accelerator_says_so_and_may_be_cancelled(
    store: JobStore, settings: ServiceSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contexts, "accelerators", lambda device: [f"GPU for {device}"])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def align(context: JobContext) -> dict[str, Any]:
        context.report(Progress("reading", 0.25))
        with context.turn("auto"):
            return {"aligned": True}

    def waits(job: Job) -> bool:
        return store.get(job.id).stage == "waiting: another job has the accelerator"

    first, second = (store.submit("align", {}) for _ in range(2))
    with working(store, settings, {"align": align}):
        with turn(["GPU for auto"], lambda _: pytest.fail("nobody else has it")):
            until(lambda: waits(first))
            assert store.get(first.id).progress == 0.25
            store.cancel(first.id)
            assert ended(store, first).state == "cancelled"
            until(lambda: waits(second))
        assert ended(store, second).result == {"aligned": True}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PAUSES_S", (0.05, 0.05, 0.05))


def test_a_disk_that_is_full_for_a_moment_is_waited_for(
    store: JobStore, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PAUSES_S", (0.5, 0.5, 0.5))
    targets = iter([Path("/dev/full"), Path("/dev/null")])

    def write(context: JobContext) -> dict[str, Any]:
        context.report(Progress("writing", 0.25))
        next(targets).write_bytes(b"a checkpoint")
        return {}

    job = store.submit("write", {})
    with working(store, settings, {"write": write}):
        until(lambda: "is full" in store.get(job.id).stage)
        assert store.get(job.id).progress == 0.25
        assert ended(store, job).state == "succeeded"
    assert (store.get(job.id).attempts, store.get(job.id).waits) == (1, 0)


@pytest.mark.usefixtures("impatient")
def test_a_disk_that_stays_full_fails_the_job_which_leaves_nothing_and_the_worker_lives(
    store: JobStore, settings: ServiceSettings
) -> None:
    calls: list[int] = []

    def write(context: JobContext) -> dict[str, Any]:
        calls.append(1)
        (context.directory / "part").write_bytes(b"0" * 1000)
        Path("/dev/full").write_bytes(b"a checkpoint")
        return {}

    job, following = store.submit("write", {}), store.submit("fine", {})
    folder = settings.state / "jobs" / job.id
    with working(store, settings, {"write": write, "fine": lambda _: {"done": True}}):
        done = ended(store, job)
        assert ended(store, following).result == {"done": True}
    assert len(calls) == 1 + len(worker.PAUSES_S)
    assert (done.state, done.attempts, folder.exists()) == ("failed", 1, False)
    assert done.error is not None
    assert (done.error["code"], done.error["status"]) == ("storage-full", 507)
    assert str(folder) in done.error["detail"]
    assert "free some space" in done.error["detail"]


def test_waiting_for_space_ends_with_the_jobs_cancellation(store: JobStore, settings: ServiceSettings) -> None:
    def write(_: JobContext) -> dict[str, Any]:
        Path("/dev/full").write_bytes(b"a checkpoint")
        return {}

    job = store.submit("write", {})
    with working(store, settings, {"write": write}):
        until(lambda: "is full" in store.get(job.id).stage)
        store.cancel(job.id)
        assert ended(store, job).state == "cancelled"


def test_a_folder_that_cannot_be_made_fails_the_job_and_not_the_worker(
    store: JobStore, settings: ServiceSettings
) -> None:
    settings.state.mkdir(parents=True)
    (settings.state / "jobs").write_text("no folder")
    jobs = [store.submit("double", {"n": n}) for n in range(2)]
    with working(store, settings, {"double": lambda _: {}}):
        assert {ended(store, job).state for job in jobs} == {"failed"}


def test_what_is_unavailable_is_tried_again_without_counting_attempts(
    store: JobStore, settings: ServiceSettings
) -> None:
    calls: list[int] = []

    def flaky(context: JobContext) -> dict[str, Any]:
        calls.append(context.job.attempts)
        if len(calls) == 1:
            raise UnavailableError("the other service sleeps")
        return {}

    job = store.submit("flaky", {})
    with working(store, settings, {"flaky": flaky}):
        until(lambda: store.get(job.id).stage == "waiting: the other service sleeps")
        assert ended(store, job).state == "succeeded"
    assert calls == [1, 1]


def test_cancelling_ends_the_handler(store: JobStore, settings: ServiceSettings) -> None:
    job = store.submit("forever", {})
    with working(store, settings, {"forever": forever}):
        until(lambda: store.get(job.id).stage == "turning")
        store.cancel(job.id)
        assert ended(store, job).state == "cancelled"


def test_what_a_waiting_job_has_started_elsewhere_is_ended_when_it_is_cancelled(
    store: JobStore, settings: ServiceSettings
) -> None:
    calls: list[str] = []

    def need(_: JobContext) -> dict[str, Any]:
        calls.append("started")
        raise UnavailableError("the other service sleeps")

    def end(context: JobContext) -> None:
        calls.append("ended" if context.directory.exists() else "no folder")
        if len(calls) == 2:
            raise UnavailableError("the other service sleeps")

    store.cleaned = frozenset({"need"})
    job = store.submit("need", {})
    with working(store, settings, {"need": need}):
        until(lambda: store.get(job.id).waits > 0)
    assert store.cancel(job.id).state == "queued"
    stop = threading.Event()
    thread = threading.Thread(target=run_worker, args=(store, {"need": need}, settings, stop, {"need": end}))
    thread.start()
    assert ended(store, job).state == "cancelled"
    stop.set()
    thread.join(10)
    assert calls == ["started", "ended", "ended"]


def test_a_job_waits_ever_longer_but_not_for_ever(
    store: JobStore, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "FIRST_WAIT_S", 0.01)
    brief = settings.model_copy(update={"max_wait_hours": 0.05 / 3600})
    job = store.submit("need", {})

    def need(_: JobContext) -> dict[str, Any]:
        raise UnavailableError("the other service sleeps")

    with working(store, brief, {"need": need}):
        done = ended(store, job)
    assert (done.state, done.waits) == ("failed", 3)
    assert done.error is not None
    assert done.error["code"] == "unavailable"


def test_the_pulse_beats_while_a_job_runs(store: JobStore, settings: ServiceSettings) -> None:
    pulse, stop = Pulse(), threading.Event()
    job = store.submit("forever", {})
    thread = threading.Thread(target=run_worker, args=(store, {"forever": forever}, settings, stop, {}, pulse))
    thread.start()
    until(lambda: store.get(job.id).stage == "turning")
    time.sleep(0.5)
    silent_s = pulse.silent_s()
    stop.set()
    thread.join(10)
    assert silent_s < 0.4


def test_a_stopped_worker_gives_its_job_back_at_once(store: JobStore, settings: ServiceSettings) -> None:
    slow = settings.model_copy(update={"lease_s": 600.0})
    job = store.submit("forever", {})
    with working(store, slow, {"forever": forever}):
        until(lambda: store.get(job.id).stage == "turning")
    waiting = store.get(job.id)
    assert (waiting.state, waiting.attempts) == ("queued", 0)

    def finish(context: JobContext) -> dict[str, Any]:
        return {"seen": (context.directory / "seen").read_text()}

    with working(store, slow, {"forever": finish}):
        assert ended(store, job).result == {"seen": "here"}


def test_a_long_job_keeps_its_lease(store: JobStore, settings: ServiceSettings) -> None:
    short = settings.model_copy(update={"lease_s": 0.8})

    def slow(_: JobContext) -> dict[str, Any]:
        time.sleep(1.7)
        return {}

    job = store.submit("slow", {})
    with working(store, short, {"slow": slow}), working(store, short, {"slow": slow}):
        done = ended(store, job)
    assert (done.state, done.attempts) == ("succeeded", 1)


def test_a_handler_that_lost_its_lease_is_told(store: JobStore, settings: ServiceSettings) -> None:
    said: list[str] = []

    def lose(context: JobContext) -> dict[str, Any]:
        store.release(context.job, "taken away", 60.0)
        try:
            while True:
                context.sleep(0.01)
        except JobCancelled as error:
            said.append(error.detail)
            raise

    job = store.submit("lose", {})
    with working(store, settings, {"lose": lose}):
        until(lambda: bool(said))
    assert "lost" in said[0]
    assert store.get(job.id).stage == "taken away"


def test_jobs_outlive_a_database_that_is_away(postgres: Postgres, settings: ServiceSettings) -> None:
    """One works on while its lease runs out, one ends in the meantime, one needs the database itself."""
    stores = [migrated(postgres.new_database()) for _ in range(2)]
    alone, shared = stores
    away, back = threading.Event(), threading.Event()
    steps: list[float] = []

    def steady(context: JobContext) -> dict[str, Any]:
        while not back.is_set():
            steps.append(time.monotonic())
            context.report(Progress("turning", 0.5))
            context.sleep(0.02)
        return {}

    def ends(context: JobContext) -> dict[str, Any]:
        away.wait(30)
        return {"ended": "while the database was away"}

    def asks(context: JobContext) -> dict[str, Any]:
        away.wait(30)
        return {"asked": shared.peek(context.job.id).kind}

    patient = settings.model_copy(update={"lease_s": 60.0})
    handlers = {"ends": ends, "asks": asks}
    jobs = [(alone, alone.submit("steady", {})), *((shared, shared.submit(kind, {})) for kind in handlers)]
    with (
        working(alone, settings, {"steady": steady}),
        working(shared, patient, handlers),
        working(shared, patient, handlers),
    ):
        until(lambda: all(store.get(job.id).state == "running" for store, job in jobs) and bool(steps))
        postgres.kill()
        lease_over = time.monotonic() + settings.lease_s
        away.set()
        time.sleep(settings.lease_s + 2)
        in_doubt = [step for step in steps if step > lease_over + 0.5]
        postgres.start()
        back.set()
        steady_job, ended_job, asked_job = [ended(store, job) for store, job in jobs]
    for store in stores:
        store.storage.close()
    assert (steady_job.state, steady_job.attempts) == ("succeeded", 1)
    assert in_doubt == []
    assert (ended_job.attempts, ended_job.result) == (1, {"ended": "while the database was away"})
    assert (asked_job.attempts, asked_job.result) == (1, {"asked": "asks"})
    assert asked_job.waits >= 1


def test_two_workers_share_the_jobs(store: JobStore, settings: ServiceSettings) -> None:
    patient = settings.model_copy(update={"lease_s": 60.0})  # a lease that ran out would mean a second attempt
    done: list[int] = []

    def note(context: JobContext) -> dict[str, Any]:
        done.append(context.payload["n"])
        return {}

    jobs = [store.submit("note", {"n": n}) for n in range(12)]
    with working(store, patient, {"note": note}), working(store, patient, {"note": note}):
        for job in jobs:
            assert ended(store, job).state == "succeeded"
    assert sorted(done) == list(range(12))


def test_reports_are_rare_but_stages_are_not_lost(store: JobStore, settings: ServiceSettings) -> None:
    written: list[str] = []

    class Counting(JobStore):
        def report(self, job_id: str, progress: Progress, *, owner: str | None = None) -> bool:
            written.append(progress.stage)
            return super().report(job_id, progress, owner=owner)

    def chatty(context: JobContext) -> dict[str, Any]:
        for stage in ("one", "two"):
            for step in range(500):
                context.report(Progress(stage, step / 500))
        return {}

    counting = Counting(store.storage)
    job = counting.submit("chatty", {})
    with working(counting, settings, {"chatty": chatty}):
        ended(store, job)
    assert set(written) == {"one", "two"}
    assert len(written) < 20
