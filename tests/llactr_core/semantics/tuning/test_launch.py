"""Several processes against one: the same adapter, one writer, and nobody left behind. Real processes over Gloo."""

import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from llactr_core.errors import JobCancelled, LlactrError, OptionError
from llactr_core.progress import Progress
from llactr_core.schema import Field, Schema
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuning.checkpoint import checkpoint_path, load_state
from llactr_core.semantics.tuning.launch import run_tuning

SCHEMA = Schema(name="two", fields=(Field(name="colour"), Field(name="count"), Field(name="land")))
SAMPLES = {
    "colour": ["red", "green", "blue", "yellow", "black", "white and a little pink", "orange"],
    "count": ["12", "-3", "2000000", "31", "8", "7.25", "3"],
    "land": ["France", "Germany", "Japan", "Brazil", "the Republic of Kenya", "3", "Peru"],
}
# Seven prompts a step: the two processes have different shares, so that their gradients must be weighted.
ONE = SsftOptions(
    objective="both", epochs=3, batch_size=7, learning_rate=0.01, precision="float32", device="cpu", rank=4
)
TWO = ONE.model_copy(update={"processes": 2})
STEPS = 5  # of an epoch


def _children() -> list[psutil.Process]:
    mine = psutil.Process().children(recursive=True)
    return [child for child in mine if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.long
def test_two_processes_cancelled_and_resumed_give_the_adapter_of_one(tiny_llama: Path, tmp_path: Path):
    whole = run_tuning(str(tiny_llama), SCHEMA, SAMPLES, ONE)
    path = checkpoint_path(tmp_path, "recipe")

    def cancel(report: Progress) -> None:
        if report.step == STEPS + 2:
            raise JobCancelled("asked to stop")

    with pytest.raises(JobCancelled, match="asked to stop"):
        run_tuning(str(tiny_llama), SCHEMA, SAMPLES, TWO, cancel, path, "recipe")
    assert not _children()
    state = load_state(path, "recipe")
    assert state is not None
    assert state.epoch == 1

    reports: list[Progress] = []
    shared = run_tuning(str(tiny_llama), SCHEMA, SAMPLES, TWO, reports.append, path, "recipe")
    assert [report.step for report in reports] == list(range(STEPS + 1, 3 * STEPS + 1))
    assert reports[-1].done == 1
    assert shared.targets == whole.targets
    assert shared.metrics["processes"] == 2
    for name in ("best_epoch", "confusion", "tokens", "held_out_accuracy"):
        assert shared.metrics[name] == whole.metrics[name]
    for ours, theirs in zip(shared.metrics["epochs"], whole.metrics["epochs"], strict=True):
        assert ours["held_out_loss"] == pytest.approx(theirs["held_out_loss"], rel=1e-3)
    one, two = (np.concatenate([v.numpy().ravel() for v in t.adapter.values()]) for t in (whole, shared))
    assert one @ two / np.linalg.norm(one) / np.linalg.norm(two) > 0.9999
    assert np.abs(one - two).max() < 1e-5


def test_a_process_that_dies_ends_the_tuning_with_a_message(tiny_llama: Path):
    def kill() -> None:
        while not (children := _children()):
            time.sleep(0.02)
        children[-1].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(LlactrError, match=r"process \d of the tuning broke down"):
        run_tuning(str(tiny_llama), SCHEMA, SAMPLES, TWO)
    killer.join()
    assert not _children()


def test_more_processes_than_the_machine_has_room_for_are_refused(tiny_llama: Path):
    options = SsftOptions(batch_size=64, processes=64, device="cpu")
    with pytest.raises(OptionError, match="64 were asked for, but this machine has") as caught:
        run_tuning(str(tiny_llama), SCHEMA, SAMPLES, options)
    assert caught.value.field == "processes"


def test_weights_are_held_in_float32_on_a_cpu(tiny_llama: Path):
    adapter = run_tuning(str(tiny_llama), SCHEMA, SAMPLES, ONE.model_copy(update={"epochs": 1})).adapter
    assert {value.dtype for value in adapter.values()} == {torch.float32}
