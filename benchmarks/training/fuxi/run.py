"""Milliseconds a step of FuxiCTR's own training loop, with its data loader or with tensors that are there already.

Run as a file by the Python of FuxiCTR's environment; prints one line of JSON.
"""

import argparse
import itertools
import json
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from fuxictr.features import FeatureMap  # type: ignore[import-not-found]
from fuxictr.pytorch.dataloaders import RankDataLoader  # type: ignore[import-not-found]
from models import MODELS, Inputs  # type: ignore[import-not-found]

WARM_UP = 5  # steps that are not timed


class Timed:
    """Some batches; notes when the first that counts was asked for, and when the last one was done."""

    def __init__(self, batches: Iterable[Inputs], steps: int) -> None:
        self.batches = batches
        self.steps = steps
        self.wall = self.cpu = 0.0

    def __iter__(self) -> Iterator[Inputs]:
        """WARM_UP + steps batches."""
        for done, batch in enumerate(itertools.islice(self.batches, WARM_UP + self.steps)):
            if done == WARM_UP:
                self.wall, self.cpu = time.perf_counter(), time.process_time()
            yield batch
        self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu


def resident(columns: Inputs, size: int) -> Iterator[Inputs]:
    """Shuffled batches out of tensors in memory."""
    order = torch.randperm(len(next(iter(columns.values()))))
    for start in range(0, len(order), size):
        which = order[start : start + size]
        yield {name: column[which] for name, column in columns.items()}


def measure(path: Path, name: str, loader: str, size: int, width: int, steps: int) -> dict[str, float]:
    """Train for some steps; milliseconds of wall and of CPU time (the loader's process in it) a step."""
    with np.load(path) as arrays:
        starts = np.concatenate([[0], np.cumsum(arrays["sizes"])[:-1]])
        ids, labels, sizes = arrays["train"] - starts, arrays["train_labels"].astype(np.int64), arrays["sizes"]
    feature_map = FeatureMap("ml1m", ".")
    for number, count in enumerate(sizes.tolist()):
        feature_map.features[f"f{number}"] = {"type": "categorical", "source": "", "vocab_size": count}
    feature_map.labels, feature_map.num_fields, feature_map.total_features = ["label"], len(sizes), int(sizes.sum())
    feature_map.set_column_index()
    columns = {f"f{number}": column for number, column in enumerate(ids.T)} | {"label": labels}
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        model = MODELS[name](feature_map, width, 1e-3, folder)
        np.savez(f"{folder}/train.npz", **columns)
        if loader == "own":
            batches, _ = RankDataLoader(feature_map, "train", f"{folder}/train.npz", batch_size=size)
        else:
            batches = resident({key: torch.from_numpy(column.copy()) for key, column in columns.items()}, size)
        # What BaseModel.fit sets before its epochs; there is no evaluation within the timed steps.
        model._max_gradient_norm, model._total_steps, model._eval_steps = 10.0, 0, 10**9
        model._stop_training = False
        timed = Timed(batches, steps)
        model.train_epoch(timed)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        loaders = (children.ru_utime + children.ru_stime) if loader == "own" else 0.0
    return {"ms": 1e3 * timed.wall / steps, "cpu_ms": 1e3 * (timed.cpu / steps + loaders / (steps + WARM_UP))}


def main() -> None:
    """Read what to measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", type=Path)
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("--loader", choices=("own", "resident"), default="own")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(json.dumps(measure(given.ids, given.model, given.loader, given.batch, given.width, given.steps)))


if __name__ == "__main__":
    main()
