import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from llm_stand_in import FakeLlm, vector_of
from sqlalchemy import update

from llactr_core.bundle import VALUES, Bundle
from llactr_core.overlay import Overlay, OverlayRow
from llactr_core.scorer import Scorer
from llactr_core.semantics.values.gather import unit
from llactr_core.semantics.values.projection import ValueProjection
from services.ctr.registry.retention import Retention
from services.ctr.registry.store import Registry
from services.ctr.serving.pool import ModelPool
from services.ctr.settings import CtrSettings
from services.ctr.values.renewal import Renewal
from services.ctr.values.store import OverlayStore
from services.ctr.values.tables import OverlayValueRow
from services.shared.storage.storage import Storage, migrate

SOON_S = 10.0


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end, "it did not come within 10 s"
        time.sleep(0.05)


def row_of(bundle: Bundle, tiny: Any, job: str) -> OverlayRow:
    """What the pilot's row has to be, by the definition."""
    vector = unit(np.array([vector_of(f"{tiny.schema.fields[0].text}: {job}")], np.float32))
    return OverlayRow("job", job, ValueProjection.load(bundle.path / VALUES).rows_of("job", vector)[0])


def test_a_later_value_is_scored_by_its_text_and_named(house: Any, valued_bundle: Bundle, tiny: Any) -> None:
    before = house.score("pilot")
    assert "overlay" not in before["model"]
    answer = house.add({"job": ["pilot", "student", " ", None]})
    assert answer.status_code == 200, answer.text
    added = answer.json()
    found = added["fields"]["job"]
    assert (found["added"], found["known"], set(found["refused"])) == (["pilot", " "], ["student"], {"None"})
    overlay = Overlay.of(house.version, [row_of(valued_bundle, tiny, job) for job in ("pilot", " ")])
    assert (added["overlay"], added["rows"]) == (overlay.digest, 2)
    until(lambda: house.score("pilot")["model"].get("overlay") == overlay.digest)
    expected = Scorer.load(valued_bundle.path).with_overlay(overlay).score([{"job": "pilot", "age": 30}])
    assert house.score("pilot")["scores"] == pytest.approx(expected.tolist(), abs=1e-12)
    assert house.score("pilot")["scores"] != before["scores"]
    details = house.score("pilot", details="true")["details"][0]
    assert "job" not in details["unseen"]
    assert house.score("astronaut", details="true")["details"][0]["unseen"] == ["job"]
    for accept in ("application/x-ndjson", "application/vnd.apache.arrow.stream"):
        other = house.client.post("/v1/score", json={"rows": [{"job": "pilot"}]}, headers={"Accept": accept})
        assert other.headers["x-model-overlay"] == overlay.digest


def test_what_is_known_is_read_once(house: Any, llm: FakeLlm) -> None:
    house.add({"job": ["pilot"]})
    again = house.add({"job": ["pilot", "pilot"]}).json()
    assert again["fields"]["job"] == {"added": [], "known": ["pilot"], "refused": {}}
    assert again["rows"] == 1
    listed = house.client.get("/v1/admin/models/tiny/values", headers=house.headers).json()
    assert [(one["field"], one["value"], one["source"]) for one in listed["values"]] == [("job", "pilot", "admin")]
    assert listed["overlay"] == again["overlay"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"values": {"city": ["c99"]}}, 422, "fields with value semantics: job"),
        ({"values": {}}, 422, "values"),
        ({"values": {"job": []}}, 422, "job"),
        ({"values": {"job": [["nested"]]}}, 422, "job"),
        ({"values": {"job": ["a"]}, "version": "nobody"}, 404, "nobody"),
        ({"values": {"job": ["a"]}, "more": 1}, 422, "more"),
        ({"values": {"job": [str(n) for n in range(1001)]}}, 422, "job"),
    ],
    ids=["field", "none", "empty", "nested", "version", "extra", "many"],
)
def test_bad_calls_are_told_what_is_wrong(house: Any, body: dict[str, Any], status: int, message: str) -> None:
    answer = house.client.post("/v1/admin/models/tiny/values", json=body, headers=house.headers)
    assert answer.status_code == status, answer.text
    assert message in answer.text
    assert house.client.post("/v1/admin/models/tiny/values", json=body).status_code == 401


def test_a_model_without_value_semantics_says_so(house: Any, publish: Callable[..., str]) -> None:
    version = publish("llactr")
    answer = house.add({"job": ["pilot"]}, version=version)
    assert (answer.status_code, "without value semantics" in answer.text) == (409, True)


def test_without_the_llm_service_nothing_is_lost(house: Any, llm: FakeLlm) -> None:
    llm.away = True
    assert house.add({"job": ["pilot"]}).status_code == 503
    assert house.add({"job": ["student"]}).status_code == 200, "what is known needs no language model"
    llm.away = False
    assert house.add({"job": ["pilot"]}).json()["rows"] == 1


