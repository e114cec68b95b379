"""The plain loop is an independent writing of the same tuning: in float32 the losses agree step by step."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from benchmarks.tuning.race import OURS, PLAIN, REFERENCE, run_race
from benchmarks.tuning.subject import Subject
from llactr_core.schema import Field, Schema
from llactr_core.semantics.options import SsftOptions

SUBJECT = Subject(
    Schema(name="two", fields=(Field(name="colour"), Field(name="measured_number"))),
    {"colour": ["red", "green", "deep blue", "7"], "measured_number": ["1.5", "7", "-3.25", "100000", "0.125"]},
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_losses_are_equal_on_the_same_batches_and_every_step_is_timed():
    options = SsftOptions(epochs=1, batch_size=6, precision="float32", device="cpu")
    race = run_race(SUBJECT, options, (PLAIN, REFERENCE), same_batches=True)
    assert len(race.losses[OURS]) == 4
    for arm in (PLAIN, REFERENCE):
        np.testing.assert_allclose(race.losses[arm], race.losses[OURS], rtol=1e-3)
        assert len(race.cpu[arm]) == len(race.ratios(arm)) == 1
    assert race.losses[OURS][0] != race.losses[OURS][-1]
    assert min(seconds for times in (race.cpu, race.wall) for by_epoch in times.values() for seconds in by_epoch) > 0
    assert all(0 <= value <= 1 for value in race.accuracy.values())


def test_as_drawn_the_plain_loop_reads_the_same_prompts_in_other_batches():
    options = SsftOptions(epochs=1, batch_size=6, precision="float32", device="cpu")
    race = run_race(SUBJECT, options, (PLAIN,))
    assert len(race.losses[PLAIN]) == len(race.losses[OURS])
    assert race.losses[PLAIN] != pytest.approx(race.losses[OURS], rel=1e-3)
