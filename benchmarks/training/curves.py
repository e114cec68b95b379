"""How a step and an epoch of DeepFM grow: with rows, batch, vocabulary and fields."""

from pathlib import Path

from benchmarks.bench.effort import TrainingEffort
from benchmarks.bench.rows import Series
from benchmarks.training.readings import BATCH, WIDTH, ids_of, read_made, read_ours

VOCABULARY = 10**5  # ids of all fields, where fields grow


def growth(datasets: Path, effort: TrainingEffort) -> list[Series]:
    """All curves; about 3 minutes."""
    path = ids_of(datasets)
    steps = effort.curve_steps
    rows = [(n, read_ours(path, "deepfm", rows=n)["ms"] * n / BATCH / 1e3) for n in effort.by_rows]
    batch = [
        (n, read_ours(path, "deepfm", steps=max(steps * BATCH // max(n, BATCH), 2), batch=n)["ms"])
        for n in effort.by_batch
    ]
    tables = [(n, read_made(8, n, WIDTH, steps)["ms"]) for n in effort.by_vocabulary]
    fields = [(n, read_made(n, VOCABULARY, WIDTH, steps)["ms"]) for n in effort.by_fields]
    return [
        _series("DeepFM epoch, by rows", "rows of ml1m's train split", "s", rows),
        _series("DeepFM step, by batch", "rows a step", "ms", batch),
        _series("DeepFM step, by vocabulary", "ids of all fields", "ms", tables),
        _series("DeepFM step, by fields", "fields", "ms", fields),
    ]


def _series(name: str, x_label: str, y_label: str, points: list[tuple[int, float]]) -> Series:
    return Series(name, x_label, y_label, tuple((float(x), y) for x, y in points))
