"""The tuning of a refresh: the engine rests meanwhile and goes on whatever happens; nothing is tuned twice."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llactr_core.errors import DataError, JobCancelled
from llactr_core.progress import Progress
from llactr_core.schema import Field, Schema
from llactr_core.semantics.options import SsftOptions
from services.llm.engines.transformers import TransformersEngine
from services.llm.jobs.request import RefreshPayload
from services.llm.jobs.tuning import FACTS, _kept, tuned_model

SCHEMA = Schema(name="two", fields=(Field(name="colour"), Field(name="count")))
SAMPLES = {"colour": ["red", "green", "blue", "black"], "count": ["1.5", "22", "31", "4"]}
OPTIONS = SsftOptions(epochs=6, batch_size=4, learning_rate=0.02, rank=2, precision="float32", device="cpu", held_out=0)


class Watched(TransformersEngine):
    """The real engine, which notes when it rests."""

    def __init__(self, model: Path) -> None:
        super().__init__(str(model), 1, "cpu")
        self.calls: list[str] = []

    def pause(self) -> None:
        self.calls.append("pause")
        super().pause()

    def resume(self) -> None:
        self.calls.append("resume")
        super().resume()


class Context:
    """A job's folder and its reports, without a database."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stages: list[str] = []
        self.cancel_at: str | None = None

    def report(self, progress: Progress) -> None:
        self.stages.append(progress.stage)
        if progress.stage == self.cancel_at:
            raise JobCancelled("cancellation was asked for")

    def sleep(self, _seconds: float) -> None:
        raise AssertionError("nobody else tunes")


@pytest.fixture
def engine(tiny_model: Path) -> Watched:
    return Watched(tiny_model)


@pytest.fixture
def context(tmp_path: Path) -> Any:
    return Context(tmp_path)


def payload(model: Path, options: SsftOptions = OPTIONS) -> RefreshPayload:
    return RefreshPayload(content=SCHEMA, samples=SAMPLES, dataset=None, model=str(model), ssft=options)


def test_a_complete_tuning_is_kept_and_not_done_again(tiny_model: Path, engine: Watched, context: Any) -> None:
    first = tuned_model(context, payload(tiny_model), SAMPLES, engine)
    assert engine.calls == ["pause", "resume"]
    assert "tune fields" in context.stages
    assert first.adapter is not None
    context.stages.clear()
    assert tuned_model(context, payload(tiny_model), SAMPLES, engine) == first
    assert engine.calls == ["pause", "resume"]
    assert context.stages == []

    other = OPTIONS.model_copy(update={"seed": 1})
    assert tuned_model(context, payload(tiny_model, other), SAMPLES, engine) != first


def test_a_damaged_adapter_is_made_again_to_the_same_bytes(tiny_model: Path, engine: Watched, context: Any) -> None:
    first = tuned_model(context, payload(tiny_model), SAMPLES, engine)
    assert first.adapter is not None
    (first.adapter / "canary.safetensors").write_bytes(b"")
    again = tuned_model(context, payload(tiny_model), SAMPLES, engine)
    assert again.adapter == first.adapter  # the name is a digest of all files
    shutil.rmtree(first.adapter)
    shutil.rmtree(context.directory / "checkpoints")
    assert tuned_model(context, payload(tiny_model), SAMPLES, engine).adapter == first.adapter


@pytest.mark.parametrize("content", ["{}", "[]", "", '{"recipe": 1}'])
def test_a_damaged_note_is_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FACTS).write_text(content)
    assert _kept(tmp_path, "recipe") is None


@pytest.mark.parametrize("failure", ["cancelled", "no samples"])
def test_the_engine_goes_on_whatever_happens(tiny_model: Path, engine: Watched, context: Any, failure: str) -> None:
    context.cancel_at = "tune fields" if failure == "cancelled" else None
    samples = {} if failure == "no samples" else SAMPLES
    with pytest.raises((JobCancelled, DataError)):
        tuned_model(context, payload(tiny_model), samples, engine)
    assert engine.calls == ["pause", "resume"]
    engine.check()


def test_without_a_tuning_nothing_rests(tiny_model: Path, engine: Watched, context: Any) -> None:
    tuned = tuned_model(context, payload(tiny_model, SsftOptions(skip=True)), {}, engine)
    assert (tuned.adapter, dict(tuned.metrics)) == (None, {})
    assert engine.calls == []


def test_the_untuned_model_may_be_the_best(tiny_model: Path, engine: Watched, context: Any) -> None:
    harmless = OPTIONS.model_copy(update={"learning_rate": 1e-12, "epochs": 1, "held_out": 0.3})
    tuned = tuned_model(context, payload(tiny_model, harmless), SAMPLES, engine)
    assert (tuned.adapter, tuned.metrics["best_epoch"]) == (None, 0)
    assert tuned_model(context, payload(tiny_model, harmless), SAMPLES, engine) == tuned
    assert engine.calls == ["pause", "resume"]
    assert np.isfinite(tuned.metrics["seconds"])
