"""The job "train" with LARR: scenes read by the LLM service, or by a language model that the job tunes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from takeaway import takeaway
from tiny_model import save_tiny_model

from llactr_core.bundle import SCENE_VALUES
from llactr_core.errors import ConflictError, OptionError, UnavailableError
from llactr_core.scorer import Scorer
from llactr_core.semantics.values.projection import ValueProjection
from services.ctr.api import build_app
from services.ctr.jobs.train import train
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
        return train(context or attempts.next(), registry, promotion, settings)

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


@pytest.mark.long
def test_a_job_that_tunes_the_language_model_goes_on_where_it_was(
    attempts: Any, registry: Registry, run: Train, work_settings: CtrSettings, tmp_path: Path
) -> None:
    takeaway(tmp_path / "takeaway", 500)
    model = save_tiny_model(tmp_path / "tiny-model")
    settings = work_settings.model_copy(update={"language_model": str(model), "data_roots": (tmp_path,)})
    stages = {"pretrain_epochs": 1, "contrast_epochs": 1, "most_items": 8, "most_pairs": 8, "batch_size": 4}
    options = {**OPTIONS, "backbone_options": {"hidden": [8]}, "larr": {**OPTIONS["larr"], **stages}}  # type: ignore[dict-item]
    body = {"dataset": str(tmp_path / "takeaway"), "label": "click", "enhancer": "larr", "options": options}
    attempts.submit("train", "takeaway", body | {"schema": _schema(tmp_path / "takeaway")})
    context = attempts.next()
    real = context.report

    def dies(progress: Any) -> None:
        real(progress)
        if "contrast" in progress.stage and progress.step:
            raise UnavailableError("gone")

    context.report = dies
    with pytest.raises(UnavailableError, match="gone"):
        run(settings, context)
    before = len(attempts.stages)
    made = run(settings)
    after = [stage for stage, _ in attempts.stages[before:]]
    assert not any("pre-training" in stage for stage in after)
    shares = [done for _, done in attempts.stages[before:]]
    assert shares == sorted(shares)
    snow, hail = Scorer.load(registry.bundle_path(made["version"])).score([{"weather": "snow"}, {"weather": "hail"}])
    assert snow != hail
    with pytest.raises(ConflictError, match="without field semantics"):
        require_semantics("takeaway", registry.get("takeaway", made["version"]))


def test_a_schema_without_a_scene_is_refused(attempts: Any, run: Train, llm: Any, dataset: Path, tiny: Any) -> None:
    body = {"dataset": str(dataset), "schema": tiny.schema.model_dump(mode="json"), "enhancer": "larr"}
    attempts.submit("train", "tiny", body)
    with pytest.raises(OptionError, match="marks none; set 'scene: true'"):
        run()


def _schema(folder: Path) -> dict[str, Any]:
    from llactr_core.schema import Schema

    content: dict[str, Any] = Schema.load(folder / "schema.yaml").model_dump(mode="json")
    return content
