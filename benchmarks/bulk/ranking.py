"""AUC of many scores, ours and scikit-learn's in turn."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from llactr_core.metrics.ranking import auc

RATE = 0.2  # of positives
TOLERANCE = 1e-12


@dataclass(frozen=True)
class Ranking:
    """CPU seconds of each repeat by ours and by scikit-learn, and how far the two results are apart."""

    ours: tuple[float, ...]
    peer: tuple[float, ...]
    difference: float


def measure_auc(rows: int, repeats: int) -> Ranking:
    """Probabilities as a model gives them, float64 [rows], a tenth of them tied."""
    random = np.random.default_rng(0)
    labels = random.random(rows) < RATE
    scores = 1 / (1 + np.exp(-random.normal(labels * 1.0 - 1.5)))
    scores[::10] = scores[::10].round(3)
    ours, peer, difference = [], [], 0.0
    auc(labels[:100], scores[:100])
    for _ in range(repeats):
        seconds, found = _timed(lambda: auc(labels, scores))
        ours.append(seconds)
        seconds, wanted = _timed(lambda: float(roc_auc_score(labels, scores)))
        peer.append(seconds)
        difference = max(difference, abs(found - wanted))
    return Ranking(tuple(ours), tuple(peer), difference)


def _timed(work: Callable[[], float]) -> tuple[float, float]:
    start = time.process_time()
    value = work()
    return time.process_time() - start, value
