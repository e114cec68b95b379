"""One point of a learning curve: plain against what ships, on a share of the users."""

import numpy as np

from llactr_core.metrics.ranking import auc
from llactr_core.proof.arms import PLAIN, shipped
from llactr_core.proof.intervals import compare
from llactr_core.proof.reporting.report import Json
from llactr_core.proof.study import Outcome


def curve_points(outcome: Outcome, percent: int, rows: int) -> list[Json]:
    """The AUC of both arms (means over seeds) and RelaImpr with its interval, for each backbone.

    Args:
        outcome: has both arms.
        percent: of the users that train had.
        rows: of train.
    """
    points: list[Json] = []
    for backbone in dict.fromkeys(result.backbone for result in outcome.results):
        scores = {result.arm.name: result.scores for result in outcome.results if result.backbone == backbone}
        plain, ships = scores[PLAIN], scores[shipped(outcome.has_values)]
        gain = compare(outcome.judged, {backbone: ships}, {backbone: plain}).relaimpr
        labels = outcome.judged.labels
        points.append(
            {
                "percent": percent,
                "rows": rows,
                "backbone": backbone,
                "plain": float(np.mean([auc(labels, one) for one in plain])),
                "ships": float(np.mean([auc(labels, one) for one in ships])),
                "relaimpr": gain.value,
                "interval": [gain.low, gain.high],
            }
        )
    return points
