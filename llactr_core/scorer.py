"""Rows to click probabilities, from a bundle and without torch."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors import SafetensorError, safe_open

from llactr_core.bundle import (
    BIAS,
    CALIBRATION,
    EXPLANATION,
    GOLDEN,
    GRAPH,
    PAIRS,
    SCENE_GRAPH,
    SCENES,
    TABLE,
    WEIGHTS,
    Bundle,
    Json,
)
from llactr_core.calibration import Calibrator, sigmoid
from llactr_core.data.encoding import Encoded, Encoder
from llactr_core.data.values.cells import Cells
from llactr_core.data.values.json_rows import JsonReader
from llactr_core.data.vocabulary import Ids
from llactr_core.errors import BundleError, SchemaError
from llactr_core.files import mapped_tensor
from llactr_core.look_up import NO_PAIRS, Floats
from llactr_core.overlay import Added, Overlay
from llactr_core.served import ROWS_AT_ONCE, ServedModel, Weights

TOLERANCE = 1e-6

Row = Mapping[str, object]
Features: TypeAlias = Sequence[Row] | Mapping[str, Sequence[object]] | pa.Table | pa.RecordBatch
Data: TypeAlias = Features | Cells


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
        model: ServedModel,
        calibrator: Calibrator,
        terms: Terms | None = None,
    ) -> None:
        self.bundle = bundle
        self.schema = bundle.schema
        self.encoder = encoder
        self.calibrator = calibrator
        self.terms = terms
        self.reader = JsonReader(self.schema.columns)
        self.overlay: Overlay | None = None
        self._model = model
        self._bare = (model, encoder)  # without an overlay

    @classmethod
    def load(cls, path: Path) -> "Scorer":
        """Load a bundle, check every file's digest, and score its golden rows.

        Raises:
            BundleError: the bundle is damaged, of another format, or scores its golden rows differently.
        """
        bundle = Bundle.open(path)
        try:
            encoder = Encoder.load(bundle.schema, path)
            weights = _weights(bundle, encoder)
            terms = _terms(bundle)
            golden = json.loads((path / GOLDEN).read_text(encoding="utf-8"))
            rows, scores = golden["rows"], np.array(golden["scores"], np.float64)
            calibrator = _calibrator(bundle)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, SchemaError) as error:
            raise BundleError(f"cannot load the bundle {path}: {error!r}; restore or retrain it") from error
        if len(weights.table) != encoder.size or not len(rows) or scores.shape != (len(rows),):
            raise BundleError(f"the parts of the bundle {path} do not belong together; restore or retrain it")
        try:
            model = ServedModel(weights, encoder)
            scorer = cls(bundle, encoder, model, calibrator, terms)
            found = scorer.score(rows)
            scorer.score(rows * (ROWS_AT_ONCE // len(rows)))  # so that the first large request finds all memory ready
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise BundleError(f"the bundle {path} does not score: {error}; restore or retrain it") from error
        scorer._verify(found, scores)
        return scorer

    def with_overlay(self, overlay: Overlay | None) -> "Scorer":
        """A scorer of the same bundle, with all memory shared, that knows the values of an overlay too.

        It takes time and memory in proportion to the overlay's rows: about 4 microseconds and 4 c + 45 bytes each, on
        top of the overlay's own, which are about 600 more. A million rows of c = 33 are 4 s and 0.8 GB. This scorer
        stays as it is and goes on scoring meanwhile.

        Raises:
            ArtifactError: a row does not fit the bundle.
        """
        scorer = copy.copy(self)
        model, encoder = self._bare
        scorer.overlay = overlay
        scorer.encoder, scorer._model = encoder, model
        if overlay is not None and overlay.rows:
            scenes = model.weights.scenes
            scene_width = None if scenes is None else scenes.rows.table.shape[1]
            added = Added.of(overlay, encoder, model.weights.table.shape[1], scene_width)
            scorer.encoder = encoder.with_more(added.index)
            scorer._model = model.with_more(added.table, added.scenes)
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
    def precision(self) -> str:
        """Of the graph's matrix products: "fp32" or "int8"."""
        return str(self.manifest.get("precision", "fp32"))

    @property
    def nbytes(self) -> int:
        """About how much memory the loaded bundle takes, in bytes: the mapped table and vocabularies, and the graph."""
        return self._model.nbytes + self.encoder.index.nbytes

    def score(self, data: Data, *, raw: bool = False) -> npt.NDArray[np.float64]:
        """Click probabilities, float64 [B], in the order of the rows.

        Args:
            data: a sequence of mappings {column: value}, a mapping {column: values}, an Arrow table or batch, or cells
                of the schema's columns.
            raw: leave them uncalibrated.

        Raises:
            RowError: a row is no mapping or a value is nested; names row and field.
        """
        return self.probabilities(self.encode(data), raw=raw)

    def score_detailed(self, data: Features, *, raw: bool = False) -> tuple[npt.NDArray[np.float64], list[RowReport]]:
        """Probabilities [B], and a report for each row."""
        encoded = self.encode(data)
        return self.probabilities(encoded, raw=raw), self.reports(data, encoded)

    def reports(self, data: Features, encoded: Encoded) -> list[RowReport]:
        """A report for each row, [B], of the data and what it was encoded to."""
        missing, unseen = self.encoder.flags(encoded)
        columns = np.array([f.column for f in self.schema.fields], dtype=object)
        extra = self._extra(data)
        return [
            RowReport(_distinct(columns[missing[i]]), _distinct(columns[unseen[i]]), extra[i] if extra else ())
            for i in range(len(encoded))
        ]

    def logits(self, data: Data) -> npt.NDArray[np.float64]:
        """The model's logits, float64 [B], before any calibration."""
        return self.logits_of(self.encode(data))

    def encode(self, data: Data) -> Encoded:
        """The ids of the rows.

        Raises:
            RowError: a row is no mapping or a value is nested; names row and field.
        """
        if isinstance(data, Cells):
            return self.encoder.encode_cells(data)
        if isinstance(data, pa.Table | pa.RecordBatch):
            return self.encoder.encode_batch(data)
        if isinstance(data, Mapping):
            return self.encoder.encode_columns(data)
        return self.encoder.encode_rows(data)

    def _extra(self, data: Features) -> list[tuple[str, ...]]:
        known = {*self.schema.columns, self.schema.label, self.schema.group}
        if isinstance(data, pa.Table | pa.RecordBatch):
            return [tuple(sorted(set(data.schema.names) - known))] * data.num_rows
        if isinstance(data, Mapping):
            length = len(next(iter(data.values()), ()))
            return [tuple(sorted(set(data) - known))] * length
        return [tuple(sorted(set(row) - known)) for row in data]

    def probabilities(self, encoded: Encoded, *, raw: bool = False) -> npt.NDArray[np.float64]:
        """Click probabilities of encoded rows, float64 [B]."""
        logits = self.logits_of(encoded)
        return sigmoid(logits) if raw else self.calibrator.probabilities(logits)

    def logits_of(self, encoded: Encoded) -> npt.NDArray[np.float64]:
        """The logits of encoded rows, float64 [B]."""
        return self._model.logits_of(encoded)

    def row(self, number: int) -> Floats:
        """A copy of one row of the bundle's table, [c]."""
        return np.array(self._model.weights.table[number], np.float32)

    def look_up(self, ids: Ids, weights: Floats | None) -> Floats:
        """Rows of the table, summed by field: float32 [B, K, d (+ 1)], and the scene's rows behind them (+ D')."""
        return self._model.look_up(ids, weights)

    def _verify(self, found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> None:
        difference = float(np.abs(found - expected).max())
        if not difference <= TOLERANCE:
            raise BundleError(
                f"the bundle {self.bundle.path} scores its golden rows {difference:.2e} away from what was recorded "
                f"(allowed: {TOLERANCE:.0e}); retrain the model"
            )


def _weights(bundle: Bundle, encoder: Encoder) -> Weights:
    """The graph is read at once, since the bundle's folder may go while it is in memory; the table stays mapped."""
    file = bundle.path / WEIGHTS
    table = mapped_tensor(file, TABLE)
    graphs = {name: (bundle.path / name).read_bytes() for name in (GRAPH, SCENE_GRAPH) if (bundle.path / name).exists()}
    if bundle.format_version < 3:  # the graph takes whole rows of the table, and is all of the logit
        return Weights(table, table.shape[1], NO_PAIRS, 0.0, graphs.get(GRAPH))
    with safe_open(file, "numpy") as tensors:
        beside = {name: tensors.get_tensor(name) for name in (BIAS, PAIRS, SCENES) if name in tensors.keys()}  # noqa: SIM118
    width = int(bundle.manifest["options"]["width"])  # type: ignore[index]
    return Weights.of(table, beside, width, graphs, encoder)


def _terms(bundle: Bundle) -> Terms | None:
    """None where the bundle was written without."""
    files = bundle.manifest["files"]
    if not (isinstance(files, dict) and EXPLANATION in files):
        return None
    with safe_open(bundle.path / WEIGHTS, "numpy") as tensors:
        bias = float(tensors.get_tensor(BIAS))
    return Terms((bundle.path / EXPLANATION).read_bytes(), bias)


def _calibrator(bundle: Bundle) -> Calibrator:
    if bundle.format_version == 1:
        return Calibrator("none")
    return Calibrator.of_json(json.loads((bundle.path / CALIBRATION).read_text(encoding="utf-8")))


def _distinct(names: npt.NDArray[np.object_]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names.tolist()))
