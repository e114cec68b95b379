"""`llactr evaluate`: the metrics of a bundle on labelled data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.console import AsJson, result, say

if TYPE_CHECKING:
    from llactr_core.data.read import Source

Part = Literal["train", "valid", "test", "all"]


def evaluate(
    bundle: Annotated[Path, typer.Option(help="A bundle's directory.")],
    data: Annotated[Path, typer.Option(help="A dataset file, or a folder of train, valid and test files.")],
    part: Annotated[Part, typer.Option(help="Which part; all: every row of the file.")] = "valid",
    raw: Annotated[bool, typer.Option("--raw", help="Uncalibrated scores.")] = False,
    as_json: AsJson = False,
) -> None:
    """AUC, LogLoss, ECE and predicted/true of a bundle. Choices should rest on valid, not on test."""
    import numpy as np

    from llactr_core.data.canonical import canonical_array
    from llactr_core.data.labels import label_values, require_both_classes
    from llactr_core.metrics.report import evaluate as measure
    from llactr_core.scorer import Scorer

    scorer = Scorer.load(bundle)
    label, group = scorer.schema.label or "label", scorer.schema.group
    source = _source(data, part, label)
    grouped = group is not None and group in source.columns
    labels, scores, groups = [], [], []
    numbers: dict[str | None, int] = {}
    rows = 0
    for batch in source.batches():
        labels.append(label_values(batch.column(label), label, first_row=rows + 1))
        scores.append(scorer.score(batch, raw=raw))
        rows += batch.num_rows
        if grouped:
            values = canonical_array(batch.column(group)).to_pylist()
            groups.append(np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64))
    all_labels = np.concatenate(labels) if labels else np.empty(0, np.float32)
    require_both_classes(int(all_labels.sum()), rows, label, str(data))
    metrics = measure(all_labels, np.concatenate(scores), np.concatenate(groups) if grouped else None)
    say(f"{rows} rows ({part}): " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    result({"bundle": str(bundle), "version": scorer.version, "part": part, "rows": rows, "metrics": metrics}, as_json)


def _source(data: Path, part: Part, label: str) -> "Source":
    from llactr_core.data.read import open_source, require_column
    from llactr_core.data.splits import open_dataset

    if part == "all":
        source = open_source(data)
        require_column(source, label)
        return source
    splits = open_dataset(data, label)
    return {"train": splits.train, "valid": splits.valid, "test": splits.test}[part]
