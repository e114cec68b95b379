"""POST /v1/score on a real bundle."""

import io
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from servers import wait_until

from services.ctr.formats.decoding import ARROW, NDJSON

ROWS: list[dict[str, Any]] = [
    {"job": "student", "age": 22, "tags": "a|b", "city": "c1"},
    {"job": "retired", "age": 70.5, "tags": ["c", "a"], "city": "c2"},
    {"job": "technician", "age": 41, "tags": "c", "city": "c3"},
    {"job": None, "age": None, "tags": None, "city": None},
    {"job": "astronaut", "age": "33", "tags": "zzz", "city": ""},
    {"job": "admin", "age": "no number", "tags": [], "city": 5, "colour": "red"},
    {},
]


def scores_of(answer: Any) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["scores"])


def post(service: Any, body: bytes, media: str | None, query: str = "") -> Any:
    headers = {"content-type": media} if media else {}
    return service.client.post(f"/v1/score{query}", content=body, headers=headers)


def test_every_form_gives_the_scores_of_the_core_library(scoring: Any) -> None:
    rows = [
        {"job": job, "age": age, "tags": tags, "city": city}
        for job in ("student", "admin", "new", None)
        for age in (20.0, 45.25, None)
        for tags in ("a|b", "c", "", None)
        for city in ("c1", "c99", None)
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    sink = io.BytesIO()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=50)
    expected = scoring.scorers["llactr"].score(rows)
    assert len(np.unique(expected.round(6))) > 20
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    for body, media in (
        (json.dumps({"rows": rows}).encode(), "application/json"),
        (json.dumps({"columns": columns}).encode(), None),
        (lines, NDJSON),
        (sink.getvalue(), ARROW),
    ):
        np.testing.assert_allclose(scores_of(post(scoring, body, media)), expected, rtol=0, atol=1e-6)
    one_by_one = [scores_of(scoring.client.post("/v1/score", json={"rows": [row]}))[0] for row in rows[:5]]
    np.testing.assert_allclose(one_by_one, expected[:5], rtol=0, atol=1e-6)


def test_missing_null_unknown_and_extra_are_scored_and_reported(scoring: Any) -> None:
    answer = scoring.client.post("/v1/score?details=true", json={"rows": ROWS}, headers={"X-Request-Id": "mine-1"})
    content = answer.json()
    np.testing.assert_allclose(scores_of(answer), scoring.scorers["llactr"].score(ROWS), rtol=0, atol=1e-6)
    assert content["request_id"] == "mine-1"
    assert content["model"] == {"name": "tiny", "version": scoring.scorers["llactr"].version}
    everything = ["job", "age", "tags", "city"]
    nothing = {"missing": [], "unseen": [], "extra": [], "absent": []}
    assert content["details"][0] == nothing
    assert content["details"][3] == content["details"][6] == nothing | {"missing": everything}
    assert content["details"][4]["missing"] == ["city"]
    assert {"job", "tags"} <= set(content["details"][4]["unseen"])
    assert content["details"][5]["extra"] == ["colour"]
    assert "details" not in scoring.client.post("/v1/score", json={"rows": ROWS}).json()
    assert content["scores"][3] == content["scores"][6]


def test_no_rows_give_no_scores(scoring: Any) -> None:
    for body in ({"rows": []}, {"columns": {}}, {"columns": {"job": []}}):
        answer = scoring.client.post("/v1/score", json=body)
        assert scores_of(answer).tolist() == []
        assert answer.json()["model"]["version"]
    assert scoring.client.post("/v1/score?details=true", json={"rows": []}).json()["details"] == []
    assert scores_of(post(scoring, b"", NDJSON)).tolist() == []


