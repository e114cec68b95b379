"""The simulated takeaway log, small, with vectors of its scenes that say how hot, wet and busy they are."""

from pathlib import Path

import numpy as np
import yaml

from llactr_core import datasets
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.datasets.takeaway import SCENE_PARTS, simulate_takeaway
from llactr_core.schema import Schema
from llactr_core.semantics.values.table import ValueTable
from llactr_core.training.options import TrainOptions

WIDE = 12
LATE_WEATHER = ("scorching heat wave", "freezing blizzard")
LARR = TrainOptions.parse(
    {
        "backbone": "deepfm",
        "backbone_options": {"hidden": [16]},
        "enhancer": "larr",
        "larr": {"width": 8, "heads": 2, "pretrain_epochs": 0, "contrast_epochs": 0},
        "width": 4,
        "batch_size": 256,
        "learning_rate": 0.01,
        "epochs": 4,
        "held_out": 0,
    }
)


def takeaway(folder: Path, rows: int = 6000) -> tuple[Splits, Schema]:
    made = simulate_takeaway(folder, rows)
    return open_dataset(folder, "click"), Schema.load(made.schema)


def world() -> dict[str, dict[str, dict[str, float]]]:
    file = Path(str(datasets.__file__)).parent / "simulated" / "takeaway.yaml"
    content: dict[str, dict[str, dict[str, float]]] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content


def scene_table(*, with_late: bool = True, seed: int = 0) -> ValueTable:
    """Unit vectors: of a weather by its heat and wetness, of the other scenes at random."""
    random = np.random.default_rng(seed)
    mix = random.normal(size=(2, WIDE))
    names, vectors = [], []
    for part in SCENE_PARTS:
        its = world()[part]
        chosen = [n for n in its if with_late or not (isinstance(its, dict) and its[n].get("late"))]
        names.append(tuple(chosen))
        for name in chosen:
            felt = [its[name]["heat"], its[name]["wet"]] @ mix if part == "weather" else random.normal(size=WIDE)
            vectors.append(felt + 0.1 * random.normal(size=WIDE))
    rows = np.array(vectors)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return ValueTable(SCENE_PARTS, tuple(names), rows.astype(np.float32), "m", f"r{seed}")
