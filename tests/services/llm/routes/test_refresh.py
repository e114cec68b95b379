"""POST /v1/admin/fields/{schema}/refresh, with a worker that runs."""

import csv
import json
import threading
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.llm.app import build_app
from services.llm.settings import LlmSettings
from services.shared.access.admin_key import ensure_admin_key

MANY = {"user_gender": ["F", "M"], "movie_genre": ["Comedy", "Drama", "Noir", "War"], "zip": ["94110", "10001", "7"]}
TINY = {"epochs": 1, "batch_size": 4, "rank": 2, "alpha": 4}


def test_a_refresh_tunes_and_publishes(house: Any) -> None:
    house.register("tuned")
    answer = house.refresh("tuned", samples=MANY, ssft=TINY)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['job']['id']}"
    job = house.finished(answer.json()["job"]["id"])
    assert job["state"] == "succeeded", job
    assert job["progress"] == 1.0
    assert job["result"].keys() == {"schema", "version", "reused", "metrics"}
    assert 0 <= job["result"]["metrics"]["held_out_accuracy"] <= 1
    [version] = house.anyone.get("/v1/fields/tuned/versions").json()["versions"]
    assert version["version"] == job["result"]["version"]
    assert version["aliases"] == ["current"]
    assert (version["tuned"], version["fields"], version["width"], version["job"]) == (True, 3, 32, job["id"])
    assert not (house.home / "llm" / "jobs" / job["id"]).exists()

    again = house.refresh("tuned", samples={name: values[::-1] for name, values in MANY.items()}, ssft=TINY)
    assert (again.status_code, again.json()["version"]) == (200, job["result"]["version"])
    assert again.json()["reused"] is True


def test_another_seed_is_another_table_and_previous_is_kept(house: Any) -> None:
    first = house.published("seeds", ssft={"skip": True, "seed": 1})
    second = house.published("seeds", ssft={"skip": True, "seed": 2})
    assert first != second
    listed = house.anyone.get("/v1/fields/seeds/versions").json()["versions"]
    assert [(one["version"], one["aliases"], one["parent"]) for one in listed] == [
        (second, ["current"], first),
        (first, ["previous"], None),
    ]
    assert house.refresh("seeds", ssft={"skip": True, "seed": 1}).json()["version"] == first
    assert house.anyone.get("/v1/fields/seeds").json()["version"] == first


def test_a_changed_description_is_another_table(house: Any) -> None:
    first = house.published("texts", ssft={"skip": True})
    fields = house.anyone.get("/v1/schemas/texts").json()["fields"]
    fields[0]["description"] = "something else"
    assert house.admin.post("/v1/schemas", json={"name": "texts", "fields": fields}).status_code == 201
    answer = house.refresh("texts", ssft={"skip": True})
    second = house.finished(answer.json()["job"]["id"])["result"]["version"]
    tables = [house.anyone.get(f"/v1/fields/texts/versions/{one}").json() for one in (first, second)]
    assert tables[0]["vectors"][0] != tables[1]["vectors"][0]
    assert tables[0]["vectors"][1:] == tables[1]["vectors"][1:]


