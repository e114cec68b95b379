import threading
import time
from collections import Counter

import pytest
from sqlalchemy import insert, update

from llactr_core.errors import ConflictError, NotFoundError, RateError, RowError
from llactr_core.progress import Progress
from services.shared.jobs.calls import call_of
from services.shared.jobs.job import Job, JobRow, State
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage


def test_a_job_is_public_without_its_payload(store: JobStore) -> None:
    job = store.submit("train", {"secret": 1})
    public = store.get(job.id).public()
    assert public["state"] == "queued"
    assert public["kind"] == "train"
    assert (public["progress"], public["result"], public["error"], public["eta_s"]) == (0.0, None, None, None)
    assert public["created_at"].endswith("+00:00")
    assert "secret" not in str(public)


def test_an_unknown_job_is_named(store: JobStore) -> None:
    with pytest.raises(NotFoundError, match="'nope'"):
        store.get("nope")
    with pytest.raises(NotFoundError):
        store.cancel("nope")


def test_an_active_key_holds_until_the_job_ends(store: JobStore) -> None:
    first = store.submit("train", {"a": 1}, active_key="k")
    assert store.submit("train", {"a": 1}, active_key="k").id == first.id
    claimed = store.claim("w", 10)
    assert claimed is not None
    assert store.submit("train", {"a": 1}, active_key="k").id == first.id
    store.succeed(first.id, {})
    assert store.submit("train", {"a": 1}, active_key="k").id != first.id


def test_submitting_from_many_threads_makes_one_job(storage: Storage) -> None:
    ids: list[str] = []
    call = call_of("key", "", "train", {})

    def submit() -> None:
        ids.append(JobStore(storage).submit("train", {"a": 1}, call, active_key="active").id)

    _together([submit] * 8)
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_claims_go_oldest_first_and_once(store: JobStore) -> None:
    jobs = [store.submit("train", {"n": n}) for n in range(3)]
    claimed = [store.claim("w", 10) for _ in range(4)]
    assert [job.id if job else None for job in claimed] == [*(job.id for job in jobs), None]
    assert store.get(jobs[0].id).state is State.RUNNING


def test_many_workers_never_claim_one_job_twice(storage: Storage) -> None:
    store = JobStore(storage)
    ids = {store.submit("train", {"n": n}).id for n in range(20)}
    seen: Counter[str] = Counter()

    def claim_all() -> None:
        while (job := store.claim("w", 60)) is not None:
            seen[job.id] += 1

    _together([claim_all] * 6)
    assert seen == Counter(ids)


def test_a_worker_only_claims_what_it_knows(store: JobStore) -> None:
    store.submit("other", {})
    assert store.claim("w", 10, ("train",)) is None
    assert store.claim("w", 10, ("train", "other")) is not None


def test_a_silent_workers_job_is_taken_over_and_its_late_words_do_not_count(store: JobStore) -> None:
    store.submit("train", {})
    first = store.claim("w", 60)
    assert first is not None
    assert store.claim("v", 10) is None
    assert store.renew(first.id, first.owner or "", -1)
    second = store.claim("v", 10)
    assert second is not None
    assert (second.id, second.attempts, second.stage) == (first.id, 2, "resuming")
    assert not store.report(first.id, Progress("late", 0.5), owner=first.owner)
    assert not store.renew(first.id, first.owner or "", 10)
    assert not store.succeed(first.id, {"late": True}, owner=first.owner)
    assert not store.release(first, "late")
    assert store.get(first.id).stage == "resuming"
    assert store.succeed(second.id, {"ok": True}, owner=second.owner)
    assert store.get(first.id).result == {"ok": True}


def test_renewing_keeps_a_job(store: JobStore) -> None:
    store.submit("train", {})
    job = store.claim("w", 60)
    assert job is not None
    assert store.renew(job.id, job.owner or "", 600)
    later(store, 300)
    assert store.claim("v", 10) is None
    later(store, 300)
    assert store.claim("v", 10) is not None


def test_a_job_that_takes_its_workers_down_is_given_up(storage: Storage) -> None:
    store = JobStore(storage, max_attempts=2)
    job = store.submit("train", {}, active_key="k")
    for _ in range(2):
        assert store.claim("w", -1) is not None
    assert store.claim("w", 10) is None
    ended = store.get(job.id)
    assert ended.state is State.FAILED
    assert ended.error is not None
    assert "2 attempts" in ended.error["detail"]


def test_attempts_that_get_further_do_not_count(storage: Storage) -> None:
    store = JobStore(storage, max_attempts=2)
    job = store.submit("train", {})
    for done in (0.1, 0.2, 0.3, 0.4, 0.4):
        claimed = store.claim("w", -1)
        assert claimed is not None
        store.report(job.id, Progress("load", 0.0), owner=claimed.owner)
        store.report(job.id, Progress("tune", done), owner=claimed.owner)
    last = store.claim("w", -1)
    assert last is not None
    assert last.attempts == 6
    assert store.release(last, "queued")
    assert store.claim("w", -1) is not None
    assert store.claim("w", -1) is None
    assert store.get(job.id).state is State.FAILED


