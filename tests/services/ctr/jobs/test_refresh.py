"""The job "refresh": a new table, a new version, promotion; each step once, whatever is killed when."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llactr_core.bundle import Bundle
from llactr_core.errors import ConflictError, DataError, JobCancelled, NotFoundError, UnavailableError
from services.ctr.jobs import recipe as recipe_module
from services.ctr.jobs.llm import FieldSemantics
from services.ctr.jobs.refresh import refresh
from services.ctr.jobs.state import StateFile
from services.ctr.jobs.train import train
from services.ctr.jobs.tuning import end_tuning
from services.ctr.promotion.promotion import Promotion
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings


class Killed(BaseException):
    """Stands for kill -9: nothing in our code may catch it."""


@pytest.fixture
def old(registry: Registry, publish: Callable[..., str], tiny: Any, bundles: Any, dataset: Path, llm: Any) -> str:
    """A champion with field semantics, registered as a train job would."""
    bundle = bundles["llactr"]
    lineage = tiny.lineage_of(
        bundle, dataset=str(dataset), enhancer="llactr", field_schema="tiny", table_version=tiny.make_table(0).version
    )
    llm.tables[tiny.make_table(0).version] = tiny.make_table(0)
    registry.register("tiny", bundle.version, lineage, bundle.metrics)
    return publish("llactr", alias="champion")


@pytest.fixture
def run(
    attempts: Any, registry: Registry, promotion: Promotion, work_settings: CtrSettings
) -> Callable[[], dict[str, Any]]:
    def run() -> dict[str, Any]:
        return refresh(attempts.next(), registry, promotion, attempts.store, work_settings)

    return run


def test_the_whole_chain(attempts: Any, registry: Registry, llm: Any, old: str, run: Any, dataset: Path) -> None:
    attempts.submit("refresh", "tiny", {"ssft": {"epochs": 3}})
    result = run()
    new = registry.get("tiny", result["new"]["version"])
    assert result["model"] == "tiny"
    assert result["old"] == {"version": old, "table_version": registry.get("tiny", old).lineage.table_version}
    assert new.version != old
    assert result["new"]["table_version"] == llm.tables["current"].version == new.lineage.table_version
    assert result["old"]["table_version"] != result["new"]["table_version"]
    assert result["metrics"] == new.metrics
    assert (result["mode"], result["promoted"]) == ("retrain", True), result["reason"]
    assert result["reason"]
    assert registry.aliases()["tiny"] == {"champion": new.version, "previous": old}
    assert (new.lineage.parent, new.lineage.options) == (old, registry.get("tiny", old).lineage.options)
    (sent,) = [body for method, path, body in llm.calls if path.endswith("/refresh")]
    assert sent["dataset"] == str(dataset.resolve())
    assert sent["ssft"] == {"sam_num": 7, "epochs": 3, "seed": int(attempts._job[:7], 16)}
    (schema,) = [body for method, path, body in llm.calls if path == "/v1/schemas"]
    assert schema["fields"][0] == {"name": "job", "description": "the person's job", "kind": "categorical"}
    assert schema["fields"][1]["kind"] == "numeric"
    shares = [done for _, done in attempts.stages]
    assert shares == sorted(shares)
    stages = [stage for stage, _ in attempts.stages]
    assert "tuning the field semantics: tune" in stages
    assert any(stage.startswith("training, epoch") for stage in stages)


def test_where_the_llm_service_may_not_read_the_data_it_gets_samples(
    attempts: Any, llm: Any, old: str, run: Any
) -> None:
    llm.reads_datasets = False
    attempts.submit("refresh", "tiny", {"ssft": {"sam_num": 3}})
    assert run()["promoted"]
    sent = [body for method, path, body in llm.calls if path.endswith("/refresh")]
    assert "dataset" in sent[0]
    assert "dataset" not in sent[1]
    assert set(sent[1]["samples"]) == {"job", "age", "tags", "city"}
    assert all(len(values) == 3 for values in sent[1]["samples"].values())


def test_a_recipe_that_exists_is_used_at_once(
    attempts: Any, llm: Any, old: str, run: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tiny.make_table(5)
    llm.tables[table.version] = table
    monkeypatch.setattr(llm, "refresh", lambda key, body: (200, {"schema": "tiny", "version": table.version}))
    attempts.submit("refresh", "tiny", {})
    assert run()["new"]["table_version"] == table.version


def test_killed_at_every_step_each_is_done_once(
    attempts: Any, registry: Registry, llm: Any, old: str, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = 0
    real_train = recipe_module.train_bundle

    def training(*arguments: Any, **named: Any) -> Any:
        nonlocal trained
        trained += 1
        return real_train(*arguments, **named)

    def die(*_: Any, **__: Any) -> Any:
        raise Killed

    real_start = FieldSemantics.start

    def start_and_die(*arguments: Any) -> Any:
        real_start(*arguments)
        raise Killed

    monkeypatch.setattr(recipe_module, "train_bundle", training)
    attempts.submit("refresh", "tiny", {})
    for owner, name, replacement in (
        (FieldSemantics, "start", start_and_die),  # the LLM service has the job, we do not know it yet
        (FieldSemantics, "follow", die),
        (FieldSemantics, "table", die),
        (recipe_module, "publish", die),
        (Promotion, "promote", die),
    ):
        attempts.store.max_attempts = 99
        with monkeypatch.context() as broken:
            broken.setattr(owner, name, replacement)
            with pytest.raises(Killed):
                run()
    assert registry.aliases()["tiny"] == {"champion": old}
    result = run()
    assert result["promoted"]
    assert list(llm.jobs) == ["job0"]
    assert trained == 1
    assert result["old"]["version"] == old
    assert len(registry.versions("tiny")) == 2


def test_while_the_llm_service_is_away_the_job_waits_and_then_goes_on(
    attempts: Any, registry: Registry, llm: Any, old: str, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts.submit("refresh", "tiny", {})
    llm.away = True
    with pytest.raises(UnavailableError):
        run()
    llm.away = False
    llm.polls_to_end = 10**6
    real = llm.job

    def away_later(method: str, name: str) -> Any:
        answer = real(method, name)
        if llm.jobs[name]["polls"] == 3:
            llm.away = True
        return answer

    monkeypatch.setattr(llm, "job", away_later)
    with pytest.raises(UnavailableError):
        run()
    llm.away, llm.polls_to_end = False, 4
    assert run()["promoted"]
    assert list(llm.jobs) == ["job0"]


def test_cancelling_ends_the_tuning_too_but_a_worker_that_stops_does_not(
    attempts: Any, llm: Any, old: str, registry: Registry, promotion: Promotion, work_settings: CtrSettings
) -> None:
    llm.polls_to_end = 10**6
    attempts.submit("refresh", "tiny", {})
    context = attempts.next()
    real = llm.job

    def ending(method: str, name: str) -> Any:
        if method == "GET":
            context.end("the worker shuts down")
        return real(method, name)

    llm.job = ending
    with pytest.raises(JobCancelled):
        refresh(context, registry, promotion, attempts.store, work_settings)
    assert llm.jobs["job0"]["state"] == "running"

    attempts.store.max_attempts = 99
    context = attempts.next()

    def cancelling(method: str, name: str) -> Any:
        if method == "GET":
            with attempts.store.storage.session() as session:
                from services.shared.jobs.job import JobRow

                session.get(JobRow, attempts._job).cancel_requested = 1
            context.end("cancellation was asked for")
        return real(method, name)

    llm.job = cancelling
    with pytest.raises(JobCancelled):
        refresh(context, registry, promotion, attempts.store, work_settings)
    assert llm.jobs["job0"]["state"] == "cancelled"
    assert registry.aliases()["tiny"] == {"champion": old}


def test_the_tuning_of_a_refresh_that_is_cancelled_while_it_waits_ends_too(
    attempts: Any, llm: Any, old: str, registry: Registry, promotion: Promotion, work_settings: CtrSettings
) -> None:
    llm.polls_to_end = 10**6
    attempts.submit("refresh", "tiny", {})
    context = attempts.next()
    end_tuning(context, work_settings)  # nothing was started yet
    real = llm.job

    def ending(method: str, name: str) -> Any:
        if method == "GET":
            context.end("the worker shuts down")
        return real(method, name)

    llm.job = ending
    with pytest.raises(JobCancelled):
        refresh(context, registry, promotion, attempts.store, work_settings)
    llm.away = True
    with pytest.raises(UnavailableError):
        end_tuning(context, work_settings)
    llm.away = False
    assert llm.jobs["job0"]["state"] == "running"
    end_tuning(context, work_settings)
    assert llm.jobs["job0"]["state"] == "cancelled"


def test_a_tuning_that_fails_fails_the_job_with_its_reason(
    attempts: Any, llm: Any, old: str, run: Any, registry: Registry
) -> None:
    llm.job_error = {"code": "invalid-data", "detail": "no field has a sample"}
    attempts.submit("refresh", "tiny", {})
    with pytest.raises(DataError, match="no field has a sample"):
        run()
    assert registry.aliases()["tiny"] == {"champion": old}


def test_a_champion_without_semantics_or_none_at_all_is_refused(
    attempts: Any, registry: Registry, publish: Callable[..., str], run: Any, llm: Any
) -> None:
    attempts.submit("refresh", "tiny", {})
    with pytest.raises(NotFoundError):
        run()
    publish("none", alias="champion")
    attempts.store.max_attempts = 99
    with pytest.raises(ConflictError, match="without field semantics"):
        run()
    assert llm.calls == []


def test_the_state_file_is_always_whole(tmp_path: Path) -> None:
    StateFile(tmp_path).set(llm_job="a")
    StateFile(tmp_path).set(table_version="t")
    assert StateFile(tmp_path).state.model_dump() == {
        "parent": None,
        "llm_job": "a",
        "sampled": False,
        "table_version": "t",
        "bundle_version": None,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_with_a_table_version_nothing_is_tuned(
    attempts: Any, registry: Registry, llm: Any, old: str, run: Any, tiny: Any
) -> None:
    table = tiny.make_table(5)
    llm.tables |= {table.version: table, "current": table}
    attempts.submit("refresh", "tiny", {"table_version": "current"})
    result = run()
    assert result["new"]["table_version"] == table.version
    assert result["promoted"], result["reason"]
    assert {method for method, _, _ in llm.calls} == {"GET"}
    lineage = registry.get("tiny", result["new"]["version"]).lineage
    assert (lineage.table_version, lineage.parent, lineage.start_from) == (table.version, old, None)


def test_a_champion_that_reads_values_has_a_successor_that_does(
    attempts: Any,
    registry: Registry,
    promotion: Promotion,
    work_settings: CtrSettings,
    llm: Any,
    run: Any,
    tiny: Any,
    dataset: Path,
) -> None:
    content = tiny.schema.model_dump(mode="json")
    body = {"dataset": str(dataset), "schema": content, "backbone": "fm", "options": tiny.options, "values": True}
    attempts.submit("train", "tiny", body)
    first = train(attempts.next(), registry, promotion, attempts.store, work_settings)["version"]
    attempts.store.succeed(attempts._job, {})
    table = tiny.make_table(5)
    llm.tables |= {table.version: table, "current": table}
    attempts.submit("refresh", "tiny", {"table_version": "current"})
    second = run()["new"]["version"]
    tables = [Bundle.open(registry.bundle_path(v)).manifest["lineage"]["value_table"] for v in (first, second)]
    assert None not in tables
    assert tables[0] != tables[1], "another model read the values"
    asked = [given["version"] for _, path, given in llm.calls if path == "/v1/embeddings"]
    assert asked == [f"tiny@{tiny.make_table(0).version}", f"tiny@{table.version}"]


def test_a_table_that_is_not_there_fails_the_job_and_not_the_champion(
    attempts: Any, registry: Registry, llm: Any, old: str, run: Any
) -> None:
    attempts.submit("refresh", "tiny", {"table_version": "nothing"})
    with pytest.raises(NotFoundError, match="nothing"):
        run()
    assert registry.aliases()["tiny"] == {"champion": old}


def test_re_enhance_goes_on_from_the_champion_for_a_few_epochs(
    attempts: Any, registry: Registry, llm: Any, old: str, run: Any, tiny: Any
) -> None:
    attempts.submit("refresh", "tiny", {"mode": "re-enhance", "options": {"learning_rate": 1e-9}})
    result = run()
    lineage = registry.get("tiny", result["new"]["version"]).lineage
    assert (lineage.parent, lineage.start_from) == (old, old)
    assert lineage.options["epochs"] == 3
    assert lineage.table_version == llm.tables["current"].version != result["old"]["table_version"]
    assert result["mode"] == "re-enhance"


def test_a_refused_version_is_named_with_the_reason_and_the_champion_stays(
    attempts: Any, registry: Registry, llm: Any, old: str, run: Any
) -> None:
    attempts.submit("refresh", "tiny", {"options": {"learning_rate": 1e-9, "epochs": 1}})
    result = run()
    assert (result["promoted"], result["old"]["version"]) == (False, old)
    assert result["reason"]
    assert result["gate"]
    assert registry.aliases()["tiny"] == {"champion": old, "challenger": result["new"]["version"]}


def test_force_promotes_what_the_gate_would_refuse(
    attempts: Any, registry: Registry, llm: Any, old: str, run: Any
) -> None:
    attempts.submit("refresh", "tiny", {"force": True, "options": {"learning_rate": 1e-9, "epochs": 1}})
    result = run()
    assert result["promoted"]
    assert registry.aliases()["tiny"]["champion"] == result["new"]["version"]
