"""Steps on a large table of embeddings: time, and the most memory that the process has held.

Run as a child process, since the peak of a process's memory never falls; prints one line of JSON.
"""

import argparse
import itertools
import json
import time

import torch

from benchmarks.bench.memory import peak_bytes
from llactr_core.enhancers.base import Enhancer
from llactr_core.enhancers.model import CTRModel
from llactr_core.models.base import Shape
from llactr_core.models.embedding import FeatureEmbedding
from llactr_core.models.registry import build_backbone
from llactr_core.training.adam import TableAdam
from llactr_core.training.data import Batch
from llactr_core.training.loop import train_step
from llactr_core.training.options import TrainOptions

BATCH = 4096
SKEW = 3.0  # an id is V u^3 for uniform u: a few ids are frequent and most are rare


def measure(size: int, steps: int, fields: int, width: int) -> dict[str, float]:
    """Train a DeepFM on random rows; ids of a field are skewed over its share of the table."""
    random = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    embedding = FeatureEmbedding(size, width, torch.arange(fields), True)
    model = CTRModel(embedding, build_backbone("deepfm", Shape(fields, width, (None,) * fields), {}), Enhancer())
    options = TrainOptions(width=width, enhancer="none")
    optimizer = TableAdam(model, options.learning_rate)
    share = size // fields
    started = 0.0
    for done in itertools.islice(itertools.count(), steps + 1):
        if done == 1:
            started = time.perf_counter()
        ids = (torch.rand(BATCH, fields, generator=random) ** SKEW * share).int() + torch.arange(fields) * share
        labels = torch.rand(BATCH, generator=random).round()
        train_step(model, optimizer, Batch(ids.int(), None, labels), options)
    seconds = time.perf_counter() - started
    began = time.perf_counter()
    optimizer.settle()
    settle = time.perf_counter() - began
    return {"ms": 1e3 * seconds / steps, "settle_s": settle, "peak_gib": peak_bytes() / 2**30}


def main() -> None:
    """Read what to measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--fields", type=int, default=8)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(json.dumps(measure(given.rows, given.steps, given.fields, given.width)))


if __name__ == "__main__":
    main()
