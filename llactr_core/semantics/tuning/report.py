"""What a tuning measured: one entry per epoch, the epoch's merit, and the metrics of the whole."""

import resource
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from llactr_core.semantics.tuning.checkpoint import State
from llactr_core.semantics.tuning.loss import Evaluation

MACRO_LEAST = 20  # distinct sampled values that a field needs to count in the macro accuracy


def history_entry(
    epoch: int, train_loss: float | None, evaluation: Evaluation, values: Sequence[int]
) -> dict[str, Any]:
    """The entry of an epoch; epoch 0 is the untuned model, without a training loss. `values`: distinct, per field."""
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        "held_out_loss": evaluation.loss,
        "held_out_accuracy": evaluation.accuracy,
        "held_out_macro_accuracy": macro_accuracy(evaluation.field_accuracy, values),
        "field_accuracy": evaluation.field_accuracy,
        "confusion": evaluation.confusion,
    }


def macro_accuracy(field_accuracy: Sequence[float | None], values: Sequence[int]) -> float | None:
    """The mean over fields with at least MACRO_LEAST distinct sampled values, some of them judged; None without any."""
    counted = [
        accuracy
        for accuracy, count in zip(field_accuracy, values, strict=True)
        if accuracy is not None and count >= MACRO_LEAST
    ]
    return sum(counted) / len(counted) if counted else None


def merit(entry: Mapping[str, Any]) -> tuple[float, float]:
    """What the epoch is chosen by: accuracy on the held-out values, then their loss."""
    return entry["held_out_accuracy"], -entry["held_out_loss"]


def tuning_metrics(
    state: State, names: Sequence[str], values: Sequence[int], train: int, held_out: int, device: torch.device
) -> dict[str, Any]:
    """Losses, held-out accuracy before and after, per field, confusion [K, K], time, speed, padding and memory.

    Args:
        state: after the last epoch.
        names: of the K fields.
        values: number of distinct sampled values of each field.
        train: number of distinct values trained on.
        held_out: number of distinct values held out; 0 where the training values themselves were judged.
        device: that it ran on.
    """
    before, best = state.history[0], state.history[state.best_epoch]
    measures = ("held_out_accuracy", "held_out_macro_accuracy", "held_out_loss")
    by_field = zip(names, values, before["field_accuracy"], best["field_accuracy"], strict=True)
    large = ("confusion", "field_accuracy")
    return {
        **{f"{name}_before": before[name] for name in measures},
        **{name: best[name] for name in measures},
        "field_accuracy": {
            name: {"values": count, "before": first, "after": last} for name, count, first, last in by_field
        },
        "best_epoch": state.best_epoch,
        "epochs": [{key: value for key, value in entry.items() if key not in large} for entry in state.history],
        "confusion": {"fields": list(names), "counts": best["confusion"]},
        "judged_on": "held-out values" if held_out else "training values",
        "train_values": train,
        "held_out_values": held_out,
        "parameters": sum(value.numel() for value in state.best.values()),
        "seconds": round(state.seconds, 3),
        "tokens": state.tokens,
        "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9), 1),
        "padding": round(1 - state.tokens / max(state.places, 1), 4),
        "peak_memory_mib": _peak_memory_mib(device),
        "device": device.type,
    }


def _peak_memory_mib(device: torch.device) -> float:
    """Of the GPU's allocator, or of the whole process on a CPU."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
