"""What 8-bit products change: the test AUC of models on MovieLens-1M, by seed."""

import statistics
from pathlib import Path

import numpy as np

from benchmarks.bench.effort import ScoringEffort
from benchmarks.bench.rows import Row
from benchmarks.bulk.clicks import HIDDEN, WIDTH
from benchmarks.training.dataset import SCHEMA
from llactr_core.data.splits import open_dataset
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.data import Rows
from llactr_core.training.options import TrainOptions
from llactr_core.training.prepared import Prepared
from llactr_core.training.run import train_model
from llactr_core.training.serving import MOST_LOST, exact, with_int8


def auc_changes(backbone: str, datasets: Path, effort: ScoringEffort) -> list[Row]:
    """One backbone after an epoch, exact and rounded, for each seed; one to three minutes."""
    data = Prepared.read(open_dataset(str(datasets / "ml1m"), SCHEMA.label), SCHEMA, None, None)
    train, test = (_first(rows, effort.rounded_rows) for rows in (data.train, data.test()))
    shape = {"hidden": HIDDEN} if backbone == "deepfm" else {}
    changes, apart = [], []
    for seed in effort.rounded_seeds:
        chosen = {"backbone": backbone, "backbone_options": shape, "enhancer": "none", "seed": seed}
        options = TrainOptions.parse({"width": WIDTH, "epochs": 1, "batch_size": 4096, **chosen})
        model = train_model(data, Semantics(), options).model
        rounding = with_int8(exact(model), model, data.encoder, train, test).rounding
        if rounding is None:
            raise ValueError(f"{backbone} has nothing to round")
        changes.append(-rounding.auc_lost)
        apart.append(rounding.largest_difference)
    note = f"by seed {', '.join(f'{change:+.5f}' for change in changes)}; logits differ by {max(apart):.2f} at the most"
    spread = (min(changes), max(changes))
    name = f"{backbone} of 8-bit products, mean change of test AUC"
    return [Row(name, abs(statistics.mean(changes)), "AUC", "<=", MOST_LOST, None, note, spread)]


def _first(rows: Rows, count: int | None) -> Rows:
    return rows if count is None else rows.take(np.arange(len(rows)) < count)
