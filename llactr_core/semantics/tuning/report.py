"""What a tuning measured: one entry per epoch, the epoch's merit, and the metrics of the whole."""

import resource
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from llactr_core.semantics.tuning.checkpoint import State
from llactr_core.semantics.tuning.loss import Evaluation


def history_entry(epoch: int, train_loss: float | None, evaluation: Evaluation) -> dict[str, Any]:
    """The entry of an epoch; epoch 0 is the untuned model, without a training loss."""
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        "held_out_loss": evaluation.loss,
        "held_out_accuracy": evaluation.accuracy,
        "held_out_balanced_accuracy": evaluation.balanced_accuracy,
        "confusion": evaluation.confusion,
    }


def merit(entry: Mapping[str, Any]) -> tuple[float, float]:
    """What the epoch is chosen by: accuracy on the held-out values, then their loss."""
    return entry["held_out_accuracy"], -entry["held_out_loss"]


def tuning_metrics(
    state: State, names: Sequence[str], train: int, held_out: int, device: torch.device
) -> dict[str, Any]:
    """Losses, held-out field accuracy before and after, confusion [K, K], time, speed and memory of a tuning.

    Args:
        state: after the last epoch.
        names: of the K fields.
        train: number of distinct values trained on.
        held_out: number of distinct values held out; 0 where the training values themselves were judged.
        device: that it ran on.
    """
    before, best = state.history[0], state.history[state.best_epoch]
    measures = ("held_out_accuracy", "held_out_balanced_accuracy", "held_out_loss")
    return {
        **{f"{name}_before": before[name] for name in measures},
        **{name: best[name] for name in measures},
        "best_epoch": state.best_epoch,
        "epochs": [{key: value for key, value in entry.items() if key != "confusion"} for entry in state.history],
        "confusion": {"fields": list(names), "counts": best["confusion"]},
        "judged_on": "held-out values" if held_out else "training values",
        "train_values": train,
        "held_out_values": held_out,
        "parameters": sum(value.numel() for value in state.best.values()),
        "seconds": round(state.seconds, 3),
        "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9), 1),
        "peak_memory_mib": _peak_memory_mib(device),
        "device": device.type,
    }


def _peak_memory_mib(device: torch.device) -> float:
    """Of the GPU's allocator, or of the whole process on a CPU."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
