"""The job "train" against real data, the real training and a stand-in of the LLM service."""

from pathlib import Path
from typing import Any

import pytest

from llactr_core.errors import DataError, NotFoundError, OptionError, PermissionDenied, SchemaError, UnavailableError
from llactr_core.scorer import Scorer
from services.ctr.jobs import recipe as recipe_module
from services.ctr.jobs.train import train
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings


@pytest.fixture
def body(dataset: Path, tiny: Any) -> dict[str, Any]:
    return {
        "dataset": str(dataset),
        "schema": tiny.schema.model_dump(mode="json"),
        "backbone": "fm",
        "options": tiny.options,
    }


def test_the_first_version_becomes_champion_and_the_next_only_on_request(
    attempts: Any, registry: Registry, work_settings: CtrSettings, llm: Any, body: dict[str, Any], tiny: Any
) -> None:
    attempts.submit("train", "tiny", body)
    first = train(attempts.next(), registry, work_settings)
    assert first["promoted"]
    assert first["table_version"] == tiny.make_table(0).version
    assert 0 < first["metrics"]["valid"]["auc"] < 1
    assert "test" not in first["metrics"]
    assert Scorer.load(registry.bundle_path(first["version"])).version == first["version"]
    stages = [stage for stage, _ in attempts.stages]
    assert stages[:2] == ["opening the dataset", "pulling the field table"]
    assert any(stage.startswith("training, epoch") for stage in stages)
    shares = [done for _, done in attempts.stages]
    assert shares == sorted(shares)
    attempts.store.succeed(attempts._job, {})

    attempts.submit("train", "tiny", body | {"enhancer": "none", "read_test": True})
    second = train(attempts.next(), registry, work_settings)
    assert (second["promoted"], second["table_version"]) == (False, None)
    assert "test" in second["metrics"]
    assert registry.aliases()["tiny"] == {"champion": first["version"]}
    attempts.store.succeed(attempts._job, {})

    attempts.submit("train", "tiny", body | {"enhancer": "none", "promote": True, "read_test": True})
    third = train(attempts.next(), registry, work_settings)
    assert (third["version"], third["promoted"]) == (second["version"], True)  # equal training, equal version
    assert registry.aliases()["tiny"] == {"champion": second["version"], "previous": first["version"]}


def test_lineage_is_enough_to_train_again(
    attempts: Any, registry: Registry, work_settings: CtrSettings, body: dict[str, Any], tiny: Any, dataset: Path
) -> None:
    attempts.submit("train", "tiny", body)
    made = train(attempts.next(), registry, work_settings)
    lineage = registry.get("tiny", made["version"]).lineage
    assert lineage.dataset == str(dataset.resolve())
    assert set(lineage.data_digest) == {"train", "valid", "test"}
    assert lineage.data_schema == tiny.schema.model_dump(mode="json")
    assert lineage.schema_fingerprint == tiny.schema.fingerprint
    assert (lineage.backbone, lineage.enhancer, lineage.field_schema) == ("fm", "llactr", "tiny")
    assert lineage.options["epochs"] == 2
    assert lineage.options["seed"] == 2026
    assert lineage.code_version
    assert lineage.job == attempts._job


def test_without_a_schema_it_is_inferred(
    attempts: Any, registry: Registry, work_settings: CtrSettings, dataset: Path, tiny: Any
) -> None:
    body = {"dataset": str(dataset), "label": "click", "backbone": "fm", "enhancer": "none", "options": tiny.options}
    attempts.submit("train", "fresh", body)
    made = train(attempts.next(), registry, work_settings)
    schema = registry.get("fresh", made["version"]).lineage.data_schema
    assert (schema["name"], schema["label"]) == ("fresh", "click")
    assert {field["name"] for field in schema["fields"]} == {"job", "age", "tags", "city"}


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        ({"dataset": "/etc"}, PermissionDenied, "allowed folders"),
        ({"table_version": "nothing"}, NotFoundError, "refresh"),
        ({"field_schema": "nobody"}, NotFoundError, "nobody"),
        ({"options": {"epochz": 1}}, OptionError, "epochz"),
        ({"schema": {"name": "tiny", "label": "nothing", "fields": [{"name": "job"}]}}, DataError, "nothing"),
        ({"schema": {"name": "tiny", "label": "click", "fields": [{"name": "job"}]}}, SchemaError, "refresh the table"),
    ],
)
def test_what_does_not_fit_fails_the_job_with_the_reason(
    attempts: Any, registry: Registry, work_settings: CtrSettings, body: Any, change: Any, kind: Any, word: str
) -> None:
    attempts.submit("train", "tiny", body | change)
    with pytest.raises(kind, match=word):
        train(attempts.next(), registry, work_settings)
    assert registry.models() == []