@pytest.mark.parametrize(
    ("body", "media", "status", "code", "row", "field"),
    [
        (b'{"rows": [{}, 3]}', None, 422, "invalid-row", 1, None),
        (b'{"rows": [{}, {"age": {"years": 3}}]}', None, 422, "invalid-row", 1, "age"),
        (b'{"rows": [{}, {}, {"job": ["a", "b"]}]}', None, 422, "invalid-row", 2, "job"),
        (b'{"rows": [{"age": [1, 2]}]}', None, 422, "invalid-row", 0, "age"),
        (b'{"rows": [{"tags": ["a", ["b"]]}]}', None, 422, "invalid-row", 0, "tags"),
        (b'{"columns": {"job": ["a"], "age": [1, 2]}}', None, 422, "invalid-row", 1, "age"),
        (b'{"rows": [}', None, 400, "malformed-body", None, None),
        (b"", None, 400, "malformed-body", None, None),
        (b'{"rowz": []}', None, 422, "invalid-input", None, None),
        (b"job,age\nstudent,3\n", "text/csv", 415, "unsupported-media-type", None, None),
        (b'{"rows": [' + b",".join([b"{}"] * 100_000) + b"]}", None, 413, "too-large", None, None),
        (b"{}\n" * 100_000, NDJSON, 413, "too-large", None, None),
    ],
)
def test_bad_requests_are_problems_that_name_row_and_field(
    scoring: Any, body: bytes, media: str | None, status: int, code: str, row: int | None, field: str | None
) -> None:
    answer = post(scoring, body, media or "application/json")
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), problem
    assert (problem.get("row"), problem.get("field")) == (row, field)
    if status == 413:
        assert "20,000" in problem["detail"]


