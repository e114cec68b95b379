"""Which form is answered in, and what each holds."""

import json

import numpy as np
import pyarrow as pa
import pytest
from starlette.exceptions import HTTPException

from services.ctr.formats.answers import Answer, RowDetail, accepted, encode
from services.ctr.formats.decoding import ARROW, JSON, NDJSON

DETAILS = [RowDetail(("age",), (), ("hat",), ("user_id=7",)), RowDetail((), ("job",), ())]
ANSWER = Answer("bank", "v1", "challenger", "id-1", np.array([0.25, 0.5]), DETAILS)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html, */*;q=0.8", JSON),
        (NDJSON, NDJSON),
        (f"{ARROW};q=1.0, {JSON};q=0.9", ARROW),
        (f"{ARROW};q=0.5, {NDJSON};q=0.8, */*;q=0.1", NDJSON),
        (f"*/*, {ARROW}", ARROW),
        (f"{NDJSON}, {JSON}", JSON),
        (f"{JSON};q=0, */*", NDJSON),
        ("APPLICATION/X-NDJSON", NDJSON),
        ("application/json; charset=utf-8", JSON),
    ],
)
def test_the_form_is_the_one_that_the_caller_likes_best(accept: str | None, media: str) -> None:
    assert accepted(accept) == media


@pytest.mark.parametrize("accept", ["text/csv", "application/json;q=0", "*/*;q=0", "text/*", f"{ARROW};q=nan", ",;"])
def test_what_cannot_be_answered_is_406(accept: str) -> None:
    with pytest.raises(HTTPException) as caught:
        accepted(accept)
    assert caught.value.status_code == 406
    assert NDJSON in caught.value.detail


def test_json_names_the_arm_only_where_there_is_one() -> None:
    content = json.loads(encode(ANSWER, JSON))
    assert content["scores"] == [0.25, 0.5]
    assert (content["model"], content["arm"]) == ({"name": "bank", "version": "v1"}, "challenger")
    assert content["details"][0] == {"missing": ["age"], "unseen": [], "extra": ["hat"], "absent": ["user_id=7"]}
    plain = json.loads(encode(Answer("bank", "v1", None, "id-1", np.empty(0)), JSON))
    assert plain == {"scores": [], "model": {"name": "bank", "version": "v1"}, "request_id": "id-1"}


def test_ndjson_has_a_line_for_each_row() -> None:
    lines = encode(ANSWER, NDJSON).decode().splitlines()
    assert [json.loads(line)["score"] for line in lines] == [0.25, 0.5]
    assert json.loads(lines[1]) == {"score": 0.5, "missing": [], "unseen": ["job"], "extra": [], "absent": []}
    assert encode(Answer("bank", "v1", None, "id-1", np.empty(0)), NDJSON) == b""


def test_arrow_keeps_every_digit_and_says_who_scored() -> None:
    scores = np.array([1 / 3, 1e-6])
    with pa.ipc.open_stream(encode(Answer("bank", "v1", None, "id-1", scores, DETAILS), ARROW)) as reader:
        table = reader.read_all()
    assert table["score"].to_pylist() == scores.tolist()
    assert table["absent"].to_pylist() == [["user_id=7"], []]
    assert table.schema.metadata == {b"model": b"bank", b"version": b"v1", b"request_id": b"id-1"}
