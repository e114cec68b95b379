"""The job "train" against real data, the real training and a stand-in of the LLM service."""

import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
import pytest
from llm_stand_in import vector_of

from llactr_core.bundle import VALUES, Bundle
from llactr_core.errors import DataError, NotFoundError, OptionError, PermissionDenied, SchemaError, UnavailableError
from llactr_core.scorer import Scorer
from llactr_core.semantics.values.projection import ValueProjection
from llactr_core.semantics.values.table import ValueTable
from services.ctr.jobs import recipe as recipe_module
from services.ctr.jobs.train import train
from services.ctr.payloads import TrainRequest
from services.ctr.promotion.promotion import Promotion
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
from services.shared.jobs.context import JobContext


class Run(Protocol):
    def __call__(self, settings: CtrSettings | None = None, context: JobContext | None = None) -> dict[str, Any]: ...


@pytest.fixture
def run(attempts: Any, registry: Registry, promotion: Promotion, work_settings: CtrSettings) -> Run:
    def run(settings: CtrSettings | None = None, context: JobContext | None = None) -> dict[str, Any]:
        return train(context or attempts.next(), registry, promotion, attempts.store, settings or work_settings)

    return run


@pytest.fixture
def body(dataset: Path, tiny: Any) -> dict[str, Any]:
    return {
        "dataset": str(dataset),
        "schema": tiny.schema.model_dump(mode="json"),
        "backbone": "fm",
        "options": tiny.options,
    }


def test_the_first_version_becomes_champion_and_the_next_only_on_request(
    attempts: Any,
    registry: Registry,
    run: Run,
    llm: Any,
    body: dict[str, Any],
    tiny: Any,
) -> None:
    attempts.submit("train", "tiny", body)
    first = run()
    assert first["promoted"]
    assert first["table_version"] == tiny.make_table(0).version
    assert 0 < first["metrics"]["valid"]["auc"] < 1
    assert "test" not in first["metrics"]
    assert Scorer.load(registry.bundle_path(first["version"])).version == first["version"]
    stages = [stage for stage, _ in attempts.stages]
    assert stages[:2] == ["opening the dataset", "pulling the field table"]
    assert any(re.match(r"training, epoch 2 of at most 2; valid AUC 0\.\d{4}, LogLoss 0\.\d{4}", s) for s in stages)
    shares = [done for _, done in attempts.stages]
    assert shares == sorted(shares)
    attempts.store.succeed(attempts._job, {})

    attempts.submit("train", "tiny", body | {"enhancer": "none", "read_test": True})
    second = run()
    assert (second["promoted"], second["table_version"], second["gate"]) == (False, None, None)
    assert "not asked for" in second["reason"]
    assert "test" in second["metrics"]
    assert second["aliases"] == ["challenger"]
    assert registry.aliases()["tiny"] == {"champion": first["version"], "challenger": second["version"]}
    attempts.store.succeed(attempts._job, {})

    asked = {"enhancer": "none", "promote": True, "force": True, "read_test": True}
    attempts.submit("train", "tiny", body | asked)
    third = run()
    assert (third["version"], third["promoted"]) == (second["version"], True)  # equal training, equal version
    champions = {"champion": second["version"], "previous": first["version"]}
    assert registry.aliases()["tiny"].items() >= champions.items()


def test_values_of_textual_fields_are_read_once_by_the_llm_service(
    attempts: Any, registry: Registry, run: Run, llm: Any, body: dict[str, Any], tiny: Any
) -> None:
    attempts.submit("train", "tiny", body | {"values": True})
    context = attempts.next()
    made = run(context=context)
    (asked,) = [given for _, path, given in llm.calls if path == "/v1/embeddings"]
    assert asked["version"] == f"tiny@{tiny.make_table(0).version}"
    job = tiny.schema.fields[0].text
    assert {f"{job}: student", f"{job}: retired"} <= set(asked["input"])
    assert not any(text.endswith(": c1") for text in asked["input"]), "cities are numbers here, no words"
    bundle = Bundle.open(registry.bundle_path(made["version"]))
    assert (
        bundle.manifest["lineage"]["value_table"] == ValueTable.load(context.directory / "values.safetensors").version
    )  # type: ignore[index]
    projection = ValueProjection.load(bundle.path / VALUES)
    assert projection.rows_of("job", np.array([vector_of(f"{job}: pilot")], np.float32)).shape == (1, 5)
    run(context=context)
    assert llm.count("POST", "/v1/embeddings") == 1


def test_values_without_an_enhancer_are_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="reads no values"):
        TrainRequest.model_validate(body | {"values": True, "enhancer": "none"})


def test_lineage_is_enough_to_train_again(
    attempts: Any,
    registry: Registry,
    run: Run,
    body: dict[str, Any],
    tiny: Any,
    dataset: Path,
) -> None:
    attempts.submit("train", "tiny", body)
    made = run()
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


