import pytest
import torch

from llactr_core.semantics.tuning.checkpoint import State
from llactr_core.semantics.tuning.loss import Evaluation
from llactr_core.semantics.tuning.report import history_entry, macro_accuracy, merit, tuning_metrics

VALUES = [200, 20, 19, 50]


def _entry(epoch: int, accuracy: list[float | None], loss: float) -> dict[str, object]:
    return history_entry(epoch, None, Evaluation(loss, 0.5, accuracy, [[0] * 4] * 4), VALUES)


def test_the_macro_accuracy_counts_fields_with_twenty_values_of_which_some_were_judged():
    assert macro_accuracy([0.9, 0.3, 0.0, None], VALUES) == pytest.approx(0.6)
    assert macro_accuracy([None, None, 1.0, None], VALUES) is None


def test_metrics_compare_the_untuned_model_with_the_chosen_epoch():
    history = [_entry(0, [0.2, 0.0, 1.0, None], 2.0), _entry(1, [1.0, 0.5, 1.0, None], 1.0), _entry(2, [0.0] * 4, 3.0)]
    assert merit(history[1]) > merit(history[2])
    state = State(2, {}, {"a": torch.zeros(3, 2)}, 1, history, seconds=2.0, tokens=300, places=400)
    metrics = tuning_metrics(state, ("w", "x", "y", "z"), VALUES, 80, 20, torch.device("cpu"))
    assert metrics["held_out_macro_accuracy_before"] == pytest.approx(0.1)
    assert metrics["held_out_macro_accuracy"] == pytest.approx(0.75)
    assert metrics["field_accuracy"]["x"] == {"values": 20, "before": 0.0, "after": 0.5}
    assert metrics["field_accuracy"]["z"] == {"values": 50, "before": None, "after": None}
    assert (metrics["tokens_per_second"], metrics["padding"], metrics["parameters"]) == (150.0, 0.25, 6)
    assert [set(epoch) & {"confusion", "field_accuracy"} for epoch in metrics["epochs"]] == [set()] * 3
