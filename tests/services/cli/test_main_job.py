"""The decisions of the main job, with a client that answers from a script."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from llactr_client import Client, FieldTable, Job, ModelInfo, ModelVersion, Refresh, SchemaInfo
from shop import SHOP, write_shop

from services.cli.console import CommandError
from services.cli.dataset_choice import DatasetChoice
from services.cli.display import Display
from services.cli.main_job import MainJob


@dataclass
class FakeClient:
    """Jobs succeed at once, but those whose idempotency key ends in one of `broken`."""

    broken: tuple[str, ...] = ()
    versions: list[ModelVersion] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    trained: list[dict[str, Any]] = field(default_factory=list)

    def models(self) -> tuple[ModelInfo, ...]:
        return (ModelInfo("shop", {}, ()),) if self.versions else ()

    def model_versions(self, model: str) -> tuple[ModelVersion, ...]:
        return tuple(self.versions)

    def register_schema(self, name: str, fields: list[dict[str, object]]) -> SchemaInfo:
        return SchemaInfo(name, "f", ())

    def refresh_fields(self, schema: str, *, idempotency_key: str, **request: object) -> Refresh:
        return Refresh(job=self._job("llm", idempotency_key))

    def fields(self, schema: str) -> FieldTable:
        return FieldTable(schema, "t1", (), (), "mini")

    def train(self, model: str, dataset: str, *, idempotency_key: str, **recipe: Any) -> Job:
        self.trained.append(recipe)
        return self._job("ctr", idempotency_key)

    def wait_for_job(self, job: Job, on_progress: Any) -> Job:
        on_progress(job)
        return job

    def _job(self, service: Any, key: str) -> Job:
        self.keys.append(key)
        return Job(service, key, "failed" if key.endswith(self.broken) and self.broken else "succeeded")


@pytest.fixture
def choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetChoice:
    monkeypatch.chdir(tmp_path)  # readings of a simulated test split are none of the project's
    folder = tmp_path / "shop"
    folder.mkdir()
    SHOP.save(write_shop(folder) / "schema.yaml")
    return DatasetChoice.of(folder, None)


def job_of(client: FakeClient, choice: DatasetChoice) -> MainJob:
    return MainJob(cast(Client, client), choice, None, Display())


def version(choice: DatasetChoice, **lineage: object) -> ModelVersion:
    ours = {"dataset": str(choice.path), "schema_fingerprint": choice.schema.fingerprint, "backbone": "deepfm"}
    numbers = {"auc": 0.75, "logloss": 0.5, "ece": 0.01}
    return ModelVersion("v" * 64, "now", ("champion",), {**ours, **lineage}, {"valid": numbers, "test": numbers})


def test_the_llactr_model_is_promoted_and_the_plain_one_is_not(choice: DatasetChoice) -> None:
    client = FakeClient()
    job_of(client, choice).run()
    assert [(t["enhancer"], t["promote"], t["table_version"]) for t in client.trained] == [
        ("llactr", True, "t1"),
        ("none", False, None),
    ]


def test_the_same_main_job_asks_for_the_same_jobs(choice: DatasetChoice) -> None:
    first, second, other = FakeClient(), FakeClient(), FakeClient()
    job_of(first, choice).run()
    job_of(second, choice).run()
    changed = choice.schema.model_copy(update={"fields": choice.schema.fields[:-1]})
    job_of(other, replace(choice, schema=changed)).run()
    assert first.keys == second.keys
    assert len(set(first.keys)) == 3
    assert not set(first.keys[1:]) & set(other.keys)


def test_after_a_failure_the_next_key_is_used(choice: DatasetChoice) -> None:
    client = FakeClient(broken=("-0", "-1"))
    job_of(client, choice).run()
    assert [key[-2:] for key in client.keys] == ["-0", "-1", "-2"] * 3


def test_endless_failure_comes_to_an_end(choice: DatasetChoice) -> None:
    with pytest.raises(CommandError, match="llactr jobs list"):
        job_of(FakeClient(broken=tuple("0123456789")), choice).run()


def test_a_champion_of_this_dataset_is_found(choice: DatasetChoice) -> None:
    assert job_of(FakeClient(), choice).champion() is None
    assert job_of(FakeClient(versions=[version(choice)]), choice).champion() is not None
    moved = version(choice, dataset="/elsewhere/shop", data_digest=choice.digests())
    assert job_of(FakeClient(versions=[moved]), choice).champion() is not None


def test_a_champion_of_other_data_or_another_schema_is_none_of_ours(choice: DatasetChoice) -> None:
    for lineage in ({"dataset": "/elsewhere/shop"}, {"schema_fingerprint": "other"}):
        assert job_of(FakeClient(versions=[version(choice, **lineage)]), choice).champion() is None
    retired = replace(version(choice), aliases=("previous",))
    assert job_of(FakeClient(versions=[retired]), choice).champion() is None


def test_the_table_sets_the_champion_beside_the_plain_backbone(choice: DatasetChoice) -> None:
    champion = version(choice, enhancer="llactr")
    plain = replace(version(choice, enhancer="none"), aliases=(), metrics={"valid": {"auc": 0.7}})
    lines = job_of(FakeClient(versions=[plain, champion]), choice).metrics_table().splitlines()
    assert lines[0].split() == ["model", "part", "AUC", "LogLoss", "ECE", "version"]
    assert [line.split("  ")[0] for line in lines[2:]] == ["DeepFM + LLaCTR", "DeepFM, plain"] * 2
    assert lines[2].split()[-4:-1] == ["0.7500", "0.5000", "0.0100"]
    assert lines[5].split()[-4:-1] == ["-", "-", "-"]
