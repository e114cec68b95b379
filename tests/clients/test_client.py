import hashlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from llactr_client import (
    ApiError,
    AsyncClient,
    Client,
    ClientError,
    ConnectionFailed,
    Job,
    JobFailed,
    JobTimeout,
    Retry,
)

QUICK = Retry(attempts=3, first_s=0.01, most_s=0.2)
FIELDS = {"schema": "s", "version": "v1", "fields": ["a", "b"], "vectors": [[1, 0.5], [0, -1]], "model": "mini"}
UNAVAILABLE = {"detail": "starting", "code": "unavailable"}


def client_of(service: Any, **more: Any) -> Client:
    return Client(service.url, service.url, **{"key": "secret", "retry": QUICK, **more})


def test_scores(service: Any) -> None:
    service.answer(
        "/v1/score", {"scores": [0.25, 1], "model": {"name": "m", "version": "abc"}, "request_id": "r", "details": [{}]}
    )
    with client_of(service) as client:
        found = client.score([{"a": 1}, {}], model="m")
    assert (found.scores, found.model, found.version, found.request_id) == ((0.25, 1.0), "m", "abc", "r")
    (asked,) = service.asked
    assert (asked.method, asked.path, asked.query) == ("POST", "/v1/score", "model=m")
    assert asked.json() == {"rows": [{"a": 1}, {}]}
    assert asked.headers["authorization"] == "Bearer secret"


def test_without_a_key_none_is_sent(service: Any) -> None:
    service.answer("/v1/models", {"models": []})
    with client_of(service, key=None) as client:
        assert client.models() == ()
    assert "authorization" not in service.asked[0].headers


def test_a_trace_is_handed_on_but_not_by_polls(service: Any) -> None:
    service.answer("/v1/score", {"scores": [], "model": {"name": "m", "version": "abc"}, "request_id": "r"})
    service.answer("/v1/models", {"models": []})
    traces = iter(["00-trace-a-01", None])
    with client_of(service, trace=lambda: next(traces)) as client:
        client.score([])
        client.models()
        client.score([])
    assert [asked.headers.get("traceparent") for asked in service.asked] == ["00-trace-a-01", None, None]


def test_a_refusal_is_raised_with_all_its_parts(service: Any) -> None:
    problem = {"detail": "row 1 is a list", "code": "invalid-row", "row": 1, "field": "a"}
    service.answer("/v1/score", problem, 422, content_type="application/problem+json")
    with client_of(service) as client, pytest.raises(ApiError) as caught:
        client.score([[]])  # type: ignore[list-item]
    assert (caught.value.status, caught.value.code, caught.value.row, caught.value.field) == (
        422,
        "invalid-row",
        1,
        "a",
    )
    assert len(service.asked) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again(service: Any, status: int) -> None:
    service.answer("/v1/schemas", UNAVAILABLE, status)
    service.answer("/v1/schemas", {"schemas": [{"name": "s", "fingerprint": "f", "fields": [{"name": "a"}]}]})
    with client_of(service) as client:
        (found,) = client.schemas()
    assert (found.name, found.fields) == ("s", ({"name": "a"},))
    assert len(service.asked) == 2


def test_retries_come_to_an_end(service: Any) -> None:
    service.answer("/v1/schemas", UNAVAILABLE, 503)
    with client_of(service) as client, pytest.raises(ApiError, match="starting"):
        client.schemas()
    assert len(service.asked) == QUICK.attempts


def test_no_other_error_is_retried(service: Any) -> None:
    service.answer("/v1/schemas", {"detail": "oops", "code": "internal"}, 500)
    with client_of(service) as client, pytest.raises(ApiError, match="oops"):
        client.schemas()
    assert len(service.asked) == 1


def test_retry_after_is_obeyed_up_to_a_bound(service: Any) -> None:
    service.answer("/v1/schemas", UNAVAILABLE, 503, retry_after="1")
    service.answer("/v1/schemas", {"schemas": []})
    started = time.monotonic()
    with client_of(service, retry=Retry(attempts=2, first_s=0.001, most_s=0.3)) as client:
        client.schemas()
    assert 0.3 <= time.monotonic() - started < 3


