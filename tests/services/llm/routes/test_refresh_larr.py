"""POST /v1/admin/fields/{schema}/refresh with LARR's items and pairs in place of samples."""

from typing import Any

import numpy as np
import pytest

PAIR = {"left": "<|age|> young <|clicked|> Noodles", "right": "<|name|> Sushi", "left_key": "u", "right_key": "i"}
TEXTS: dict[str, Any] = {
    "marks": ["<|name|>", "<|description|>", "<|age|>", "<|clicked|>"],
    "described": "description",
    "items": [
        {"attributes": [["name", f"dish {i}"], ["description", f"a dish of kind {i}, and hot"]]} for i in range(6)
    ],
    "pairs": {
        kind: [{**PAIR, "right": f"<|name|> dish {i}", "left_key": f"u{i}", "right_key": f"i{i}"} for i in range(6)]
        for kind in ("user_user", "item_item", "user_item")
    },
}
OPTIONS = {"pretrain_epochs": 1, "contrast_epochs": 1, "batch_size": 4, "rank": 2, "alpha": 4, "learning_rate": 0.05}
LARR = {"texts": TEXTS, "options": OPTIONS}


def vectors(house: Any, **who: str) -> Any:
    answer = house.anyone.post("/v1/embeddings", json={"input": ["weather: snow", "weather: hail"], **who})
    return np.array([one["embedding"] for one in answer.json()["data"]])


def test_a_tuned_reader_is_a_version_that_reads_texts_later(house: Any) -> None:
    house.register("scenes")
    answer = house.refresh("scenes", larr=LARR)
    assert answer.status_code == 202, answer.text
    job = house.finished(answer.json()["job"]["id"])
    assert job["state"] == "succeeded", job
    assert {"pretrain", "contrast"} <= set(job["result"]["metrics"])
    version = job["result"]["version"]
    provenance = house.anyone.get("/v1/fields/scenes").json()["provenance"]
    assert provenance["larr_texts"] == {"items": 6, "user_user": 6, "item_item": 6, "user_item": 6}
    assert provenance["larr"]["rank"] == 2
    tuned = vectors(house, version=f"scenes@{version}")
    assert np.abs(tuned - vectors(house)).max() > 1e-3
    again = house.refresh("scenes", larr={**LARR, "options": {**OPTIONS, "width": 8, "heads": 2}})
    assert (again.status_code, again.json()["version"]) == (200, version)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"samples": {"zip": ["1"]}}, "exactly one of 'samples', 'dataset' and 'larr'; given: 'samples' and 'larr'"),
        ({"ssft": {"rank": 2}}, "leave 'ssft' out"),
        ({"larr": {"texts": TEXTS, "options": {"pretrain_epochs": 0, "contrast_epochs": 0}}}, "0 epochs"),
        ({"larr": {"texts": {**TEXTS, "items": "x"}, "options": OPTIONS}}, "larr.texts.items"),
        ({"larr": {"texts": {**TEXTS, "marks": [""]}, "options": OPTIONS}}, "larr.texts.marks.0"),
        ({"larr": {"texts": {**TEXTS, "marks": ["<|x|>"] * 1001}, "options": OPTIONS}}, "larr.texts.marks"),
        ({"larr": {"texts": {**TEXTS, "marks": []}, "options": OPTIONS}}, "larr.texts.marks"),
        ({"larr": {"texts": {**TEXTS, "items": []}, "options": OPTIONS}}, "fewer than two items have one"),
        ({"larr": {"texts": TEXTS, "options": {"speed": 1}}}, "larr.options.speed"),
    ],
    ids=["samples", "ssft", "nothing", "items", "mark", "marks", "no marks", "no items", "option"],
)
def test_what_does_not_fit_is_refused(house: Any, more: dict[str, Any], said: str) -> None:
    house.register("scenes")
    answer = house.refresh("scenes", **{"larr": LARR, **more})
    assert answer.status_code == 422
    assert said in answer.text


def test_too_few_pairs_are_refused_at_the_call(house: Any) -> None:
    house.register("scenes")
    texts = {**TEXTS, "pairs": {**TEXTS["pairs"], "user_user": TEXTS["pairs"]["user_user"][:1] * 6}}
    answer = house.refresh("scenes", larr={"texts": texts, "options": OPTIONS})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-data")
    assert "fewer than 4 different pairs of the kind user_user" in answer.json()["detail"]
