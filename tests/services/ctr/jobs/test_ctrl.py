"""The job "train" with CTRL: the language model reads the rows in the job's own process."""

from pathlib import Path
from typing import Any

import pytest
from tiny_model import save_tiny_model

from llactr_core.bundle import Bundle
from llactr_core.errors import JobCancelled, UnavailableError
from llactr_core.scorer import Scorer
from services.ctr.jobs.proof import prove_dataset
from services.ctr.jobs.train import train
from services.ctr.payloads import RefreshPlan, TrainRequest
from services.ctr.promotion.promotion import Promotion
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings

OPTIONS = {
    "epochs": 1, "width": 4, "backbone_options": {"layers": 1, "head_width": 4},
    "ctrl": {"batch_size": 300, "width": 8, "subspaces": 2, "device": "cpu"},
}  # fmt: skip


def cancelled(device: str) -> None:
    raise JobCancelled(f"cancelled while waiting for the device {device}")


def test_a_job_aligns_trains_and_promotes_and_goes_on_after_a_failure(
    attempts: Any, registry: Registry, promotion: Promotion, work_settings: CtrSettings, llm: Any, dataset: Path,
    tiny: Any, tmp_path: Path,
) -> None:  # fmt: skip
    llm.failing = True
    settings = work_settings.model_copy(update={"language_model": str(save_tiny_model(tmp_path / "tiny-model"))})
    schema = tiny.schema.model_dump(mode="json")
    body = {"dataset": str(dataset), "schema": schema, "backbone": "autoint", "enhancer": "ctrl", "options": OPTIONS}
    attempts.submit("train", "tiny", body)
    context = attempts.next()
    real = context.report

    def dies(progress: Any) -> None:
        real(progress)
        if progress.stage.startswith("training"):
            raise UnavailableError("gone")

    context.report = dies
    with pytest.raises(UnavailableError, match="gone"):
        train(context, registry, promotion, attempts.store, settings)
    before = len(attempts.stages)
    again = attempts.next()
    again.turn = pytest.fail  # what is aligned needs no accelerator
    made = train(again, registry, promotion, attempts.store, settings)
    assert not any("alignment" in stage for stage, _ in attempts.stages[before:])
    assert not any("waiting" in stage for stage, _ in attempts.stages), "a CPU is not waited for"
    assert made["promoted"]
    assert made["table_version"] is None
    lineage = registry.get("tiny", made["version"]).lineage
    assert (lineage.backbone, lineage.enhancer, lineage.field_schema) == ("autoint", "ctrl", None)
    bundle = Bundle.open(registry.bundle_path(made["version"]))
    assert bundle.manifest["lineage"]["alignment"]["language_model"] == "tiny-model"  # type: ignore[index]
    assert len(Scorer.load(bundle.path).score([{"job": "student"}, {}])) == 2


def test_an_alignment_waits_for_its_turn_and_ends_with_the_wait(
    attempts: Any, registry: Registry, promotion: Promotion, work_settings: CtrSettings, dataset: Path, tiny: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    settings = work_settings.model_copy(update={"language_model": str(save_tiny_model(tmp_path / "tiny-model"))})
    schema = tiny.schema.model_dump(mode="json")
    body = {"dataset": str(dataset), "schema": schema, "backbone": "autoint", "enhancer": "ctrl", "options": OPTIONS}
    attempts.submit("train", "tiny", body)
    context = attempts.next()
    context.turn = cancelled
    with pytest.raises(JobCancelled, match="waiting for the device cpu"):
        train(context, registry, promotion, attempts.store, settings)
    assert [stage for stage, _ in attempts.stages][-1] == "reading the data"


@pytest.mark.parametrize(("quick", "searched"), [(False, True), (True, False)], ids=["to align", "to time it"])
def test_a_proof_waits_for_the_turn_of_its_alignments_alone(
    attempts: Any, work_settings: CtrSettings, llm: Any, dataset: Path, tiny: Any, tmp_path: Path,
    quick: bool, searched: bool,
) -> None:  # fmt: skip
    settings = work_settings.model_copy(update={"language_model": str(save_tiny_model(tmp_path / "tiny-model"))})
    small = {"quick": quick, "backbones": ["fm"], "trials": 1, "seeds": 1, "epochs": 1}
    asked = {"dataset": str(dataset), "schema": tiny.schema.model_dump(mode="json"), "methods": ["ctrl"], **small}
    attempts.submit("prove", "tiny", {**asked, "ctrl": OPTIONS["ctrl"]})
    context = attempts.next()
    context.turn = cancelled
    with pytest.raises(JobCancelled, match="waiting for the device cpu"):
        prove_dataset(context, attempts.store, settings)
    assert any("fm, CTRL: searching" in stage for stage, _ in attempts.stages) is searched


def test_a_request_that_makes_no_sense_with_ctrl_is_refused() -> None:
    with pytest.raises(ValueError, match="'ctrl' reads no values"):
        TrainRequest.model_validate({"dataset": "d", "label": "y", "enhancer": "ctrl", "values": True})
    with pytest.raises(ValueError, match="enhancer 'ctrl' is a train call"):
        RefreshPlan.model_validate({"options": {"enhancer": "ctrl"}})
