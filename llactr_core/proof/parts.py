"""The parts of valid in a proof: one stops training, one calibrates, and one is judged where test is not."""

from llactr_core.data.holdout import CALIBRATION, GATE, STOPPING, held_out_parts
from llactr_core.data.labels import Labels
from llactr_core.errors import DataError

HELD_OUT = 0.5  # of valid, in halves for calibration and judgement


def require_parts(labels: Labels) -> None:
    """Check that the labels [N] of valid give three parts, each with both classes.

    Raises:
        DataError: they do not.
    """
    part = held_out_parts(0, len(labels), HELD_OUT)
    if not all(0 < labels[part == one].sum() < (part == one).sum() for one in (STOPPING, CALIBRATION, GATE)):
        raise DataError(
            f"valid has {len(labels):,} rows, {int(labels.sum()):,} of them clicks: too few of each class for a part "
            "that stops training, one that calibrates and one that judges; give a larger valid file"
        )
