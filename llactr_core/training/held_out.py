"""The valid rows of a run: what stops it, what calibrates it, and what it is judged on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llactr_core.calibration import Calibrator
from llactr_core.data.encoding import Encoder
from llactr_core.data.holdout import CALIBRATION, GATE, STOPPING, gate_rows, held_out_parts
from llactr_core.data.read import Source
from llactr_core.data.reference import Reference
from llactr_core.metrics.report import evaluate
from llactr_core.schema import Schema
from llactr_core.training.calibrate import calibrate
from llactr_core.training.data import Rows
from llactr_core.training.options import TrainOptions

MOST_GATE_ROWS = 20_000
Logits = Callable[[Rows], npt.NDArray[np.float64]]  # [B], before calibration


@dataclass(frozen=True)
class HeldOut:
    """The valid rows in parts. Where they are too few for parts of both classes, every part is all of them.

    Args:
        stopping: the rows of early stopping.
        calibration: the rows of the calibration; None where nothing is calibrated.
        judging: the gate's rows; None where none are kept.
        share: the share that was held out from early stopping; 0 where there are no parts.
    """

    stopping: Rows
    calibration: Rows | None
    judging: Rows | None
    share: float

    @classmethod
    def of(cls, valid: Rows, share: float) -> "HeldOut":
        """The parts of the valid rows."""
        if share == 0:
            return cls(valid, None, None, 0.0)
        part = held_out_parts(0, len(valid), share)
        stopping, calibration, judging = (valid.take(part == number) for number in (STOPPING, CALIBRATION, GATE))
        if all(0 < float(rows.labels.sum()) < len(rows) for rows in (stopping, calibration, judging)):
            return cls(stopping, calibration, judging, share)
        return cls(valid, None, valid, 0.0)

    def fitted(self, logits_of: Logits, options: TrainOptions) -> Calibrator:
        """The calibration of a model with these logits."""
        if self.calibration is None:
            return Calibrator()
        return calibrate(logits_of(self.calibration), self.calibration.labels.numpy(), options.calibration)

    def measured(self, logits_of: Logits, calibrator: Calibrator) -> dict[str, object]:
        """The metrics on the gate's rows, calibrated and before; empty where there are none."""
        if self.judging is None:
            return {}
        logits = logits_of(self.judging)
        labels, groups = self.judging.labels.numpy(), self.judging.groups
        after = evaluate(labels, calibrator.probabilities(logits), groups)
        before = evaluate(labels, Calibrator().probabilities(logits), groups)
        counts = {"rows": len(labels), "clicks": int(labels.sum()), "is_independent": self.share > 0}
        return {**after, **counts, "calibration": calibrator.method, "uncalibrated": before}

    def reference(self, logits_of: Logits, calibrator: Calibrator, encoder: Encoder) -> Reference:
        """The histograms of the rows that training did not see."""
        rows = self.judging or self.stopping
        scores = calibrator.probabilities(logits_of(rows))
        return Reference.measure(encoder, rows.encoded, scores)

    def rows_as_they_came(self, valid: Source, schema: Schema) -> pa.Table | None:
        """The gate's rows with the schema's columns, the label and the group; None where there are none."""
        if self.judging is None:
            return None
        columns = dict.fromkeys([*schema.columns, str(schema.label), *([schema.group] if schema.group else [])])
        part = GATE if self.share else STOPPING
        return gate_rows(valid, list(columns), self.share, part, MOST_GATE_ROWS)