def test_a_release_is_no_attempt_and_may_delay(store: JobStore) -> None:
    store.submit("train", {})
    job = store.claim("w", 10)
    assert job is not None
    assert store.release(job, "waiting: x", 60, waited=True)
    waiting = store.get(job.id)
    assert (waiting.state, waiting.stage, waiting.attempts, waiting.waits) == (State.QUEUED, "waiting: x", 0, 1)
    assert store.claim("w", 10) is None
    later(store, 61)
    assert store.claim("w", 10) is not None


def test_cancelling_a_waiting_job_is_immediate_a_running_one_is_asked(store: JobStore) -> None:
    waiting, running = store.submit("train", {"n": 1}), store.submit("train", {"n": 2})
    assert store.cancel(waiting.id).state is State.CANCELLED
    assert store.cancel(waiting.id).state is State.CANCELLED
    job = store.claim("w", 10)
    assert job is not None
    assert job.id == running.id
    assert store.cancel(running.id).public()["stage"] == "cancelling"
    assert store.holds(running.id, job.owner or "") == (True, True)
    assert store.cancelled(running.id, owner=job.owner)
    assert store.get(running.id).state is State.CANCELLED


def test_a_job_is_claimed_or_cancelled_never_both(storage: Storage) -> None:
    store = JobStore(storage)
    ids = [store.submit("train", {"n": n}).id for n in range(30)]
    claimed: list[str] = []

    def claim_all() -> None:
        while (job := store.claim("w", 600)) is not None:
            claimed.append(job.id)

    _together([claim_all, lambda: [store.cancel(job_id) for job_id in ids]])
    states = {job_id: store.get(job_id).state for job_id in ids}
    assert {states[job_id] for job_id in claimed} <= {State.RUNNING}
    assert {states[job_id] for job_id in set(ids) - set(claimed)} <= {State.CANCELLED}


def test_a_job_that_waits_again_is_cancelled_at_once(store: JobStore) -> None:
    waiting = store.submit("train", {})
    job = store.claim("w", 60)
    assert job is not None
    store.release(job, "waiting: x", 600, waited=True)
    assert store.cancel(waiting.id).state is State.CANCELLED


def test_a_cancelled_job_with_something_to_clean_up_is_given_to_a_worker(storage: Storage) -> None:
    store = JobStore(storage, cleaned=["train"])
    silent, waiting = (store.submit("train", {"n": n}, active_key=f"k{n}") for n in range(2))
    job, other = store.claim("w", 60), store.claim("w", 60)
    assert job is not None
    assert other is not None
    store.renew(job.id, job.owner or "", -1)
    store.release(other, "waiting: x", 600, waited=True)
    for one in (silent, waiting):
        assert store.cancel(one.id).public()["stage"] == "cancelling"
    assert store.submit("train", {"n": 1}, active_key="k1").id != waiting.id
    claims = [store.claim("v", 10, ("train",)) for _ in range(2)]
    assert {(one.id, one.cancel_requested) for one in claims if one} == {(silent.id, True), (waiting.id, True)}


def test_waits_are_no_attempts_and_lost_claims_are(store: JobStore) -> None:
    job_id = store.submit("train", {}).id
    for _ in range(3):
        job = store.claim("w", 60)
        assert job is not None
        assert store.release(job, "waiting: x", waited=True)
        assert not store.release(job, "waiting: x", waited=True)
    assert store.claim("w", -1) is not None
    job = store.claim("w", 60)
    assert job is not None
    assert store.release(job, "waiting: x", waited=True)
    found = store.get(job_id)
    assert (found.attempts, found.waits) == (1, 4)


def test_what_ended_stays_as_it_ended(store: JobStore) -> None:
    job = store.submit("train", {})
    assert store.fail(job.id, RowError("bad", row=3, field="f"))
    assert not store.succeed(job.id, {})
    assert store.get(job.id).error == {
        "type": "urn:llactr:error:invalid-row",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "bad",
        "code": "invalid-row",
        "row": 3,
        "field": "f",
    }
    with pytest.raises(ConflictError, match="failed already"):
        store.cancel(job.id)


def test_reports_are_clean_numbers(store: JobStore) -> None:
    job = store.submit("train", {})
    store.report(job.id, Progress("tune", 1.7, step=3, loss=float("nan"), eta_s=float("inf")))
    public = store.get(job.id).public()
    assert (public["stage"], public["progress"], public["step"]) == ("tune", 1.0, 3)
    assert public["loss"] is None
    assert public["eta_s"] is None


def test_listing_and_peeking_leave_payloads_alone(store: JobStore) -> None:
    job = store.submit("train", {"n": 1})
    assert (store.get(job.id).payload, store.peek(job.id).payload, store.recent(1)[0].payload) == ({"n": 1}, {}, {})
    assert store.peek(job.id).public() == store.get(job.id).public()
    claimed = store.claim("w", 10)
    assert claimed is not None
    assert claimed.payload == {"n": 1}