def test_a_list_where_the_model_reads_no_list_is_422_in_arrow_too(scoring: Any) -> None:
    sink = io.BytesIO()
    table = pa.table({"job": [["a"], ["b"]], "age": [1.0, 2.0]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    answer = post(scoring, sink.getvalue(), ARROW)
    assert answer.status_code == 422
    assert answer.json()["field"] == "job"


def test_a_time_beyond_the_calendar_is_422(scoring: Any) -> None:
    sink = io.BytesIO()
    table = pa.table({"tags": pa.array([[2**62]], pa.list_(pa.timestamp("s")))})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    answer = post(scoring, sink.getvalue(), ARROW)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid-row", "tags")


def test_without_a_model_scoring_is_409_and_readyz_503_until_there_is_a_champion(
    service: Any, publish: Callable[..., str]
) -> None:
    answer = service.client.post("/v1/score", json={"rows": [{}]})
    assert (answer.status_code, answer.json()["code"]) == (409, "no-model")
    assert "make run" in answer.json()["detail"]
    ready = service.client.get("/readyz")
    assert (ready.status_code, ready.json()["code"]) == (503, "unavailable")
    assert service.client.get("/healthz").status_code == 200
    version = publish("none", alias="champion")
    deadline = threading.Event()
    for _ in range(100):
        if service.client.get("/readyz").status_code == 200:
            break
        deadline.wait(0.05)
    assert service.client.get("/readyz").json() == {"status": "ready", "models": [{"name": "tiny", "version": version}]}
    expected = service.scorers["none"].score(ROWS[:2])
    answer = service.client.post("/v1/score", json={"rows": ROWS[:2]})
    np.testing.assert_allclose(scores_of(answer), expected, rtol=0, atol=1e-6)


def test_a_request_may_name_the_model_a_version_or_an_alias(scoring: Any, publish: Callable[..., str]) -> None:
    version = publish("none")
    expected = {name: scorer.score(ROWS) for name, scorer in scoring.scorers.items()}
    for reference, name in (("tiny", "llactr"), (f"tiny:{version}", "none"), ("tiny@champion", "llactr")):
        answer = scoring.client.post("/v1/score", params={"model": reference}, json={"rows": ROWS})
        np.testing.assert_allclose(scores_of(answer), expected[name], rtol=0, atol=1e-6)
    for reference in ("nobody", "tiny:nothing", "tiny@nothing"):
        answer = scoring.client.post("/v1/score", params={"model": reference}, json={"rows": ROWS})
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_a_swap_under_load_never_mixes_versions(scoring: Any, publish: Callable[..., str]) -> None:
    versions = {name: scorer.version for name, scorer in scoring.scorers.items()}
    publish("none")
    rows = ROWS[:3] * 60  # beyond inline_rows: scored in a thread
    expected = {versions[name]: scorer.score(rows) for name, scorer in scoring.scorers.items()}
    stop = threading.Event()

    def ask(_: int) -> list[str]:
        seen = []
        while not stop.is_set():
            answer = scoring.client.post("/v1/score", json={"rows": rows})
            assert answer.status_code == 200, answer.text
            version = answer.json()["model"]["version"]
            np.testing.assert_allclose(scores_of(answer), expected[version], rtol=0, atol=1e-6)
            seen.append(version)
        return seen

    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(ask, number) for number in range(3)]
        for turn in range(20):
            wanted = versions["none" if turn % 2 == 0 else "llactr"]
            answer = scoring.client.put(
                "/v1/admin/models/tiny/aliases/champion", json={"version": wanted}, headers=scoring.admin
            )
            assert answer.json()["version"] == wanted
            now = scoring.client.post("/v1/score", json={"rows": rows}).json()["model"]["version"]
            assert now == wanted
            stop.wait(0.02)
        stop.set()
        seen = {version for future in asked for version in future.result(10)}
    assert seen == {versions["none"], versions["llactr"]}


def test_answers_come_in_the_form_that_accept_names(scoring: Any) -> None:
    expected = scoring.scorers["llactr"].score(ROWS)
    headers = {"Accept": NDJSON, "X-Request-Id": "mine-2"}
    answer = scoring.client.post("/v1/score?details=true", json={"rows": ROWS}, headers=headers)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    np.testing.assert_allclose([line["score"] for line in lines], expected, rtol=0, atol=1e-6)
    assert lines[5]["extra"] == ["colour"]
    assert answer.headers["content-type"].startswith(NDJSON)
    named = [answer.headers[name] for name in ("x-model", "x-model-version", "x-request-id")]
    assert named == ["tiny", scoring.scorers["llactr"].version, "mine-2"]
    answer = scoring.client.post("/v1/score", json={"rows": ROWS}, headers={"Accept": ARROW})
    with pa.ipc.open_stream(answer.content) as reader:
        table = reader.read_all()
    np.testing.assert_allclose(table["score"].to_numpy(), expected, rtol=0, atol=1e-6)
    assert table.schema.metadata[b"model"] == b"tiny"
    answer = scoring.client.post("/v1/score", json={"rows": ROWS}, headers={"Accept": "text/csv"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not-acceptable")


def test_raw_scores_are_those_before_calibration(scoring: Any) -> None:
    answer = scoring.client.post("/v1/score?raw=true", json={"rows": ROWS})
    expected = scoring.scorers["llactr"].score(ROWS, raw=True)
    np.testing.assert_allclose(scores_of(answer), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("query", "field"),
    [("details=perhaps", "query.details"), ("raw=2", "query.raw"), (f"model={'m' * 501}", "query.model")],
)
def test_a_query_that_cannot_be_read_is_422(scoring: Any, query: str, field: str) -> None:
    answer = scoring.client.post(f"/v1/score?{query}", json={"rows": []})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid-input", field)


def test_row_ids_are_no_extra_fields(scoring: Any) -> None:
    rows = [{"job": "student", "row_id": "a", "mine": 7}, {"row_id": 12}, {}]
    details = scoring.client.post("/v1/score?details=true", json={"rows": rows}).json()["details"]
    assert [row["extra"] for row in details] == [["mine"], [], []]
    details = scoring.client.post("/v1/score?details=true&row_id=mine", json={"rows": rows}).json()["details"]
    assert [row["extra"] for row in details] == [["row_id"], ["row_id"], []]
    for bad in (1.5, True, "x" * 201, ["a"]):
        answer = scoring.client.post("/v1/score", json={"rows": [{}, {"row_id": bad}]})
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["row"], problem["field"]) == (
            422,
            "invalid-row",
            1,
            "row_id",
        )


@pytest.mark.parametrize("given", ["0", "600001", "-5", "1.5", "soon", "", "9" * 50])
def test_a_deadline_that_cannot_be_read_is_422(scoring: Any, given: str) -> None:
    answer = scoring.client.post("/v1/score", json={"rows": [{}]}, headers={"X-Timeout-Ms": given})
    assert (answer.status_code, answer.json()["field"]) == (422, "X-Timeout-Ms")


def test_a_deadline_that_passes_is_504(scoring: Any) -> None:
    rows = ROWS[:3] * 6000
    answer = scoring.client.post("/v1/score", json={"rows": rows}, headers={"X-Timeout-Ms": "1"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline-exceeded")
    answer = scoring.client.post("/v1/score", json={"rows": ROWS}, headers={"X-Timeout-Ms": "60000"})
    assert answer.status_code == 200


def test_a_key_limited_to_another_model_does_not_score(scoring: Any) -> None:
    made = scoring.client.post(
        "/v1/admin/keys", json={"name": "guest", "role": "reader", "scopes": ["other"]}, headers=scoring.admin
    )
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    for reference in (None, "tiny", "tiny@champion", "tiny:nothing"):
        params = {} if reference is None else {"model": reference}
        answer = scoring.client.post("/v1/score", params=params, json={"rows": [{}]}, headers=headers)
        assert answer.status_code == 403, answer.text


def test_refusals_name_only_models_that_the_key_is_for(scoring: Any, publish: Callable[..., str]) -> None:
    made = scoring.client.post(
        "/v1/admin/keys", json={"name": "guest", "role": "reader", "scopes": ["mine", "absent"]}, headers=scoring.admin
    )
    headers = {"Authorization": f"Bearer {made.json()['key']}"}

    def refusal(query: str = "", path: str = "/v1/score") -> tuple[int, str]:
        answer = scoring.client.post(f"{path}{query}", json={"rows": [{}]}, headers=headers)
        assert "tiny" not in answer.text
        return answer.status_code, answer.json()["detail"]

    assert refusal()[0] == 403  # "tiny" is the only model, and the default
    assert refusal("?model=absent")[0] == 404
    assert refusal(path="/v2/models/absent/infer")[0] in (404, 422)
    absent = scoring.client.get("/v1/models/absent/versions", headers=headers)
    assert (absent.status_code, "tiny" in absent.text) == (404, False)
    publish("none", model="mine", alias="champion")

    def serves() -> bool:
        return "mine" in scoring.client.get("/readyz").text

    wait_until(serves, 10, "the other model to serve")
    status, detail = refusal()
    assert (status, "mine" in detail) == (422, True)


def arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_lists_of_booleans_are_values(scoring: Any) -> None:
    body = arrow(pa.table({"tags": pa.array([[True, None], [False]], pa.list_(pa.bool_()))}))
    rows = [{"tags": [True, None]}, {"tags": [False]}]
    expected = scoring.scorers["llactr"].score(rows)
    np.testing.assert_allclose(scores_of(post(scoring, body, ARROW)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["job", "tags"])
@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"a": 1}]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([[1, 2]], pa.list_(pa.int64(), 2)),
        pa.array([["a"]], pa.list_view(pa.string())),
        pa.array([[(1, 2, 3)]], pa.list_(pa.month_day_nano_interval())),
        pa.array(["1.5"]).cast(pa.decimal128(5, 2)).cast(pa.decimal32(5, 2)),
        pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array(["a"])]),
    ],
    ids=lambda column: str(column.type).partition("<")[0],
)
def test_a_column_of_a_type_that_no_value_has_is_422_and_named(scoring: Any, name: str, column: pa.Array) -> None:
    answer = post(scoring, arrow(pa.table({name: column})), ARROW)
    assert (answer.status_code, answer.json()["field"]) == (422, name)


def test_the_document_describes_every_form_with_examples(service: Any) -> None:
    operation = service.client.get("/openapi.json").json()["paths"]["/v1/score"]["post"]
    content = operation["requestBody"]["content"]
    assert set(content) == {"application/json", NDJSON, ARROW}
    assert set(content["application/json"]["examples"]) == {"rows", "columns"}
    asked = {"model", "details", "raw", "routing_key", "row_id", "X-Timeout-Ms"}
    assert {p["name"] for p in operation["parameters"]} == asked
    assert all(p["description"] for p in operation["parameters"])
    assert set(operation["responses"]["200"]["content"]) == {"application/json", NDJSON, ARROW}
    assert {"406", "503", "504"} <= set(operation["responses"])
