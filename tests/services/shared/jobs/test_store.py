import threading
import time
from collections import Counter

import pytest
from sqlalchemy import insert, update

from llactr_core.errors import ConflictError, NotFoundError, OptionError, RateError, RowError
from llactr_core.progress import Progress
from services.shared.jobs.job import JobRow, State
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


def test_the_same_idempotency_key_gives_the_same_job_even_when_it_ended(store: JobStore) -> None:
    first = store.submit("train", {"a": 1, "b": 2}, "key")
    store.succeed(first.id, {"ok": True})
    again = store.submit("train", {"b": 2, "a": 1}, "key")
    assert (again.id, again.state) == (first.id, State.SUCCEEDED)
    assert store.submit("train", {"a": 1, "b": 2}, "other").id != first.id


@pytest.mark.parametrize(("kind", "payload"), [("train", {"a": 2}), ("refresh", {"a": 1})])
def test_the_same_key_for_another_call_conflicts(store: JobStore, kind: str, payload: dict[str, int]) -> None:
    store.submit("train", {"a": 1}, "key")
    with pytest.raises(ConflictError, match="new key"):
        store.submit(kind, payload, "key")


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_has_a_length(store: JobStore, key: str) -> None:
    with pytest.raises(OptionError, match="1 to 200"):
        store.submit("train", {}, key)


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

    def submit() -> None:
        ids.append(JobStore(storage).submit("train", {"a": 1}, "key", active_key="active").id)

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


def test_a_cancelled_job_whose_worker_is_gone_is_not_resumed(store: JobStore) -> None:
    store.submit("train", {})
    job = store.claim("w", 60)
    assert job is not None
    store.cancel(job.id)
    store.renew(job.id, job.owner or "", -1)
    assert store.claim("v", 10) is None
    assert store.get(job.id).state is State.CANCELLED


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


def test_lanes_take_turns(store: JobStore) -> None:
    for n in range(3):
        store.submit("train", {"n": n}, lane="crowded")
    store.submit("train", {"n": 3}, lane="quiet")
    store.submit("train", {"n": 4}, lane="quiet")
    store.submit("train", {"n": 5})
    claimed = [store.claim("w", 10) for _ in range(6)]
    assert [(job.lane, job.payload["n"]) for job in claimed if job] == [
        *(("crowded", 0), ("quiet", 3), ("", 5)),
        *(("crowded", 1), ("quiet", 4), ("crowded", 2)),
    ]


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
    first = store.submit("train", {"n": 1}, "key", active_key="active")
    store.submit("train", {"n": 2})
    with pytest.raises(RateError, match="2 jobs wait already"):
        store.submit("train", {"n": 3})
    assert store.submit("train", {"n": 1}, "key").id == first.id
    assert store.submit("train", {"n": 1}, active_key="active").id == first.id
    assert store.claim("w", 10) is not None
    assert store.submit("train", {"n": 3}).state is State.QUEUED


def test_claiming_from_a_long_queue_is_quick(storage: Storage) -> None:
    with storage.session() as session:
        session.execute(
            insert(JobRow),
            [
                {"id": f"{n:032}", "kind": "train", "lane": f"lane {n % 50}", "payload": {}, "payload_digest": ""}
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