def test_an_overlay_belongs_to_its_version(house: Any, publish: Callable[..., str], registry: Registry) -> None:
    digest = house.add({"job": ["pilot"]}).json()["overlay"]
    until(lambda: house.score("pilot")["model"].get("overlay") == digest)
    other = publish("llactr", alias="champion")
    until(lambda: house.score("pilot")["model"]["version"] == other)
    assert "overlay" not in house.score("pilot")["model"]
    registry.set_alias("tiny", "champion", house.version)
    until(lambda: house.score("pilot")["model"]["version"] == house.version)
    assert house.score("pilot")["model"]["overlay"] == digest
    dropped = house.client.delete("/v1/admin/models/tiny/values", headers=house.headers)
    assert dropped.json() == {"dropped": 1}
    again = house.add({"job": ["pilot"]}).json()  # though what is loaded may still have it
    assert (again["fields"]["job"]["added"], again["overlay"]) == (["pilot"], digest)


def test_every_process_serves_one_chain_whoever_adds(house: Any, registry: Registry, storage: Storage) -> None:
    other = ModelPool(registry, overlays=Renewal(OverlayStore(storage), look_s=0.0))
    other.refresh()
    with ThreadPoolExecutor(4) as threads:
        calls = [[f"job {caller} {n}" for n in range(5)] + ["pilot"] for caller in range(4)]
        answers = list(threads.map(lambda jobs: house.add({"job": jobs}).json(), calls))
    assert sum("pilot" in answer["fields"]["job"]["added"] for answer in answers) == 1
    (last,) = [answer for answer in answers if answer["rows"] == 21]
    other.refresh()
    assert other.champion("tiny").overlay == last["overlay"]
    until(lambda: house.score("pilot")["model"].get("overlay") == last["overlay"])
    fresh = ModelPool(registry, overlays=Renewal(OverlayStore(storage), look_s=0.0))
    fresh.refresh()
    fresh.refresh()
    assert fresh.champion("tiny").overlay == last["overlay"]


def test_a_damaged_row_is_not_served(house: Any, registry: Registry, storage: Storage) -> None:
    house.add({"job": ["pilot"]})
    with storage.session() as session:
        session.execute(update(OverlayValueRow).values(row=b"\x00" * 20))
    pool = ModelPool(registry, overlays=Renewal(OverlayStore(storage), look_s=0.0))
    for _ in range(2):
        pool.refresh()
        assert pool.champion("tiny").overlay is None
    house.client.delete("/v1/admin/models/tiny/values", headers=house.headers)
    digest = house.add({"job": ["pilot"]}).json()["overlay"]
    pool.refresh()
    assert pool.champion("tiny").overlay == digest


def test_a_field_takes_so_many(work_settings: CtrSettings, house: Any, storage: Storage, tiny: Any) -> None:
    rows = [OverlayRow("job", f"j{n}", np.zeros(5, np.float32)) for n in range(5)]
    store = OverlayStore(storage)
    _, added = store.append(("tiny", house.version), rows, "admin", 3)
    assert [row.value for row in added] == ["j0", "j1", "j2"]
    _, added = store.append(("tiny", house.version), rows, "admin", 4)
    assert [row.value for row in added] == ["j3"]


def test_it_goes_with_its_version(
    house: Any, registry: Registry, storage: Storage, publish: Callable[..., str]
) -> None:
    house.add({"job": ["pilot"]})
    publish("llactr", alias="champion")
    publish("llactr", alias="previous")
    registry.set_alias("tiny", "previous", publish("llactr"))
    Retention(registry, CtrSettings()).delete("tiny", house.version)
    assert OverlayStore(storage).heads() == {}
    assert OverlayStore(storage).rows(("tiny", house.version)) == []


def test_on_either_database(database_url: str, tiny: Any) -> None:
    storage = Storage(database_url)
    migrate(storage, "services.ctr")
    registry, store = Registry(storage, None), OverlayStore(storage)  # type: ignore[arg-type]
    registry.register("tiny", "v1", tiny.lineage_of(), {})
    row = OverlayRow("job", "pilot", np.arange(5, dtype=np.float32), np.ones(3, np.float32))
    head, _ = store.append(("tiny", "v1"), [row], "admin", 9)
    (stored,) = store.rows(("tiny", "v1"))
    assert Overlay.of("v1", [stored.row]).digest == head.digest == store.heads()[("tiny", "v1")].digest
    assert store.rows(("tiny", "v1"), after=stored.number) == []
    assert store.drop(("tiny", "v1")) == 1
    storage.close()


@pytest.mark.parametrize(("enhancer", "way"), [("larr", '"enhancer": "larr"'), ("llactr", '"values": true')])
def test_a_version_that_was_imported_says_how_to_train_one_of_its_kind(
    house: Any, registry: Registry, valued_bundle: Bundle, tiny: Any, enhancer: str, way: str
) -> None:
    lineage = tiny.lineage_of(valued_bundle, enhancer=enhancer, field_schema="tiny", table_version="of-another-house")
    registry.register("other", valued_bundle.version, lineage, {})
    answer = house.client.post(
        "/v1/admin/models/other/values",
        json={"values": {"job": ["pilot"]}, "version": valued_bundle.version},
        headers=house.headers,
    )
    assert answer.status_code == 409
    assert answer.json()["detail"].endswith(f"train one here with {way}")
