"""The job "prove", and train jobs that choose by themselves, against real data and a stand-in of the LLM service."""

import json
from pathlib import Path
from typing import Any

import pytest
from takeaway import takeaway

from llactr_core.bundle import Bundle
from llactr_core.errors import JobCancelled
from services.ctr.jobs.proof import prove_dataset
from services.ctr.jobs.train import train
from services.ctr.promotion.promotion import Promotion
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
from services.shared.jobs.context import JobContext
from services.shared.jobs.store import JobStore


@pytest.fixture
def body(dataset: Path, tiny: Any) -> dict[str, Any]:
    return {"dataset": str(dataset), "schema": tiny.schema.model_dump(mode="json")}


SMALL = {"quick": True, "backbones": ["fm"], "trials": 1, "seeds": 2, "epochs": 1}


def cut_at(context: JobContext, word: str) -> JobContext:
    """A worker that shuts down at this stage."""
    report = context.report

    def cut(progress: Any) -> None:
        if word in progress.stage:
            raise JobCancelled("the worker shuts down")
        report(progress)

    context.report = cut  # type: ignore[method-assign]
    return context


def test_a_proof_goes_on_where_it_was_and_leaves_its_reports(
    attempts: Any, work_settings: CtrSettings, llm: Any, body: dict[str, Any], storage: Any
) -> None:
    store: JobStore = attempts.store
    stale = work_settings.proofs / "0123456789abcdef"
    stale.mkdir(parents=True)
    attempts.submit("prove", "tiny", body | SMALL)
    with pytest.raises(JobCancelled):
        prove_dataset(cut_at(attempts.next(), "seed 2"), store, work_settings)
    context = attempts.next()
    kept = {file: file.stat().st_mtime_ns for file in (context.directory / "scores").iterdir()}
    assert len(kept) >= 9
    made = prove_dataset(context, store, work_settings)
    assert kept.items() <= {file: file.stat().st_mtime_ns for file in (context.directory / "scores").iterdir()}.items()
    assert llm.count("POST", "/v1/embeddings") == 1
    folder = work_settings.proofs / context.job.id
    report = json.loads((folder / "report.json").read_text())
    assert made["reports"] == ["report.json", "report.md", "report.html"]
    assert (made["verdict"], made["ships"]) == (report["verdict"], "fields + values")
    assert report["seeds"] == 2
    assert set(made["gain"]) == {"value", "interval", "detectable"}
    assert not stale.exists(), "reports of jobs that are gone go too"
    assert [done for _, done in attempts.stages][-1] <= 1


def test_without_an_untuned_model_its_control_is_left_out_and_told(
    attempts: Any, work_settings: CtrSettings, llm: Any, body: dict[str, Any]
) -> None:
    attempts.submit("prove", "tiny", body | SMALL | {"quick": False, "seeds": 1})
    context = attempts.next()
    prove_dataset(context, attempts.store, work_settings)
    report = json.loads((work_settings.proofs / context.job.id / "report.json").read_text())
    assert any("untuned language model" in text for text in report["left_out"])
    assert "untuned language model" not in report["against"]


def test_larrs_own_options_reach_its_tuning(
    attempts: Any, work_settings: CtrSettings, llm: Any, tmp_path: Path
) -> None:
    _, schema = takeaway(tmp_path / "log", 2000)
    asked = {"dataset": str(tmp_path / "log"), "schema": schema.model_dump(mode="json"), "methods": ["larr"]}
    attempts.submit("prove", "takeaway", asked | SMALL | {"larr": {"most_pairs": 16, "contrast_epochs": 3}})
    with pytest.raises(JobCancelled):
        prove_dataset(cut_at(attempts.next(), "searching"), attempts.store, work_settings)
    [larr] = [body["larr"] for _, path, body in llm.calls if path.endswith("takeaway-larr/refresh")]
    chosen = larr["options"]
    assert (chosen["most_pairs"], chosen["contrast_epochs"], chosen["pretrain_epochs"]) == (16, 3, 1)
    assert {len(pairs) for pairs in larr["texts"]["pairs"].values()} == {16}


def test_a_train_job_that_chooses_says_why_and_keeps_its_choice(
    attempts: Any, work_settings: CtrSettings, registry: Registry, promotion: Promotion, llm: Any, body: dict[str, Any]
) -> None:
    asked = {"auto": True, "minutes": 0.01, "backbone": "fm", "options": {"epochs": 1}}
    attempts.submit("train", "tiny", body | asked)
    with pytest.raises(JobCancelled):
        train(cut_at(attempts.next(), "training, epoch"), registry, promotion, attempts.store, work_settings)
    context = attempts.next()
    choice = (context.directory / "choice.json").read_text()
    made = train(context, registry, promotion, attempts.store, work_settings)
    assert (context.directory / "choice.json").read_text() == choice
    auto = made["auto"]
    assert auto["chosen"] in ("plain", "fields", "values", "fields + values")
    assert [arm["arm"] for arm in auto["arms"]] == ["plain", "fields", "values", "fields + values"]
    assert auto["reason"]
    manifest: Any = Bundle.open(registry.bundle_path(made["version"])).manifest
    assert manifest["lineage"]["auto"] == auto
    assert manifest["options"]["epochs"] == 1
