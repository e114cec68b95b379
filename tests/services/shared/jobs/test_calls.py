"""Calls that are repeated under an Idempotency-Key."""

import threading

import pytest

from llactr_core.errors import ConflictError, OptionError
from services.shared.jobs.calls import call_of
from services.shared.jobs.job import State
from services.shared.jobs.store import JobStore


def test_the_same_call_gives_the_same_job_even_when_it_ended(store: JobStore) -> None:
    first = store.submit("train", {"first": True}, call_of("key", "a", "train", {"x": 1, "y": 2}))
    store.succeed(first.id, {"ok": True})
    again = store.submit("train", {"changed": "since"}, call_of("key", "a", "train", {"y": 2, "x": 1}))
    assert (again.id, again.state) == (first.id, State.SUCCEEDED)
    assert store.submit("train", {}, call_of("other", "a", "train", {"x": 1, "y": 2})).id != first.id


@pytest.mark.parametrize(("kind", "asked"), [("train", {"x": 2}), ("refresh", {"x": 1})])
def test_the_same_key_for_another_call_conflicts(store: JobStore, kind: str, asked: dict[str, int]) -> None:
    store.submit("train", {}, call_of("key", "a", "train", {"x": 1}))
    other = call_of("key", "a", kind, asked)
    for ask in (store.known, store.answer, lambda call: store.submit(kind, {}, call)):
        with pytest.raises(ConflictError, match="new key"):
            ask(other)


def test_keys_of_two_lanes_have_nothing_to_do_with_each_other(store: JobStore) -> None:
    first = store.submit("train", {}, call_of("key", "a", "train", {}), lane="a")
    assert store.submit("train", {}, call_of("key", "b", "train", {"x": 1}), lane="b").id != first.id


def test_a_call_that_joined_a_running_job_stays_with_it(store: JobStore) -> None:
    first = store.submit("train", {}, call_of("one", "a", "train", {}), active_key="work")
    joined = call_of("two", "a", "train", {})
    assert store.submit("train", {}, joined, active_key="work").id == first.id
    store.succeed(first.id, {})
    assert store.submit("train", {}, joined, active_key="work").id == first.id
    with pytest.raises(ConflictError):
        store.known(call_of("two", "a", "train", {"x": 1}))


def test_an_answer_without_a_job_is_given_again(store: JobStore) -> None:
    call = call_of("key", "a", "refresh", {"x": 1})
    assert store.answer(call) is None
    for version in ("first", "second"):
        store.keep_answer(call, {"version": version})
    assert store.answer(call) == {"version": "first"}
    assert store.known(call) is None
    store.keep_answer(None, {"version": "without a key"})


def test_equal_calls_at_once_make_one_job(store: JobStore) -> None:
    ids: list[str] = []
    call = call_of("key", "a", "train", {})
    threads = [threading.Thread(target=lambda: ids.append(store.submit("train", {}, call).id)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6
    assert len(set(ids)) == 1


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_has_a_length(key: str) -> None:
    with pytest.raises(OptionError, match="1 to 200"):
        call_of(key, "a", "train", {})