def test_pauses_grow_and_are_bounded() -> None:
    retry = Retry(first_s=1.0, most_s=5.0)
    for failures, full in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (9, 5.0)):
        drawn = [retry.pause(failures) for _ in range(200)]
        assert all(0 <= pause <= full for pause in drawn)
        assert min(drawn) < full / 4 < 3 * full / 4 < max(drawn)
    assert all(3.0 <= retry.pause(1, "3") <= 4.0 for _ in range(20))
    assert retry.pause(1, "Wed, 21 Oct 2026 07:28:00 GMT") <= 1.0


def test_nobody_answers() -> None:
    started = time.monotonic()
    with Client("http://127.0.0.1:9", "http://127.0.0.1:9", retry=QUICK) as client:
        with pytest.raises(ConnectionFailed, match="CTR service does not answer GET /v1/models"):
            client.models()
        assert not client.health("llm").ok
        assert client.ready("ctr").status == 0
    assert time.monotonic() - started < 5


def test_an_answer_that_takes_too_long(service: Any) -> None:
    service.answer("/v1/models", {"models": []}, wait_s=0.5)
    with client_of(service, timeout_s=0.1) as client, pytest.raises(ConnectionFailed, match="timed out"):
        client.models()
    assert len(service.asked) == 1, "a call that may have arrived is not sent again"


def test_what_may_have_arrived_is_not_repeated_where_that_could_undo_it(broken_off: Any) -> None:
    """The service closes each connection in the middle of its answer."""
    calls: dict[str, Callable[[Client], object]] = {
        "GET": lambda client: client.models(),
        "POST": lambda client: client.score([{}]),
        "PUT": lambda client: client.set_field_alias("s", "current", "previous"),
        "DELETE": lambda client: client.delete_fields("s", "v1"),
    }
    with Client(broken_off.url, broken_off.url, retry=QUICK) as client:
        for call in calls.values():
            with pytest.raises(ConnectionFailed):
                call(client)
    assert {method: broken_off.methods.count(method) for method in calls} == {
        "GET": 3,
        "POST": 3,
        "PUT": 1,
        "DELETE": 1,
    }


