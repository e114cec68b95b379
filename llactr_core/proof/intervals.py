"""By how much one arm is better than another, with an interval: a hierarchical bootstrap of the paired difference.

Seeds are drawn first, then users with all their rows (rows, where there are no users), the same ones for both arms and
all backbones (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). What is drawn again
are whole clusters: an AUC's own variance formula would take the rows of a user for independent (Obuchowski,
Biometrics 1997).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from llactr_core.errors import DataError
from llactr_core.metrics.ranking import relative_improvement
from llactr_core.proof.resampling import Floats, Ranked

RESAMPLES = 1000
LEAST_KNOWN = 0.99  # of the resamples, for an interval of RelaImpr, which a base at chance does not have
FEWEST_USERS = 10  # for intervals that draw users
POWER_80 = 2.80  # standard errors: 1.96 of a two-sided test at 5 % and 0.84 of a power of 80 %


@dataclass(frozen=True)
class Judged:
    """The rows that the arms are judged on.

    Args:
        labels: 0 or 1, [N].
        groups: int64 [N], the user of each row, below 0 where it is not known; None where rows are independent.
    """

    labels: npt.NDArray[np.float64]
    groups: npt.NDArray[np.int64] | None

    @classmethod
    def of(cls, labels: Floats, groups: npt.NDArray[np.int64] | None) -> tuple[Self, list[str]]:
        """The rows; where they have too few users to draw from, without these, and a sentence that says so."""
        judged = cls(labels, groups)
        users = int(judged.cluster_of().max()) + 1
        if groups is None or users >= FEWEST_USERS:
            return judged, []
        told = (
            f"users in the intervals: the judged rows have {users} of them, fewer than {FEWEST_USERS}; rows are drawn "
            "in their place as if each stood alone, so the intervals may be too narrow"
        )
        return cls(labels, None), [told]

    def cluster_of(self) -> npt.NDArray[np.int64]:
        """The cluster of each row, int64 [N] from 0 on; a row whose user is not known is one of its own."""
        rows = np.arange(len(self.labels))
        if self.groups is None:
            return rows
        groups = np.where(self.groups < 0, -1 - rows, self.groups)
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class Difference:
    """A difference of two arms and its 95 % interval.

    Args:
        value: on the rows as they are.
        low: the lower end.
        high: the upper end.
        detectable: the smallest true difference that would be found with a power of 80 %.
    """

    value: float
    low: float
    high: float
    detectable: float

    @property
    def is_above_zero(self) -> bool:
        """Whether the whole interval is."""
        return self.low > 0


@dataclass(frozen=True)
class Comparison:
    """One arm against another: differences of AUC and LogLoss, and RelaImpr, each the mean over backbones."""

    auc: Difference
    logloss: Difference
    relaimpr: Difference


Scores = Mapping[str, npt.NDArray[np.float64]]  # by backbone: probabilities [S, N] of S seeds


def compare(judged: Judged, arm: Scores, base: Scores, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Compare two arms on the same rows and seeds.

    Args:
        judged: the N rows.
        arm: its probabilities by backbone, [S, N]; row s is of the s-th seed.
        base: those of the arm that it is compared with, of the same backbones and shapes.
        resamples: how many.
        seed: of the bootstrap.

    Raises:
        DataError: the arms have other backbones, seeds or rows.
    """
    pairs = [(_Arm(judged, arm[name]), _Arm(judged, base[name])) for name in _same(judged, arm, base)]
    seeds = len(pairs[0][0].ranked)
    whole = _values(pairs, np.ones(len(judged.labels)), np.ones(seeds))
    random = np.random.default_rng(seed)
    clusters = judged.cluster_of()
    count = int(clusters.max()) + 1
    drawn = []
    for _ in range(resamples):
        of_seeds = np.bincount(random.integers(0, seeds, seeds), minlength=seeds).astype(np.float64)
        of_clusters = np.bincount(random.integers(0, count, count), minlength=count).astype(np.float64)
        drawn.append(_values(pairs, of_clusters[clusters], of_seeds))
    found = np.array(drawn)
    both = found[np.isfinite(found[:, :2]).all(1)]  # a resample without both classes says nothing
    columns = [column[np.isfinite(column)] for column in both.T]  # RelaImpr is not defined where base is at 0.5
    auc, logloss, relaimpr = (_difference(float(whole[i]), columns[i]) for i in range(3))
    return Comparison(auc, logloss, relaimpr)


class _Arm:
    """The rows of one arm and backbone: ranked for the AUC, and their losses."""

    def __init__(self, judged: Judged, scores: npt.NDArray[np.float64]) -> None:
        self.ranked = [Ranked.of(judged.labels, one) for one in scores]
        p = np.clip(scores, 1e-7, 1 - 1e-7)
        self.losses = -np.where(judged.labels != 0, np.log(p), np.log1p(-p))  # [S, N]

    def measured(self, weights: Floats, of_seeds: Floats) -> tuple[float, float]:
        """(AUC, LogLoss), the weighted means over seeds, of weighted rows."""
        aucs = np.array(
            [0.0 if share == 0 else one.auc(weights) for one, share in zip(self.ranked, of_seeds, strict=True)]
        )
        losses = self.losses @ weights / weights.sum()
        return float(aucs @ of_seeds / of_seeds.sum()), float(losses @ of_seeds / of_seeds.sum())


def _values(pairs: Sequence[tuple[_Arm, _Arm]], weights: Floats, of_seeds: Floats) -> Floats:
    """AUC difference, LogLoss difference and RelaImpr, the means over backbones, [3].

    RelaImpr is NaN where a base ranks no better than chance: its sign would say nothing.
    """
    rows = []
    for arm, base in pairs:
        (auc, loss), (base_auc, base_loss) = arm.measured(weights, of_seeds), base.measured(weights, of_seeds)
        gain = np.nan if base_auc <= 0.5 else relative_improvement(auc, base_auc)
        rows.append((auc - base_auc, loss - base_loss, gain))
    return np.asarray(np.array(rows).mean(0), np.float64)


def _difference(value: float, drawn: Floats) -> Difference:
    known = drawn[np.isfinite(drawn)]
    if len(known) < max(2, LEAST_KNOWN * len(drawn)):
        return Difference(value, -np.inf, np.inf, np.inf)
    low, high = np.quantile(known, [0.025, 0.975])
    return Difference(value, float(low), float(high), POWER_80 * float(known.std(ddof=1)))


def _same(judged: Judged, arm: Scores, base: Scores) -> list[str]:
    if not arm or set(arm) != set(base):
        raise DataError(f"the arms have other backbones: {sorted(arm)} and {sorted(base)}; give the same ones")
    for name in arm:
        if arm[name].shape != base[name].shape or arm[name].shape[1:] != judged.labels.shape:
            raise DataError(
                f"{name}: scores {arm[name].shape} and {base[name].shape} must be [S, {len(judged.labels)}] both"
            )
    return list(arm)
