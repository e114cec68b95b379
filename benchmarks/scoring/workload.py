"""What is scored: models of text fields with vocabularies of skewed values, and fresh requests for them."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from benchmarks.bulk.clicks import FIELDS, Clicks, bundle_of
from benchmarks.scoring.load import write_bodies

UNSEEN_EVERY = 50  # rows: one value of it is unknown
REQUESTS = {1: 5_000, 10: 1_000, 100: 400, 1000: 60}


@dataclass(frozen=True)
class Workload:
    """Where models and requests are kept between runs; values of each field, and fields."""

    folder: Path
    values: int = 100_000
    fields: int = FIELDS

    @property
    def size(self) -> str:
        """Fields and values as they stand in the names of files."""
        return f"{self.fields}x{self.values}"

    def bundle(self, backbone: str = "deepfm", enhancer: str = "llactr", precision: str = "fp32") -> Path:
        """The bundle of a backbone with 32 wide embeddings; DeepFM has hidden layers of 300, 300 and 128."""
        home = self.folder / f"{backbone}-{enhancer}-{precision}-{self.size}"
        return bundle_of(self._clicks(0), home, backbone, enhancer, precision)

    def rows(self, count: int, seed: int) -> pa.Table:
        """So many random rows, without a label."""
        with tempfile.TemporaryDirectory() as folder:
            table = parquet.read_table(self._clicks(seed).write(Path(folder) / "rows.parquet", count)).drop(["click"])
        name = table.column_names[0]
        texts = [f"new_{i}" if i % UNSEEN_EVERY == 0 else text for i, text in enumerate(table[name].to_pylist())]
        return table.set_column(0, name, pa.array(texts))

    def json_bodies(self, rows: int) -> Path:
        """A file of JSON requests with so many rows each."""
        return self._bodies(f"json-{rows}", rows, _json)

    def arrow_bodies(self, rows: int) -> Path:
        """A file of Arrow requests with so many rows each; the rows are those of `json_bodies`."""
        return self._bodies(f"arrow-{rows}", rows, _arrow)

    def _bodies(self, name: str, rows: int, encode: Callable[[pa.Table], bytes]) -> Path:
        path = self.folder / f"{name}-{self.size}"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            many = REQUESTS[rows]
            table = self.rows(many * rows, seed=rows)
            write_bodies(path, [encode(table.slice(i * rows, rows)) for i in range(many)])
        return path

    def _clicks(self, seed: int) -> Clicks:
        return Clicks(self.values, seed, self.fields)


def _json(table: pa.Table) -> bytes:
    return json.dumps({"rows": table.to_pylist()}, separators=(",", ":")).encode()


def _arrow(table: pa.Table) -> bytes:
    sink = BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue()
