import json
from datetime import date

import numpy as np
import pytest
from llactr_client import ApiError
from llactr_client.call import Reply, encode, path
from llactr_client.calls.scoring import score
from llactr_client.calls.training import train
from llactr_client.errors import error_of


def test_json_says_missing_for_what_is_not_finite() -> None:
    content = {"rows": [{"a": float("nan"), "b": [1.0, float("inf")]}, {"a": np.float32("nan"), "b": np.int64(3)}]}
    assert json.loads(encode(content)) == {"rows": [{"a": None, "b": [1.0, None]}, {"a": None, "b": 3}]}


def test_json_of_dates_and_of_what_has_none() -> None:
    assert json.loads(encode({"day": date(2026, 1, 2)})) == {"day": "2026-01-02"}
    with pytest.raises(TypeError, match="object"):
        encode({"x": object()})


def test_path_parts_are_escaped() -> None:
    assert path("v1", "fields", "a/b c?") == "/v1/fields/a%2Fb%20c%3F"


def test_what_is_none_is_not_sent() -> None:
    call = train("m", "d", promote=False)
    assert json.loads(call.body or b"") == {"dataset": "d", "promote": False}


def test_score_takes_rows_or_columns() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        score()
    with pytest.raises(ValueError, match="exactly one"):
        score([], columns={})
    assert json.loads(score(columns={"a": (1, 2)}).first.body or b"") == {"columns": {"a": [1, 2]}}
    assert score([{}], model="m@champion", details=True).first.target == "/v1/score?model=m%40champion&details=true"


def test_every_job_gets_an_idempotency_key() -> None:
    keys = {train("m", "d").headers["Idempotency-Key"] for _ in range(3)}
    assert len(keys) == 3
    assert train("m", "d", idempotency_key="mine").headers["Idempotency-Key"] == "mine"


def test_error_of_a_problem() -> None:
    body = json.dumps({"status": 422, "code": "invalid-row", "detail": "nested", "row": 3, "field": "tags"}).encode()
    error = error_of(422, body)
    assert (error.status, error.code, error.detail, error.row, error.field) == (422, "invalid-row", "nested", 3, "tags")


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"[1]", b'{"title": 3}', b"\xff\xfe"])
def test_error_of_anything_else(body: bytes) -> None:
    error = error_of(502, body)
    assert error.status == 502
    assert error.code == "unexpected-answer"
    assert error.detail


def test_an_answer_that_is_no_object_is_an_error() -> None:
    for body in (b"", b"[]", b"hello"):
        with pytest.raises(ApiError, match="JSON object"):
            Reply(200, {}, body).object()
