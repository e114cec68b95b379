"""Rows to click probabilities, from a bundle and without torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors import SafetensorError, safe_open

from llactr_core.bundle import CALIBRATION, EXPLANATION, GOLDEN, GRAPH, WEIGHTS, Bundle, Json
from llactr_core.calibration import Calibrator, sigmoid
from llactr_core.data.encoding import Encoded, Encoder
from llactr_core.errors import BundleError, SchemaError
from llactr_core.session import open_session

TOLERANCE = 1e-6
ROWS_AT_ONCE = 1024
BYTES_PER_VALUE = 220  # a vocabulary's value in memory: the text, its place in a dict, its count

Row = Mapping[str, object]
Data: TypeAlias = Sequence[Row] | Mapping[str, Sequence[object]] | pa.Table | pa.RecordBatch


@dataclass(frozen=True)
class RowReport:
    """Columns of a row without a value, with a value that train did not know, and outside of the schema."""

    missing: tuple[str, ...]
    unseen: tuple[str, ...]
    extra: tuple[str, ...]


@dataclass(frozen=True)
class Terms:
    """What explains a bundle: the graph of the logit's terms, and the constant w_0."""

    graph: bytes
    bias: float


class Scorer:
    """Scores rows with one loaded bundle; safe to share between threads.

    A column that a row lacks, null, NaN and the empty text are missing; a value that train did not know is unseen;
    both are ids that were trained. Columns that the schema does not name are ignored.
    """

    def __init__(
        self,
        bundle: Bundle,
        encoder: Encoder,
        table: npt.NDArray[np.float32],
        graph: bytes,
        calibrator: Calibrator,
        terms: Terms | None = None,
    ) -> None:
        self.bundle = bundle
        self.schema = bundle.schema
        self.encoder = encoder
        self.calibrator = calibrator
        self.terms = terms
        self._table = table
        self._graph_bytes = len(graph)
        self._session = open_session(graph)

    @classmethod
    def load(cls, path: Path) -> "Scorer":
        """Load a bundle, check every file's digest, and score its golden rows.

        Raises:
            BundleError: the bundle is damaged, of another format, or scores its golden rows differently.
        """
        bundle = Bundle.open(path)
        try:
            encoder = Encoder.load(bundle.schema, path)
            with safe_open(path / WEIGHTS, "numpy") as file:
                table = file.get_tensor("embedding.table")
                terms = _terms(bundle, file)
            golden = json.loads((path / GOLDEN).read_text(encoding="utf-8"))
            rows, scores = golden["rows"], np.array(golden["scores"], np.float64)
            graph = (path / GRAPH).read_bytes()
            calibrator = _calibrator(bundle)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, SchemaError) as error:
            raise BundleError(f"cannot load the bundle {path}: {error!r}; restore or retrain it") from error
        if len(table) != encoder.size or not len(rows) or scores.shape != (len(rows),):
            raise BundleError(f"the parts of the bundle {path} do not belong together; restore or retrain it")
        try:
            scorer = cls(bundle, encoder, table, graph, calibrator, terms)
            found = scorer.score(rows)
            scorer.score(rows * (ROWS_AT_ONCE // len(rows)))  # so that the first large request finds all memory ready
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise BundleError(f"the bundle {path} does not score: {error}; restore or retrain it") from error
        scorer._verify(found, scores)
        return scorer

    @property
    def version(self) -> str:
        """The bundle's version."""
        return self.bundle.version

    @property
    def manifest(self) -> Json:
        """The bundle's manifest."""
        return self.bundle.manifest

    @property
    def nbytes(self) -> int:
        """About how much memory the loaded bundle takes, in bytes: the table, the graph, and the vocabularies."""
        return self._table.nbytes + 3 * self._graph_bytes + self.encoder.size * BYTES_PER_VALUE

    def score(self, data: Data, *, raw: bool = False) -> npt.NDArray[np.float64]:
        """Click probabilities, float64 [B], in the order of the rows.

        Args:
            data: a sequence of mappings {column: value}, a mapping {column: values}, or an Arrow table or batch.
            raw: leave them uncalibrated.

        Raises:
            RowError: a row is no mapping or a value is nested; names row and field.
        """
        return self._probabilities(self.encode(data), raw)

    def score_detailed(self, data: Data, *, raw: bool = False) -> tuple[npt.NDArray[np.float64], list[RowReport]]:
        """Probabilities [B], and a report for each row."""
        encoded = self.encode(data)
        missing, unseen = self.encoder.flags(encoded)
        columns = np.array([f.column for f in self.schema.fields], dtype=object)
        extra = self._extra(data)
        reports = [
            RowReport(_distinct(columns[missing[i]]), _distinct(columns[unseen[i]]), extra[i] if extra else ())
            for i in range(len(encoded))
        ]
        return self._probabilities(encoded, raw), reports

    def logits(self, data: Data) -> npt.NDArray[np.float64]:
        """The model's logits, float64 [B], before any calibration."""
        return self.logits_of(self.encode(data))

    def encode(self, data: Data) -> Encoded:
        """The ids of the rows.

        Raises:
            RowError: a row is no mapping or a value is nested; names row and field.
        """
        if isinstance(data, pa.Table | pa.RecordBatch):
            return self.encoder.encode_batch(data)
        if isinstance(data, Mapping):
            return self.encoder.encode_columns(data)
        return self.encoder.encode_rows(data)

    def _extra(self, data: Data) -> list[tuple[str, ...]]:
        known = {*self.schema.columns, self.schema.label, self.schema.group}
        if isinstance(data, pa.Table | pa.RecordBatch):
            return [tuple(sorted(set(data.schema.names) - known))] * data.num_rows
        if isinstance(data, Mapping):
            length = len(next(iter(data.values()), ()))
            return [tuple(sorted(set(data) - known))] * length
        return [tuple(sorted(set(row) - known)) for row in data]

    def _probabilities(self, encoded: Encoded, raw: bool) -> npt.NDArray[np.float64]:
        logits = self.logits_of(encoded)
        return sigmoid(logits) if raw else self.calibrator.probabilities(logits)

    def logits_of(self, encoded: Encoded) -> npt.NDArray[np.float64]:
        """The logits of encoded rows, float64 [B]."""
        logits = np.empty(len(encoded), np.float32)
        for start in range(0, len(encoded), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            weights = None if encoded.weights is None else encoded.weights[part]
            (logits[part],) = self._session.run(None, {"rows": self.look_up(encoded.ids[part], weights)})
        return logits.astype(np.float64)

    def look_up(self, ids: npt.NDArray[np.int32], weights: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32]:
        """Rows of the table, summed by field: float32 [B, K, d (+ 1)]."""
        rows = self._table[ids]  # [B, S, d (+ 1)]
        if weights is None:
            return rows
        return np.add.reduceat(rows * weights[:, :, None], self.encoder.first_slots, axis=1)

    def _verify(self, found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> None:
        difference = float(np.abs(found - expected).max())
        if not difference <= TOLERANCE:
            raise BundleError(
                f"the bundle {self.bundle.path} scores its golden rows {difference:.2e} away from what was recorded "
                f"(allowed: {TOLERANCE:.0e}); retrain the model"
            )


def _terms(bundle: Bundle, weights: Any) -> Terms | None:
    """Read at once, since the bundle's folder may go while it is in memory; None where it was written without."""
    files = bundle.manifest["files"]
    if not (isinstance(files, dict) and EXPLANATION in files):
        return None
    return Terms((bundle.path / EXPLANATION).read_bytes(), float(weights.get_tensor("bias")))


def _calibrator(bundle: Bundle) -> Calibrator:
    if bundle.format_version == 1:
        return Calibrator("none")
    return Calibrator.of_json(json.loads((bundle.path / CALIBRATION).read_text(encoding="utf-8")))


def _distinct(names: npt.NDArray[np.object_]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names.tolist()))
