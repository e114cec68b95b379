"""POST /v1/embeddings in OpenAI's shape."""

import base64
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TEXTS = ["gender of the user", "x", "genres of the movie"]


def embed(house: Any, **body: Any) -> Any:
    return house.anyone.post("/v1/embeddings", json=body, timeout=60)


def vectors(house: Any, **body: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    answer = embed(house, **body)
    assert answer.status_code == 200, answer.text
    return np.array([one["embedding"] for one in answer.json()["data"]], dtype=np.float32)


def test_the_shape_is_openais(house: Any) -> None:
    content = embed(house, input=TEXTS, user="me").json()
    assert content.keys() == {"object", "data", "model", "usage"}
    assert (content["object"], content["model"]) == ("list", "tiny")
    assert [(one["object"], one["index"], len(one["embedding"])) for one in content["data"]] == [
        ("embedding", index, 32) for index in range(3)
    ]
    assert content["usage"]["prompt_tokens"] == content["usage"]["total_tokens"] > 3


def test_one_text_or_several_floats_or_base64(house: Any) -> None:
    several = vectors(house, input=TEXTS)
    np.testing.assert_allclose(vectors(house, input=TEXTS[2])[0], several[2], atol=1e-6)
    packed = embed(house, input=TEXTS, encoding_format="base64", model="tiny").json()["data"]
    unpacked = np.stack([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in packed])
    assert unpacked.tobytes() == several.tobytes()


def test_the_one_number_of_dimensions_may_be_named(house: Any) -> None:
    np.testing.assert_array_equal(vectors(house, input=TEXTS, dimensions=32), vectors(house, input=TEXTS))
    problem = embed(house, input=TEXTS, dimensions=16).json()
    assert problem["field"] == "dimensions"
    assert "have 32" in problem["detail"]


def test_after_a_restart_known_texts_need_no_language_model(new_house: Callable[[], Any]) -> None:
    house = new_house()
    before = house.start("api")
    house.until_ready()
    known = embed(house, input=TEXTS, encoding_format="base64").json()
    assert _has_torch(before.pid)
    before.send_signal(signal.SIGTERM)
    assert before.wait(15) == 0
    after = house.start("api")
    house.until_ready()
    assert embed(house, input=TEXTS, encoding_format="base64").json() == known
    assert not _has_torch(after.pid)
    shown = house.admin.get("/metrics").text
    assert 'llactr_embedding_texts_total{source="sql"} 3.0' in shown
    assert 'llactr_embedding_texts_total{source="computed"}' not in shown.replace('"computed"} 0.0', "")


def _has_torch(process: int) -> bool:
    return "libtorch" in Path(f"/proc/{process}/maps").read_text(encoding="utf-8")


def test_a_version_embeds_with_its_own_adapter(house: Any) -> None:
    samples = {"user_gender": ["F", "M"], "zip": ["1", "2", "3"], "movie_genre": ["War"]}
    ssft = {"epochs": 2, "batch_size": 4, "learning_rate": 0.05, "held_out": 0.0}
    tuned = house.published("embedded", samples=samples, ssft=ssft)
    plain = house.published("embedded", ssft={"skip": True})
    base = vectors(house, input=TEXTS)
    table = {one: house.anyone.get(f"/v1/fields/embedded/versions/{one}").json() for one in (tuned, plain)}
    for version, content in table.items():
        texts = content["provenance"]["field_texts"]
        expected = np.array(content["vectors"], dtype=np.float32)
        np.testing.assert_allclose(vectors(house, input=texts, version=version), expected, atol=1e-5)
    assert np.abs(vectors(house, input=TEXTS, version=tuned) - base).max() > 1e-3
    assert np.abs(vectors(house, input=TEXTS, version="embedded@current") - base).max() == 0
    by_schema = vectors(house, input=TEXTS, version=f"embedded@{tuned}")
    np.testing.assert_array_equal(by_schema, vectors(house, input=TEXTS, version=tuned))
    np.testing.assert_array_equal(vectors(house, input=TEXTS), base)


@pytest.mark.parametrize(
    ("body", "status", "row"),
    [
        ({"input": []}, 422, None),
        ({"input": ["a", ""]}, 422, 1),
        ({"input": [1, 2]}, 422, None),
        ({"input": ["a"] * 257}, 413, None),
        ({"input": ["a", "b" * 8193]}, 413, 1),
        ({"input": "a", "model": "/etc/passwd"}, 422, None),
        ({"input": "a", "model": "../tiny"}, 422, None),
        ({"input": "a", "model": "tiny", "version": "0" * 64}, 422, None),
        ({"input": "a", "version": "0" * 64}, 404, None),
        ({"input": "a", "version": "none@current"}, 404, None),
        ({"input": "a", "dimensions": 3}, 422, None),
        ({"input": "a", "dimensions": "many"}, 422, None),
    ],
)
def test_bad_requests(house: Any, body: dict[str, Any], status: int, row: int | None) -> None:
    answer = embed(house, **body)
    assert (answer.status_code, answer.json().get("row")) == (status, row)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("given", [5, [1, 2], ["a", None]])
def test_what_is_no_text_is_said_once_and_of_the_field(house: Any, given: object) -> None:
    problem = embed(house, input=given).json()
    assert problem["field"] == "input"
    assert "one text or a list of texts" in problem["detail"]


@pytest.mark.parametrize(
    ("given", "field"), [({"input": ["a", "\ud800"]}, "input.1"), ({"input": "a", "version": "\ud800"}, "version")]
)
def test_half_a_surrogate_pair_is_no_text(house: Any, given: dict[str, object], field: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = house.anyone.post("/v1/embeddings", content=json.dumps(given), headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_the_longest_text_and_the_largest_batch_pass(house: Any) -> None:
    assert vectors(house, input=["a" * 8192] + ["b"] * 255).shape == (256, 32)


def test_a_text_longer_than_the_model_reads_is_refused_and_the_others_are_not(house: Any) -> None:
    too_long = "a " * 300
    problem = embed(house, input=["never asked before", "x", too_long, "nor this"]).json()
    assert (problem["status"], problem["row"], problem["field"]) == (413, 2, "input")
    assert "302 tokens" in problem["detail"]
    assert "at most 254" in problem["detail"]
    assert vectors(house, input=["never asked before", "nor this"]).shape == (2, 32)
