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
CLAIMED = 10, 100  # times that reading fields is said to cost less
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
CLAIM = """
## Does reading fields cost 10 to 100 times less than reading rows?

The CPU seconds of CTRL's language model over those of LLaCTR's, from the table:

| data | CTRL : LLaCTR, here | the same on the full data | with training, on the full data | 10 to 100 times at |
| --- | --- | --- | --- | --- |
"""
ANSWER = """
At the measured size: {verdict}. There is no one ratio: LLaCTR's part stays what it is and CTRL's grows with the rows
(n / r * model), so the ratio does too. The last column has the training rows between which it is 10 to 100, by the same
formula. Only the first ratio was measured; those at {full} rows are extrapolated.
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
    return "\n".join(lines) + "\n" + claim(results, full)


def claim(results: Sequence[dict[str, Any]], full: int) -> str:
    """How much less LLaCTR's language model costs than CTRL's on each dataset that has both; empty without any."""
    lines, ratios = [], []
    for name in dict.fromkeys(one["dataset"] for one in results):
        its = {one["method"]: one for one in results if one["dataset"] == name}
        if not {"llactr", "ctrl"} <= its.keys():
            continue
        rows, ratio = its["ctrl"]["rows"], its["ctrl"]["model_s"] / its["llactr"]["model_s"]
        (total, model), (least, fields) = (extrapolated(its[method], full) for method in ("ctrl", "llactr"))
        ratios.append(ratio)
        between = " to ".join(f"{rows * times / ratio:,.0f}" for times in CLAIMED)
        here = f"{its['ctrl']['model_s']:.1f} s : {its['llactr']['model_s']:.1f} s = {ratio:.0f} at {rows:,} rows"
        lines.append(_line([name, here, f"{model / fields:.0f}", f"{total / least:.0f}", f"{between} rows"]))
    if not ratios:
        return ""
    low, high = CLAIMED
    holds = all(low <= ratio <= high for ratio in ratios)
    verdict = "yes" if holds else "not on all of them"
    return CLAIM + "\n".join(lines) + "\n" + ANSWER.format(verdict=verdict, full=f"{full:,}")


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