def test_samples_from_a_dataset_equal_samples_sent(house: Any) -> None:
    folder = house.data / "films"
    folder.mkdir()
    rows = [{"user_gender": g, "movie_genre": m, "zip": z} for g in "FM" for m in ("War|Noir", "War") for z in "123"]
    for part in ("train", "valid", "test"):
        with (folder / f"{part}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["user_gender", "movie_genre", "zip"])
            writer.writeheader()
            writer.writerows(rows if part == "train" else [{**rows[0], "zip": "never in train"}])
    house.register("films")
    answer = house.refresh("films", dataset=f"file://{folder}", ssft=TINY)
    assert answer.status_code == 202, answer.text
    job = house.finished(answer.json()["job"]["id"])
    assert job["state"] == "succeeded", job
    assert job["result"]["reused"] is False
    sent = house.refresh(
        "films", samples={"user_gender": ["F", "M"], "movie_genre": ["Noir", "War"], "zip": [1, 2.0, "3"]}, ssft=TINY
    )
    assert (sent.status_code, sent.json()["version"]) == (200, job["result"]["version"])
    once_more = house.refresh("films", dataset=str(folder), ssft=TINY)
    assert house.finished(once_more.json()["job"]["id"])["result"]["reused"] is True


def test_a_dataset_that_does_not_fit_fails_the_job_with_the_reason(house: Any) -> None:
    (house.data / "other.csv").write_text("x\n" + "1\n" * 20)
    house.register("misfit")
    answer = house.refresh("misfit", dataset=str(house.data / "other.csv"))
    job = house.finished(answer.json()["job"]["id"])
    assert (job["state"], job["error"]["status"], job["error"]["code"]) == ("failed", 422, "invalid-data")
    assert "user_gender" in job["error"]["detail"]


def test_idempotency_and_equal_running_refreshes(house: Any) -> None:
    house.register("busy")
    slow = {**TINY, "epochs": 1000}
    header = {"Idempotency-Key": "busy-1"}
    url = "/v1/admin/fields/busy/refresh"
    first = house.admin.post(url, json={"samples": MANY, "ssft": slow}, headers=header)
    same_key = house.admin.post(url, json={"samples": MANY, "ssft": slow}, headers=header)
    same_work = house.refresh("busy", samples={name: values[::-1] for name, values in MANY.items()}, ssft=slow)
    other = house.admin.post(url, json={"samples": MANY, "ssft": TINY}, headers=header)
    assert first.status_code == 202
    assert first.json()["job"]["id"] == same_key.json()["job"]["id"] == same_work.json()["job"]["id"]
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    job_id = first.json()["job"]["id"]
    assert house.admin.delete(f"/v1/jobs/{job_id}").status_code in (200, 202)
    assert house.finished(job_id)["state"] == "cancelled"
    replay = house.admin.post(url, json={"samples": MANY, "ssft": slow}, headers=header)
    assert replay.json()["job"] == {"id": job_id, "state": "cancelled"}
    anew = house.refresh("busy", samples=MANY, ssft=slow)
    assert anew.json()["job"]["id"] != job_id
    house.admin.delete(f"/v1/jobs/{anew.json()['job']['id']}")
    assert house.finished(anew.json()["job"]["id"])["state"] == "cancelled"


def test_a_repeated_call_is_answered_as_before_whatever_changed(house: Any) -> None:
    url = "/v1/admin/fields/repeats/refresh"
    first = house.published("repeats", ssft={"skip": True, "seed": 1})
    known = {"ssft": {"skip": True, "seed": 1}}
    header = {"Idempotency-Key": "repeated"}
    answered = house.admin.post(url, json=known, headers=header)
    assert (answered.status_code, answered.json()["version"]) == (200, first)
    second = house.published("repeats", ssft={"skip": True, "seed": 2})
    again = house.admin.post(url, json=known, headers=header)
    assert (again.status_code, again.json()) == (200, answered.json())
    assert house.anyone.get("/v1/fields/repeats").json()["version"] == second
    assert house.admin.post(url, json={"ssft": {"skip": True}}, headers=header).status_code == 409

    data = house.data / "moves.csv"
    data.write_text("user_gender,movie_genre,zip\n" + "F,War,1\nM,Noir,2\n" * 20)
    asked = {"json": {"dataset": str(data), "ssft": {"skip": True, "seed": 3}}, "headers": {"Idempotency-Key": "moved"}}
    job = house.admin.post(url, **asked).json()["job"]["id"]
    house.finished(job)
    data.unlink()
    fields = house.anyone.get("/v1/schemas/repeats").json()["fields"]
    fields[0]["description"] = "said in other words"
    house.admin.post("/v1/schemas", json={"name": "repeats", "fields": fields})
    assert house.admin.post(url, **asked).json()["job"]["id"] == job
    other = house.register("repeats-elsewhere")
    elsewhere = house.admin.post("/v1/admin/fields/repeats-elsewhere/refresh", json=known, headers=header)
    assert elsewhere.status_code == 202, (other, elsewhere.text)


def test_calls_for_one_recipe_share_a_job(house: Any) -> None:
    house.register("recipes")
    slow = {**TINY, "epochs": 1000}
    first = house.refresh("recipes", samples=MANY, ssft=slow).json()["job"]["id"]
    assert house.refresh("recipes", samples=MANY, ssft={**slow, "checkpointing": "on"}).json()["job"]["id"] == first
    house.admin.delete(f"/v1/jobs/{first}")
    assert house.finished(first)["state"] == "cancelled"


def test_events_follow_a_job_to_its_end(house: Any) -> None:
    house.register("events")
    job_id = house.refresh("events", samples=MANY, ssft={**TINY, "epochs": 40}).json()["job"]["id"]
    told: list[dict[str, Any]] = []
    with house.anyone.stream("GET", f"/v1/jobs/{job_id}/events", timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                told.append(json.loads(line.removeprefix("data: ")))
    assert told[-1]["state"] == "succeeded"
    shares = [one["progress"] for one in told if one["stage"] == "tune fields"]
    assert shares == sorted(shares)
    assert len(shares) >= 2
    assert any(one["loss"] is not None for one in told)


def test_calls_at_once_start_one_job(house: Any) -> None:
    house.register("crowd")
    ids: list[str] = []

    def ask() -> None:
        answer = house.refresh("crowd", samples=MANY, ssft={**TINY, "epochs": 1000})
        ids.append(answer.json()["job"]["id"])

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6
    assert len(set(ids)) == 1
    house.admin.delete(f"/v1/jobs/{ids[0]}")
    assert house.finished(ids[0])["state"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "invalid-input", None),
        ({"samples": MANY, "dataset": "x"}, "invalid-input", None),
        ({"samples": {"colour": ["red"]}}, "invalid-schema", "colour"),
        ({"samples": {"zip": [None, "", float("1e999")]}}, "invalid-data", "samples"),
        ({"samples": {"zip": ["a", ["nested"]]}}, "invalid-option", "samples.zip.1"),
        ({"samples": {"zip": "94110"}}, "invalid-input", "samples.zip"),
        ({"samples": {"zip": ["a", "\ud800" * 300]}}, "invalid-input", "samples.zip.1"),
        ({"samples": {"\ud800": ["a"]}}, "invalid-input", "samples.\\ud800"),
        ({"samples": MANY, "ssft": {"rank": 0}}, "invalid-input", "ssft.rank"),
        ({"samples": MANY, "ssft": {"speed": 1}}, "invalid-input", "ssft.speed"),
        ({"samples": MANY, "ssft": {"objective": "generative"}}, "invalid-option", "objective"),
        ({"samples": MANY, "model": "/etc"}, "invalid-option", "model"),
        ({"samples": MANY, "model": "gpt-5"}, "invalid-option", "model"),
    ],
)
def test_bad_requests_are_refused_before_any_job(
    house: Any, body: dict[str, Any], code: str, field: str | None
) -> None:
    house.register("bad")
    content = json.dumps(body).replace("Infinity", "1e999")
    answer = house.admin.post(
        "/v1/admin/fields/bad/refresh", content=content, headers={"Content-Type": "application/json"}
    )
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem.get("field")) == (422, code, field)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("dataset", "status"), [("/etc/passwd", 403), ("{data}/absent.csv", 404), ("s3://x/y", 403)])
def test_only_allowed_datasets_are_read(house: Any, dataset: str, status: int) -> None:
    house.register("bad")
    answer = house.refresh("bad", dataset=dataset.format(data=house.data))
    assert answer.status_code == status
    assert str(house.data) in answer.json()["detail"] or status == 422