@pytest.mark.parametrize("key", ["a\nb", "schl\u00fcssel", "a b", "a\x7f"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_key_that_no_service_gave_is_refused_unrepeated(kind: type[Client] | type[AsyncClient], key: str) -> None:
    with pytest.raises(ClientError, match="printable ASCII") as caught:
        kind(key=key)
    assert key not in str(caught.value)


def test_one_text_is_one_text(service: Any) -> None:
    service.answer("/v1/embeddings", {"data": [{"index": 0, "embedding": [1]}], "model": "m"})
    with client_of(service) as client:
        client.embeddings("abc")
    assert service.asked[0].json() == {"input": ["abc"]}


def test_unchanged_vectors_are_not_sent_again(service: Any) -> None:
    service.answer("/v1/fields/s", FIELDS, etag='"v1"')
    service.answer("/v1/fields/s", None, 304, etag='"v1"')
    service.answer("/v1/fields/s", {**FIELDS, "version": "v2"}, etag='"v2"')
    with client_of(service) as client:
        versions = [client.fields("s") for _ in range(3)]
    assert [found.version for found in versions] == ["v1", "v1", "v2"]
    assert versions[0] == versions[1]
    assert versions[0].vectors == ((1.0, 0.5), (0.0, -1.0))
    assert [asked.headers.get("if-none-match") for asked in service.asked] == [None, '"v1"', '"v1"']


def test_formats_are_cached_apart(service: Any) -> None:
    service.answer("/v1/fields/s/versions/current", FIELDS, etag='"v1"')
    service.answer("/v1/fields/s/versions/current", b"binary", etag='"v1"')
    with client_of(service) as client:
        client.fields("s", "current")
        assert client.fields_file("s", "current") == b"binary"
    assert "if-none-match" not in service.asked[1].headers


def test_refresh_answers_a_job_or_a_version(service: Any) -> None:
    service.answer("/v1/admin/fields/s/refresh", {"job": {"id": "j", "state": "queued"}}, 202)
    service.answer("/v1/admin/fields/s/refresh", {"version": "v1"}, 200)
    with client_of(service) as client:
        first = client.refresh_fields("s", samples={"a": ["x"]}, ssft={"epochs": 1}, idempotency_key="k")
        second = client.refresh_fields("s", dataset="d")
    assert first.job is not None
    assert (first.job.id, first.job.service, first.version) == ("j", "llm", None)
    assert (second.job, second.version) == (None, "v1")
    assert service.asked[0].json() == {"samples": {"a": ["x"]}, "ssft": {"epochs": 1}}
    assert service.asked[0].headers["idempotency-key"] == "k"


def test_the_rest_of_the_calls_parse_their_answers(service: Any) -> None:
    schema = {"name": "s", "fingerprint": "f", "fields": []}
    service.answer("/v1/schemas", schema, 201)
    service.answer("/v1/schemas", {**schema, "extension": {"id": "x", "state": "queued"}})
    service.answer("/v1/schemas/s", {"name": "s", "fingerprint": "f", "fields": []})
    service.answer("/v1/fields/s/versions", {"versions": [{"version": "v1", "aliases": ["current"], "model": "m"}]})
    service.answer("/v1/fields/s/similarity", {"fields": ["a"], "similarity": [[1]], "version": "v1"})
    service.answer("/v1/fields/s/aliases/current", {"alias": "current", "version": "v1", "previous": "v0"})
    service.answer(
        "/v1/embeddings", {"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}], "model": "m"}
    )
    service.answer("/v1/models", {"models": [{"name": "m", "aliases": {"champion": "x"}, "versions": ["x", "y"]}]})
    service.answer(
        "/v1/models/m/versions",
        {
            "versions": [
                {"version": "x", "created_at": "now", "lineage": {"a": 1}, "metrics": {}, "aliases": ["champion"]}
            ]
        },
    )
    service.answer("/v1/admin/models/m/aliases/champion", {"alias": "champion", "version": "x", "previous": None})
    service.answer("/v1/admin/models/m/train", {"job": {"id": "t", "state": "queued"}}, 202)
    service.answer("/v1/admin/refresh", {"job": {"id": "r", "state": "queued"}}, 202)
    service.answer("/v1/jobs", {"jobs": [{"id": "t", "state": "running", "progress": 0.5, "loss": 0.1, "step": 3}]})
    service.answer("/v1/jobs/t", {"id": "t", "state": "cancelled"})
    service.answer("/healthz", {"status": "ok"})
    service.answer("/readyz", {"detail": "no champion", "code": "no-model"}, 503)
    with client_of(service) as client:
        assert client.register_schema("s", [{"name": "a"}]).created
        assert client.register_schema("s", []).extension == Job("llm", "x", "queued")
        assert client.schema("s").extension is None
        assert client.field_versions("s")[0].aliases == ("current",)
        assert client.similarity("s").cosines == ((1.0,),)
        assert client.set_field_alias("s", "current", "v1").previous == "v0"
        assert client.embeddings(["x", "y"]).vectors == ((1.0,), (2.0,))
        assert client.models()[0].aliases == {"champion": "x"}
        assert client.model_versions("m")[0].lineage == {"a": 1}
        assert client.promote("m", "x", force=True).previous is None
        assert client.train("m", "d", label="y").id == "t"
        assert client.refresh("m").id == "r"
        (job,) = client.jobs()
        assert (job.progress, job.loss, job.step, job.ended) == (0.5, 0.1, 3, False)
        assert client.cancel_job("t").ended
        assert client.health("ctr").ok
        ready = client.ready("ctr")
    assert (ready.ok, ready.status, ready.detail) == (False, 503, "no champion")
    assert service.asked[9].json() == {"version": "x", "force": True}
    assert [a.path for a in service.asked].count("/readyz") == 1


def test_waiting_for_a_job_over_an_outage(service: Any) -> None:
    service.answer("/v1/jobs/j", {"id": "j", "state": "running", "progress": 0.1})
    for _ in range(QUICK.attempts + 1):
        service.answer("/v1/jobs/j", UNAVAILABLE, 503)
    service.answer("/v1/jobs/j", {"id": "j", "state": "succeeded", "progress": 1, "result": {"version": "v"}})
    seen: list[float] = []
    with client_of(service) as client:
        done = client.wait_for_job(client.job("j"), lambda job: seen.append(job.progress))
    assert done.result == {"version": "v"}
    assert seen[-1] == 1.0


def test_a_job_that_fails_or_takes_too_long(service: Any) -> None:
    service.answer(
        "/v1/jobs/bad", {"id": "bad", "state": "failed", "error": {"code": "invalid-data", "detail": "empty"}}
    )
    service.answer("/v1/jobs/slow", {"id": "slow", "state": "running", "stage": "training"})
    with client_of(service) as client:
        with pytest.raises(JobFailed, match="empty") as caught:
            client.wait_for_job(client.job("bad"))
        assert (caught.value.code, caught.value.state) == ("invalid-data", "failed")
        with pytest.raises(JobTimeout, match="training"):
            client.wait_for_job(client.job("slow"), timeout=0.2)


def test_an_unknown_job_is_not_waited_for(service: Any) -> None:
    service.answer("/v1/jobs/j", {"id": "j", "state": "queued"})
    service.answer("/v1/jobs/j", {"detail": "no such job", "code": "not-found"}, 404)
    with client_of(service) as client, pytest.raises(ApiError, match="no such job"):
        client.wait_for_job(client.job("j"))


def test_events(service: Any) -> None:
    events = (
        b'event: progress\ndata: {"id": "j", "state": "running", "progress": 0.5}\n\n: still here\n\n'
        b'event: progress\ndata: {"id": "j", "state": "running", "progress": 0.7}\n\n'
    )
    ended = b'event: progress\ndata: {"id": "j", "state": "succeeded", "progress": 1}\n\n'
    for stream in (events, b"", ended):  # a process that drains ends its streams early
        service.answer("/v1/jobs/j/events", stream, content_type="text/event-stream")
    with client_of(service) as client:
        assert [job.progress for job in client.job_events("j")] == [0.5, 0.7, 1.0]
        with pytest.raises(ApiError, match="nothing is scripted"):
            next(client.job_events("other"))


def test_an_answer_of_something_else_is_no_crash(service: Any) -> None:
    service.answer("/v1/score", {"scores": ["high"]})
    service.answer("/v1/models", b"<html>hello</html>", content_type="text/html")
    service.answer("/v1/jobs/j", {"hello": "world"})
    with client_of(service) as client:
        for call in (lambda: client.score([{}]), client.models, lambda: client.job("j")):
            with pytest.raises(ApiError) as caught:
                call()
            assert caught.value.code == "unexpected-answer"


def test_a_key_is_made_here_and_only_its_digest_is_sent(service: Any) -> None:
    entry = {
        "id": "k1",
        "name": "ci",
        "role": "trainer",
        "scopes": ["movies"],
        "created_at": "2026",
        "revoked_at": None,
    }
    service.answer("/v1/admin/keys", UNAVAILABLE, 503)
    service.answer("/v1/admin/keys", {**entry, "key": None}, 201)
    service.answer("/v1/admin/keys/k1", {**entry, "revoked_at": "2027"})
    with client_of(service) as client:
        made = client.create_key("ci", "trainer", service="llm", scopes=["movies"])
        again = client.create_key("ci", "trainer", service="ctr", key=made.key)
        revoked = client.revoke_key("k1", "llm")
    assert made.key is not None
    assert again.key == made.key
    assert made.key not in repr(made)
    assert (made.id, made.role, made.scopes, revoked.revoked_at) == ("k1", "trainer", ("movies",), "2027")
    lost, first, second, _ = service.asked
    assert lost.body == first.body
    assert first.json()["digest"] == second.json()["digest"] == hashlib.sha256(made.key.encode()).hexdigest()
    assert not any(made.key.encode() in asked.body for asked in service.asked)
