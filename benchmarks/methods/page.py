"""docs/methods-measured.md: the table, and what the full data would cost."""

from collections.abc import Sequence
from typing import Any

NAMES = {"plain": "plain", "llactr": "LLaCTR", "ctrl": "CTRL", "larr": "LARR"}
FORMULAS = {
    "plain": "n / r * training",
    "llactr": "model + n / r * training",
    "ctrl": "n / r * (model + training)",
    "larr": "model + n / r * training",
}
HEAD = """# What the methods cost and what they bring

Written by `make methods`; [methods.md](methods.md) explains them. DeepFM, MiniLM, one thread of a CPU; every method in
a process of its own, with the same training rows, and with the same {trials} trials, of which validation chooses; AUC
and LogLoss are those of the chosen one on test, after calibration. CTRL's trials share one alignment, whose options are
not searched. One run each, so that small differences say nothing; `llactr prove` has seeds and intervals.

Model and training are CPU seconds: all that the language model does, and one training with the default options. Wall
is that of everything, with all trials. The last columns extrapolate to {full} rows: the language model of LLaCTR and
LARR reads a bounded number of values, items and pairs, however many rows there are (r = rows here, n = rows there);
CTRL's reads every row.
"""
COLUMNS = (
    *("data", "method", "model s", "training s", "wall s", "peak MiB", "AUC", "LogLoss"),
    *("formula", "hours on the full data", "of which model"),
)


def written(results: Sequence[dict[str, Any]], full: int) -> str:
    """The page, from what was measured."""
    lines = [HEAD.format(trials=max(one["trials"] for one in results), full=f"{full:,}")]
    lines += [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line(_cells(one, full)) for one in results]
    return "\n".join(lines) + "\n"


def extrapolated(one: dict[str, Any], full: int) -> tuple[float, float]:
    """CPU seconds of one training on so many rows with all that goes before it, and the language model's part."""
    grown = full / one["rows"]
    model = one["model_s"] * (grown if one["method"] == "ctrl" else 1.0)
    model = 0.0 if one["method"] == "plain" else model
    return model + grown * one["training_s"], model


def _cells(one: dict[str, Any], full: int) -> list[str]:
    total, model = extrapolated(one, full)
    return [
        one["dataset"],
        NAMES[one["method"]],
        "0" if one["method"] == "plain" else f"{one['model_s']:.1f}",
        f"{one['training_s']:.1f}",
        f"{one['wall_s']:.1f}",
        f"{one['peak_mib']:.0f}",
        f"{one['auc']:.4f}",
        f"{one['logloss']:.4f}",
        FORMULAS[one["method"]],
        f"{total / 3600:.2f}",
        f"{model / 3600:.2f}",
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