def test_a_link_out_of_the_allowed_folder_is_refused(house: Any) -> None:
    house.register("bad")
    link = house.data / "link.csv"
    link.symlink_to(house.home / "admin.key")
    assert house.refresh("bad", dataset=str(link)).status_code == 403


def test_a_schema_must_be_registered(house: Any) -> None:
    assert house.refresh("nobody", samples=MANY).status_code == 404


def test_too_many_and_too_long_samples_are_refused(settings: LlmSettings) -> None:
    tight = settings.model_copy(update={"max_samples": 2, "max_text_chars": 3})
    key = ensure_admin_key(tight.key_file)
    with TestClient(build_app(tight), headers={"Authorization": f"Bearer {key}"}) as client:
        client.post("/v1/schemas", json={"name": "small", "fields": [{"name": "zip"}]})
        for samples, field in ((["1", "2", "3"], "samples.zip"), (["123", "1234"], "samples.zip.1")):
            answer = client.post("/v1/admin/fields/small/refresh", json={"samples": {"zip": samples}})
            assert (answer.status_code, answer.json()["field"]) == (413, field)
        assert client.post("/v1/admin/fields/small/refresh", json={"samples": {"zip": ["123"]}}).status_code == 202


def test_an_added_field_joins_the_table_without_a_tuning(house: Any) -> None:
    """Registering is enough: the field is embedded by the tuned model of `current`, and the version says so."""
    house.register("grows")
    first = house.finished(house.refresh("grows", samples=MANY, ssft=TINY).json()["job"]["id"])["result"]["version"]
    before = house.anyone.get("/v1/fields/grows").json()
    added = {"name": "device", "description": "kind of device", "kind": "categorical"}
    fields = [added, *house.anyone.get("/v1/schemas/grows").json()["fields"]]
    answer = house.admin.post("/v1/schemas", json={"name": "grows", "fields": fields})
    assert answer.status_code == 201
    job = house.finished(answer.json()["extension"]["id"])
    assert (job["kind"], job["result"]["extended"]) == ("extend", ["device"])

    after = house.anyone.get("/v1/fields/grows").json()
    assert after["fields"] == ["device", *before["fields"]]
    assert after["vectors"][1:] == before["vectors"]
    assert after["provenance"]["adapter_digest"] == before["provenance"]["adapter_digest"] is not None
    newest = house.anyone.get("/v1/fields/grows/versions").json()["versions"][0]
    assert (newest["version"], newest["extended"], newest["parent"]) == (after["version"], ["device"], first)
    texts = {"input": ["kind of device"], "version": first}
    vector = house.anyone.post("/v1/embeddings", json=texts).json()["data"][0]["embedding"]
    assert vector == pytest.approx(after["vectors"][0], abs=1e-6)

    again = house.admin.post("/v1/schemas", json={"name": "grows", "fields": fields})
    assert (again.status_code, again.json()["extension"]) == (200, None)
