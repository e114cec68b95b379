"""Two trained versions of one model, requests of one and of a hundred rows, and the scores that each version gives."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llactr_core.bundle import Bundle
from llactr_core.data.splits import open_dataset
from llactr_core.progress import silent
from llactr_core.schema import Schema
from llactr_core.scorer import Scorer
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle

FIELDS = [f"field_{number}" for number in range(13)]
VALUES = 500
MANY_ROWS = 100
MODEL = "soak"


def trained(folder: Path, rows: int = 8000) -> list[Bundle]:
    """Two versions of DeepFM over 13 fields of 500 values, trained for one epoch on random rows."""
    data = folder / "data"
    data.mkdir()
    for seed, split in enumerate(("train", "valid", "test")):
        random = np.random.default_rng(seed)
        columns: dict[str, Any] = {
            name: [_value(name, number) for number in random.integers(0, VALUES, rows)] for name in FIELDS
        }
        pq.write_table(
            pa.table({**columns, "click": (random.random(rows) < 0.3).astype(int)}), data / f"{split}.parquet"
        )
    schema = Schema.parse({"name": MODEL, "label": "click", "fields": [{"name": name} for name in FIELDS]})
    shape = {"epochs": 1, "width": 32, "batch_size": 1024, "backbone": "deepfm", "enhancer": "none"}
    return [
        train_bundle(
            open_dataset(data, "click"),
            schema,
            Semantics(),
            TrainOptions.parse({**shape, "seed": seed}),
            folder / f"bundle-{seed}",
            folder / f"checkpoints-{seed}",
            silent,
        )
        for seed in (0, 1)
    ]


def bodies(count: int, rows: int) -> list[list[dict[str, str]]]:
    """The rows of so many requests, the same in every run."""
    random = np.random.default_rng(rows)
    return [
        [{name: _value(name, number) for name, number in zip(FIELDS, row, strict=True)} for row in request]
        for request in random.integers(0, VALUES, (count, rows, len(FIELDS)))
    ]


def as_json(rows: list[dict[str, str]]) -> bytes:
    """The body of a scoring request."""
    return json.dumps({"rows": rows}).encode()


@dataclass(frozen=True)
class Truth:
    """What each version says about each request: float64 [rows] by version, in the order of the requests."""

    scores: dict[str, list[Any]]

    @classmethod
    def of(cls, bundles: Sequence[Bundle], requests: Sequence[list[dict[str, str]]]) -> "Truth":
        """Score the requests with every version, in this process."""
        scorers = {bundle.version: Scorer.load(bundle.path) for bundle in bundles}
        return cls({name: [one.score(rows) for rows in requests] for name, one in scorers.items()})

    def is_right(self, request: int, version: str, scores: Sequence[float]) -> bool:
        """Whether these are the named version's scores of a request, to 1e-6."""
        known = self.scores.get(version)
        if known is None or len(known[request]) != len(scores):
            return False
        return bool(np.allclose(known[request], scores, rtol=0.0, atol=1e-6))

    def wrong(self, answers: Sequence[dict[str, Any]]) -> list[str]:
        """The distinct answers of load.c with status 200 that are not what the version that they name says."""
        wrong = []
        for answer in answers:
            if answer["status"] == 200:
                said = said_of(answer)
                if not self.is_right(answer["body"], said["model"]["version"], said["scores"]):
                    wrong.append(answer["text"])
        return wrong


def said_of(answer: dict[str, Any]) -> dict[str, Any]:
    """What an answer says up to its request's id, where load.c cuts it off."""
    said: dict[str, Any] = json.loads(answer["text"].rstrip().rstrip(",") + "}")
    return said


def _value(name: str, number: int) -> str:
    return f"value_{name}_{number}"
