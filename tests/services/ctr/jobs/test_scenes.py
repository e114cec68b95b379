"""The job "train" with LARR: scenes read by the LLM service's model, as it came or tuned by stages 1 and 2."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from takeaway import takeaway

from llactr_core.bundle import SCENE_VALUES
from llactr_core.enhancers.larr.texts import LarrTuning
from llactr_core.errors import OptionError, UnavailableError
from llactr_core.semantics.values.projection import ValueProjection
from llactr_core.training.options import TrainOptions
from services.ctr.app import build_app
from services.ctr.jobs.refresh import refresh
from services.ctr.jobs.scenes import schema_for, schema_of
from services.ctr.jobs.train import train
from services.ctr.jobs.tuning import end_tuning
from services.ctr.promotion.promotion import Promotion
from services.ctr.registry.store import Registry, require_semantics
from services.ctr.settings import CtrSettings
from services.shared.access.auth import ensure_admin_key
from services.shared.jobs.context import JobContext

Train = Callable[..., dict[str, Any]]
OPTIONS = {"epochs": 1, "width": 4, "batch_size": 256, "larr": {"width": 8, "heads": 2}}
AS_IT_CAME = {"pretrain_epochs": 0, "contrast_epochs": 0}


@pytest.fixture
def run(attempts: Any, registry: Registry, promotion: Promotion, work_settings: CtrSettings) -> Train:
    def run(settings: CtrSettings = work_settings, context: JobContext | None = None) -> dict[str, Any]:
        return train(context or attempts.next(), registry, promotion, attempts.store, settings)

    return run


def test_scenes_are_read_by_the_llm_service_and_scored_without_it(
    attempts: Any, registry: Registry, run: Train, llm: Any, dataset: Path, tiny: Any, work_settings: CtrSettings
) -> None:
    schema = tiny.schema.model_dump(mode="json")
    for field in schema["fields"]:
        field["scene"] = field["name"] in ("job", "city")
    body = {"dataset": str(dataset), "schema": schema, "backbone": "fm", "enhancer": "larr"}
    options = {**OPTIONS, "larr": {**OPTIONS["larr"], **AS_IT_CAME}}  # type: ignore[dict-item]
    attempts.submit("train", "tiny", body | {"options": options})
    made = run()
    assert made["promoted"]
    assert made["table_version"] == tiny.make_table(0).version
    path = registry.bundle_path(made["version"])
    assert set(ValueProjection.load(path / SCENE_VALUES).fields) == {"job", "city"}
    assert registry.get("tiny", made["version"]).lineage.enhancer == "larr"
    with TestClient(build_app(work_settings.model_copy(update={"overlay_poll_s": 0.05}))) as client:

        def score(job: str) -> float:
            found: float = client.post("/v1/score", json={"rows": [{"job": job}]}).json()["scores"][0]
            return found

        llm.away = True
        before = score("astronaut")
        assert len({score("student"), score("retired"), before}) == 3
        llm.away = False
        headers = {"Authorization": f"Bearer {ensure_admin_key(work_settings.key_file)}"}
        added = client.post("/v1/admin/models/tiny/values", json={"values": {"job": ["astronaut"]}}, headers=headers)
        assert added.json()["rows"] == 1
        llm.away = True
        end = time.monotonic() + 10
        while score("astronaut") == before:
            assert time.monotonic() < end, "the new scene was not known within 10 s"
            time.sleep(0.05)
        assert score("cosmonaut") == before


def test_the_llm_service_tunes_its_model_once_and_reads_later_scenes_with_it(
    attempts: Any, registry: Registry, run: Train, llm: Any, work_settings: CtrSettings, tmp_path: Path
) -> None:
    takeaway(tmp_path / "takeaway", 500)
    stages = {"pretrain_epochs": 1, "contrast_epochs": 1, "most_items": 8, "most_pairs": 8, "batch_size": 4}
    options = {**OPTIONS, "larr": {**OPTIONS["larr"], **stages}}  # type: ignore[dict-item]
    body = {
        "dataset": str(tmp_path / "takeaway"),
        "label": "click",
        "backbone": "fm",
        "enhancer": "larr",
        "options": options,
    }
    attempts.submit("train", "takeaway", body | {"schema": _schema(tmp_path / "takeaway")})
    context = attempts.next()
    real = context.report

    def dies(progress: Any) -> None:
        real(progress)
        if "tuning" in progress.stage:
            raise UnavailableError("gone")

    context.report = dies
    with pytest.raises(UnavailableError, match="gone"):
        run(context=context)
    made = run()
    assert made["promoted"]
    assert llm.count("POST", "/refresh") == 1
    [(path, asked)] = [(path, body) for method, path, body in llm.calls if method == "POST" and "/refresh" in path]
    assert path == "/v1/admin/fields/takeaway-larr/refresh"
    assert asked.keys() == {"larr"}
    texts = LarrTuning.parse(asked["larr"]).texts
    assert len(texts.items) == len(texts.pairs["user_item"]) == 8
    lineage = registry.get("takeaway", made["version"]).lineage
    assert (lineage.field_schema, lineage.table_version) == ("takeaway-larr", made["table_version"])
    require_semantics("takeaway", registry.get("takeaway", made["version"]))
    with TestClient(build_app(work_settings.model_copy(update={"overlay_poll_s": 0.05}))) as client:
        headers = {"Authorization": f"Bearer {ensure_admin_key(work_settings.key_file)}"}
        values = {"values": {"weather": ["sandstorm"]}}
        added = client.post("/v1/admin/models/takeaway/values", json=values, headers=headers)
        assert added.json()["rows"] == 1
        reader = llm.calls[-1][2]["version"]
        assert reader == f"takeaway-larr@{made['table_version']}"
        time.sleep(0.1)
        rows = [{"weather": "sandstorm"}, {"weather": "hail"}]
        known, unknown = client.post("/v1/score", json={"rows": rows}).json()["scores"]
        assert known != unknown


def test_a_cancelled_job_ends_the_tuning(
    attempts: Any, run: Train, llm: Any, work_settings: CtrSettings, tmp_path: Path
) -> None:
    takeaway(tmp_path / "takeaway", 500)
    llm.polls_to_end = 10_000
    body = {
        "dataset": str(tmp_path / "takeaway"),
        "label": "click",
        "backbone": "fm",
        "enhancer": "larr",
        "options": OPTIONS,
    }
    attempts.submit("train", "takeaway", body | {"schema": _schema(tmp_path / "takeaway")})
    context = attempts.next()
    real = context.report

    def dies(progress: Any) -> None:
        real(progress)
        if "tuning" in progress.stage:
            raise UnavailableError("gone")

    context.report = dies
    with pytest.raises(UnavailableError, match="gone"):
        run(context=context)
    attempts.cancel()
    end_tuning(context, work_settings)
    assert [job["state"] for job in llm.jobs.values()] == ["cancelled"]


@pytest.mark.long
def test_a_refresh_tunes_anew_as_the_champion_was(
    attempts: Any, registry: Registry, promotion: Promotion, run: Train, llm: Any, work_settings: Any, tmp_path: Path
) -> None:
    takeaway(tmp_path / "takeaway", 500)
    body = {
        "dataset": str(tmp_path / "takeaway"),
        "label": "click",
        "backbone": "fm",
        "enhancer": "larr",
        "options": OPTIONS,
    }
    attempts.submit("train", "takeaway", body | {"schema": _schema(tmp_path / "takeaway")})
    first = run()
    attempts.store.succeed(attempts._job, {})
    attempts.submit("refresh", "takeaway", {"force": True, "llm": "small"})
    second = refresh(attempts.next(), registry, promotion, attempts.store, work_settings)
    assert second["old"] == {"version": first["version"], "table_version": first["table_version"]}
    assert second["new"]["table_version"] != first["table_version"]
    asked = [body for method, path, body in llm.calls if path.endswith("/refresh")]
    assert [body.get("model") for body in asked] == [None, "small"]
    before, after = [body["larr"]["options"] for body in asked]
    assert before.pop("seed") != after.pop("seed")
    assert before == after


def test_a_schema_without_a_scene_is_refused(attempts: Any, run: Train, llm: Any, dataset: Path, tiny: Any) -> None:
    body = {"dataset": str(dataset), "schema": tiny.schema.model_dump(mode="json"), "enhancer": "larr"}
    attempts.submit("train", "tiny", body)
    with pytest.raises(OptionError, match="marks none; set 'scene: true'"):
        run()


def test_a_schema_keeps_its_name_whatever_it_ends_in(tiny: Any) -> None:
    plain, scenes = TrainOptions(), TrainOptions(enhancer="larr")
    of_plain = tiny.lineage_of(enhancer="llactr", field_schema="shop-larr")
    of_scenes = tiny.lineage_of(enhancer="larr", field_schema="shop-larr")
    assert schema_for(plain, schema_of(of_plain) or "") == "shop-larr"
    assert schema_for(plain, schema_of(of_scenes) or "") == "shop"
    assert schema_for(scenes, schema_of(of_scenes) or "") == "shop-larr"


def _schema(folder: Path) -> dict[str, Any]:
    from llactr_core.schema import Schema

    content: dict[str, Any] = Schema.load(folder / "schema.yaml").model_dump(mode="json")
    return content