@pytest.mark.parametrize("text", ["nul \0 here", "half \ud800 here"])
def test_a_stage_is_cleaned_of_what_a_database_refuses(store: JobStore, text: str) -> None:
    job = store.submit("train", {})
    assert store.report(job.id, Progress(text, 0.5))
    assert store.get(job.id).stage.endswith(" here")


def test_lanes_take_turns(store: JobStore) -> None:
    for n in range(3):
        store.submit("train", {"n": n}, lane="crowded")
    store.submit("train", {"n": 3}, lane="quiet")
    store.submit("train", {"n": 4}, lane="quiet")
    store.submit("train", {"n": 5})
    claimed = []
    while (job := store.claim("w", 10)) is not None:
        claimed.append((job.lane, job.payload["n"]))
        store.succeed(job.id, {})
    assert claimed == [("crowded", 0), ("quiet", 3), ("", 5), ("crowded", 1), ("quiet", 4), ("crowded", 2)]


def test_jobs_of_one_lane_run_one_after_the_other(storage: Storage) -> None:
    store = JobStore(storage)
    for n in range(12):
        store.submit("train", {"n": n}, lane=f"lane {n % 3}")
    claimed: list[Job | None] = []
    _together([lambda: claimed.append(store.claim("w", 600))] * 8)
    running = [job for job in claimed if job]
    assert sorted((job.lane, job.payload["n"]) for job in running) == [("lane 0", 0), ("lane 1", 1), ("lane 2", 2)]
    store.succeed(running[0].id, {})
    following = store.claim("w", 600)
    assert following is not None
    assert following.lane == running[0].lane


def test_a_lane_whose_worker_went_silent_goes_on_with_its_oldest_job(store: JobStore) -> None:
    first, second = (store.submit("train", {"n": n}, lane="a") for n in range(2))
    claimed = store.claim("w", 60)
    assert claimed is not None
    assert store.claim("v", 60) is None
    later(store, 61)
    taken = store.claim("v", 60)
    assert taken is not None
    assert taken.id == first.id
    store.succeed(first.id, {})
    following = store.claim("v", 60)
    assert following is not None
    assert following.id == second.id


def test_the_last_start_of_a_lane_counts_although_its_job_ended(store: JobStore) -> None:
    ended = store.submit("train", {}, lane="a")
    assert store.claim("w", 10) is not None
    store.succeed(ended.id, {})
    store.submit("train", {"n": 1}, lane="a")
    store.submit("train", {"n": 2}, lane="b")
    first = store.claim("w", 10)
    assert first is not None
    assert first.lane == "b"


def test_a_job_keeps_the_trace_it_was_submitted_under(store: JobStore) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    store.submit("train", {}, traceparent=trace)
    claimed = store.claim("w", 10)
    assert claimed is not None
    assert claimed.traceparent == trace
    assert "trace" not in str(claimed.public())


def test_a_full_queue_refuses_what_it_does_not_know(storage: Storage) -> None:
    store = JobStore(storage, max_queued=2)
    call = call_of("key", "", "train", {"n": 1})
    first = store.submit("train", {"n": 1}, call, active_key="active")
    store.submit("train", {"n": 2})
    with pytest.raises(RateError, match="2 jobs wait already"):
        store.submit("train", {"n": 3})
    assert store.submit("train", {"n": 1}, call).id == first.id
    assert store.submit("train", {"n": 1}, active_key="active").id == first.id
    assert store.claim("w", 10) is not None
    assert store.submit("train", {"n": 3}).state is State.QUEUED


def test_claiming_from_a_long_queue_is_quick(storage: Storage) -> None:
    with storage.session() as session:
        session.execute(
            insert(JobRow),
            [
                {"id": f"{n:032}", "kind": "train", "lane": f"lane {n % 50}", "payload": {}}
                | {"created_at": float(n), "updated_at": float(n)}
                | ({"state": "succeeded", "started_at": float(n)} if n < 3000 else {})
                for n in range(4000)
            ],
        )
    store = JobStore(storage)
    begin = time.perf_counter()
    claimed = [store.claim("w", 60) for _ in range(20)]
    assert time.perf_counter() - begin < 4
    assert len({job.lane for job in claimed if job}) == 20


def test_recent_is_newest_first(store: JobStore) -> None:
    ids = [store.submit("train", {"n": n}).id for n in range(3)]
    assert [job.id for job in store.recent(2)] == ids[:0:-1]


def later(store: JobStore, seconds: float) -> None:
    """Let time pass for every lease and every delay."""
    times = {"lease_until": JobRow.lease_until - seconds, "not_before": JobRow.not_before - seconds}
    with store.storage.session() as session:
        session.execute(update(JobRow).values(times))


def _together(calls: list[object]) -> None:
    threads = [threading.Thread(target=call) for call in calls]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