def test_while_the_llm_service_is_away_the_job_waits(
    attempts: Any, registry: Registry, work_settings: CtrSettings, llm: Any, body: dict[str, Any]
) -> None:
    attempts.submit("train", "tiny", body)
    llm.away = True
    with pytest.raises(UnavailableError, match="not ready"):
        train(attempts.next(), registry, work_settings)
    gone = work_settings.model_copy(update={"llm_url": "http://127.0.0.1:9"})
    with pytest.raises(UnavailableError, match="does not answer"):
        train(attempts.next(), registry, gone)
    llm.away = False
    assert train(attempts.next(), registry, work_settings)["promoted"]


class Killed(BaseException):
    """Stands for kill -9: nothing in our code may catch it."""


def test_killed_in_training_the_next_attempt_uses_the_same_table_and_gives_the_same_version(
    attempts: Any, registry: Registry, work_settings: CtrSettings, llm: Any, body: Any, monkeypatch: Any, tiny: Any
) -> None:
    attempts.submit("train", "tiny", body)
    context = attempts.next()
    report = context.report

    def dying(progress: Any) -> None:
        if progress.stage.startswith("training"):
            raise Killed
        report(progress)

    context.report = dying
    with pytest.raises(Killed):
        train(context, registry, work_settings)
    llm.tables["current"] = tiny.make_table(77)  # moved meanwhile: this job keeps the one that it began with
    resumed = train(attempts.next(), registry, work_settings)
    assert resumed["table_version"] == tiny.make_table(0).version
    assert llm.count("GET", "/v1/fields") == 1


@pytest.mark.parametrize("where", ["before the state", "before the move", "before the registration"])
def test_killed_after_training_nothing_is_trained_twice(
    attempts: Any, registry: Registry, work_settings: CtrSettings, body: Any, monkeypatch: Any, where: str
) -> None:
    attempts.submit("train", "tiny", body | {"enhancer": "none"})
    trained = 0
    real = recipe_module.train_bundle

    def counting(*arguments: Any, **named: Any) -> Any:
        nonlocal trained
        trained += 1
        return real(*arguments, **named)

    def die(*_: Any, **__: Any) -> Any:
        raise Killed

    monkeypatch.setattr(recipe_module, "train_bundle", counting)
    with monkeypatch.context() as broken:
        if where == "before the state":
            broken.setattr(recipe_module.StateFile, "set", die)
        elif where == "before the move":
            broken.setattr(recipe_module, "_publish", die)
        else:
            broken.setattr(registry, "register", die)
        with pytest.raises(Killed):
            train(attempts.next(), registry, work_settings)
    assert registry.models() == []
    assert train(attempts.next(), registry, work_settings)["promoted"]
    assert trained == 1


def test_a_damaged_bundle_of_the_same_version_is_replaced(
    attempts: Any, registry: Registry, work_settings: CtrSettings, body: dict[str, Any]
) -> None:
    body = body | {"enhancer": "none"}
    attempts.submit("train", "tiny", body)
    version = train(attempts.next(), registry, work_settings)["version"]
    attempts.store.succeed(attempts._job, {})
    (registry.bundle_path(version) / "golden.json").write_text("{}")
    attempts.submit("train", "tiny", body)
    assert train(attempts.next(), registry, work_settings)["version"] == version
    assert Scorer.load(registry.bundle_path(version)).version == version