def test_without_a_schema_it_is_inferred(attempts: Any, registry: Registry, run: Run, dataset: Path, tiny: Any) -> None:
    body = {"dataset": str(dataset), "label": "click", "backbone": "fm", "enhancer": "none", "options": tiny.options}
    attempts.submit("train", "fresh", body)
    made = run()
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
    attempts: Any,
    registry: Registry,
    run: Run,
    body: Any,
    change: Any,
    kind: Any,
    word: str,
) -> None:
    attempts.submit("train", "tiny", body | change)
    with pytest.raises(kind, match=word):
        run()
    assert registry.models() == []


def test_while_the_llm_service_is_away_the_job_waits(
    attempts: Any, run: Run, work_settings: CtrSettings, llm: Any, body: dict[str, Any]
) -> None:
    attempts.submit("train", "tiny", body)
    llm.away = True
    with pytest.raises(UnavailableError, match="not ready"):
        run()
    gone = work_settings.model_copy(update={"llm_url": "http://127.0.0.1:9"})
    with pytest.raises(UnavailableError, match="does not answer"):
        run(gone)
    llm.away = False
    assert run()["promoted"]


class Killed(BaseException):
    """Stands for kill -9: nothing in our code may catch it."""


def test_killed_in_training_the_next_attempt_uses_the_same_table_and_gives_the_same_version(
    attempts: Any,
    registry: Registry,
    run: Run,
    llm: Any,
    body: Any,
    monkeypatch: Any,
    tiny: Any,
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
        run(context=context)
    llm.tables["current"] = tiny.make_table(77)  # moved meanwhile: this job keeps the one that it began with
    resumed = run()
    assert resumed["table_version"] == tiny.make_table(0).version
    assert llm.count("GET", "/v1/fields") == 1


@pytest.mark.parametrize("where", ["before the state", "before the move", "before the registration"])
def test_killed_after_training_nothing_is_trained_twice(
    attempts: Any,
    registry: Registry,
    run: Run,
    body: Any,
    monkeypatch: Any,
    where: str,
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
            broken.setattr(recipe_module, "publish", die)
        else:
            broken.setattr(registry, "register", die)
        with pytest.raises(Killed):
            run()
    assert registry.models() == []
    assert run()["promoted"]
    assert trained == 1


def test_a_damaged_bundle_of_the_same_version_is_replaced(
    attempts: Any, registry: Registry, run: Run, body: dict[str, Any]
) -> None:
    body = body | {"enhancer": "none"}
    attempts.submit("train", "tiny", body)
    version = run()["version"]
    attempts.store.succeed(attempts._job, {})
    (registry.bundle_path(version) / "golden.json").write_text("{}")
    attempts.submit("train", "tiny", body)
    assert run()["version"] == version
    assert Scorer.load(registry.bundle_path(version)).version == version


FROZEN = {"epochs": 1, "learning_rate": 1e-9}


def test_warm_start_goes_on_from_a_version_with_new_rows(
    attempts: Any, registry: Registry, run: Run, body: dict[str, Any], tiny: Any, tmp_path: Path, publish: Any
) -> None:
    first = publish("none", alias="champion")
    new = tiny.write_dataset(tmp_path / "more", seed=5)
    frozen = {"dataset": str(new), "enhancer": "none", "options": {**tiny.options, **FROZEN}}
    attempts.submit("train", "tiny", body | frozen | {"warm_start": first})
    context = attempts.next()
    report = context.report

    def dying(progress: Any) -> None:
        if progress.stage.startswith("training"):
            raise Killed
        report(progress)

    context.report = dying
    with pytest.raises(Killed):
        run(context=context)
    registry.set_alias("tiny", "champion", publish("llactr"))  # moved meanwhile: this job keeps to what it began with
    warm = run()
    assert registry.get("tiny", warm["version"]).lineage.start_from == first
    rows = pq.read_table(new / "test.parquet")
    before, after = (Scorer.load(registry.bundle_path(one)).logits(rows) for one in (first, warm["version"]))
    assert after == pytest.approx(before, abs=1e-3), "tiny steps change nothing of what was learned"


def test_what_the_gate_refuses_is_a_result_and_the_challenger(
    attempts: Any, registry: Registry, run: Run, body: dict[str, Any], tiny: Any, tmp_path: Path, publish: Any
) -> None:
    champion = publish("none", alias="champion")
    many = tiny.write_dataset(tmp_path / "many", rows=2000, seed=3)
    frozen = {"dataset": str(many), "enhancer": "none", "options": {**tiny.options, **FROZEN}}
    attempts.submit("train", "tiny", body | frozen | {"promote": True})
    result = run()
    assert not result["promoted"]
    assert result["reason"]
    assert result["gate"]
    assert result["aliases"] == ["challenger"]
    assert registry.aliases()["tiny"]["champion"] == champion


def test_killed_after_its_decision_the_job_keeps_to_it(
    attempts: Any,
    registry: Registry,
    run: Run,
    body: dict[str, Any],
    publish: Any,
) -> None:
    old = publish("llactr", alias="champion")
    attempts.submit("train", "tiny", body | {"enhancer": "none", "promote": True, "force": True})
    first = run()
    assert first["promoted"]
    registry.set_alias("tiny", "champion", old)  # an admin rolls back before the worker that died is followed
    again = run()
    assert (again["promoted"], again["version"], again["reason"]) == (True, first["version"], first["reason"])
    assert registry.aliases()["tiny"]["champion"] == old
