"""Rows of text fields with skewed values, streamed to Parquet, and a DeepFM+LLaCTR bundle that knows them."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from llactr_core.calibration import sigmoid
from llactr_core.data.splits import open_dataset
from llactr_core.progress import silent
from llactr_core.schema import Field, Schema
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle

FIELDS = 13
SKEW = 1.05  # the n-th most frequent value is n ** -SKEW as frequent as the first
AT_ONCE = 100_000
ROWS = 10_000  # that train has at least
WIDTH, HIDDEN = 32, [300, 300, 128]
EFFECT = 0.4  # of a value on the logit of a click, its standard deviation


class Clicks:
    """A source of random rows; the same seed gives the same rows."""

    def __init__(self, values: int = 100_000, seed: int = 0, fields: int = FIELDS) -> None:
        self.values = values
        self._random = np.random.default_rng(seed)
        self._names = [f"field_{k}" for k in range(fields)]
        numbers = np.random.default_rng(0).permutation(values)
        self._values = [pa.array([f"{name[6:]}_{number * 7919:x}" for number in numbers]) for name in self._names]
        shares = np.cumsum(np.arange(1, values + 1) ** -SKEW)
        self._shares = shares / shares[-1]
        self._effects = np.random.default_rng(1).normal(scale=EFFECT, size=values)

    @property
    def schema(self) -> Schema:
        """The fields keep every value."""
        most = len(self._shares)
        fields = tuple(Field(name=name, min_count=1, max_vocabulary=most) for name in self._names)
        return Schema(name="clicks", label="click", fields=fields)

    def write(self, path: Path, rows: int, *, every_value: bool = False) -> Path:
        """Write a Parquet file with a label; `every_value` lets its first rows have each value once."""
        schema = pa.schema([*((name, pa.string()) for name in self._names), ("click", pa.int64())])
        with parquet.ParquetWriter(path, schema) as writer:
            for start in range(0, rows, AT_ONCE):
                drawn = [self._drawn(start, min(AT_ONCE, rows - start), every_value) for _ in self._names]
                columns = [values.take(pa.array(its)) for values, its in zip(self._values, drawn, strict=True)]
                chances = sigmoid(np.sum([self._effects[its] for its in drawn], axis=0))
                clicks = pa.array((self._random.random(len(chances)) < chances).astype(np.int64))
                writer.write_batch(pa.record_batch([*columns, clicks], schema=schema))
        return path

    def _drawn(self, start: int, rows: int, every_value: bool) -> npt.NDArray[np.int64]:
        drawn = np.searchsorted(self._shares, self._random.random(rows))
        if every_value:
            place = np.arange(start, start + rows)
            drawn = np.where(place < self.values, place, drawn)
        return drawn


def bundle_of(
    clicks: Clicks, folder: Path, backbone: str = "deepfm", enhancer: str = "llactr", precision: str = "fp32"
) -> Path:
    """The bundle in a folder, trained for one epoch if it is not there yet.

    Raises:
        ValueError: it cannot be served in this precision.
    """
    if (folder / "bundle").exists():
        return folder / "bundle"
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    clicks.write(data / "train.parquet", max(clicks.values * 13 // 10, ROWS), every_value=True)
    clicks.write(data / "valid.parquet", 5_000)
    clicks.write(data / "test.parquet", 1_000)
    names = clicks.schema.names
    vectors = np.random.default_rng(0).normal(size=(len(names), 64)).astype(np.float32)
    table = FieldTable(names, vectors, "random", "random", {"options": {"sam_num": 1, "epochs": 1}})
    shape = {"hidden": HIDDEN} if backbone == "deepfm" else {}
    chosen = {"backbone": backbone, "backbone_options": shape, "enhancer": enhancer, "served_precision": precision}
    options = TrainOptions.parse({"width": WIDTH, "epochs": 1, "batch_size": 4096, "calibration": "none", **chosen})
    splits = open_dataset(data, "click")
    place, checkpoints = folder / "bundle", folder / "checkpoints"
    bundle = train_bundle(splits, clicks.schema, Semantics(table), options, place, checkpoints, silent)
    if bundle.manifest["precision"] != precision:
        raise ValueError(f"{backbone} is not served in {precision}: {bundle.metrics['rounding']}")
    for spent in (data, checkpoints):
        shutil.rmtree(spent)
    return folder / "bundle"
