"""How values and scores were distributed on held-out rows, and how far live traffic has moved away from that."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llactr_core.bundle import REFERENCE
from llactr_core.data.encoding import Encoded, Encoder
from llactr_core.data.fields import NumericEncoder
from llactr_core.data.vocabulary import FIRST_VALUE, MISSING, UNSEEN
from llactr_core.errors import BundleError

VALUES = 20  # the most frequent values of a field, each with a bin of its own
SCORE_BINS = 10
SMOOTHING = 0.5

Counts = npt.NDArray[np.int64]


def psi(expected: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """The population stability index between two histograms: sum over bins of (q - p) ln(q / p).

    Below 0.1 a distribution counts as unchanged and above 0.25 as another one (Siddiqi, Credit Risk Scorecards, 2006).
    Half a row is added to each bin, so that empty bins stay finite.

    Args:
        expected: counts of the reference, [bins].
        found: counts of what is compared, [bins].
    """
    p = np.asarray(expected, np.float64) + SMOOTHING
    q = np.asarray(found, np.float64) + SMOOTHING
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


class Binning:
    """The bins of each field of an encoder: its most frequent values, all others, missing, unseen.

    Neighbouring knots of a numeric field share a bin, so that it has about as many.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.names = [one.field.name for one in encoder.encoders]
        found = [_bins(one) for one in encoder.encoders]
        self.labels = [labels for labels, _ in found]
        self._bin_of = np.concatenate([bins for _, bins in found])  # by the id in the table; -1: no bin

    def count(self, encoded: Encoded) -> dict[str, Counts]:
        """How many values of each field fell into each of its bins, int64 [bins]."""
        bins = self._bin_of[self.encoder.as_trained(encoded.ids)]  # [B, S]
        found = {}
        starts = [*self.encoder.first_slots.tolist(), encoded.ids.shape[1]]
        for k, name in enumerate(self.names):
            part = bins[:, starts[k] : starts[k + 1]]
            if encoded.weights is not None and isinstance(self.encoder.encoders[k], NumericEncoder):
                nearest = encoded.weights[:, starts[k] : starts[k + 1]].argmax(axis=1)
                part = np.take_along_axis(part, nearest[:, None], axis=1)
            found[name] = np.bincount(part[part >= 0], minlength=len(self.labels[k]))
        return found


@dataclass
class Reference:
    """The held-out histograms of one bundle.

    Args:
        fields: by field, the counts of its bins, int64 [bins].
        labels: by field, what each bin holds.
        scores: the counts of the calibrated scores' bins, int64 [10].
        edges: the inner bounds of those bins, [9].
    """

    fields: dict[str, Counts]
    labels: dict[str, list[str]]
    scores: Counts
    edges: npt.NDArray[np.float64]
    _binning: Binning | None = field(default=None, repr=False)

    @classmethod
    def measure(cls, encoder: Encoder, encoded: Encoded, scores: npt.NDArray[np.float64]) -> "Reference":
        """The histograms of held-out rows and of their calibrated scores [B]."""
        binning = Binning(encoder)
        edges = np.quantile(scores, np.arange(1, SCORE_BINS) / SCORE_BINS)
        labels = dict(zip(binning.names, binning.labels, strict=True))
        made = cls(binning.count(encoded), labels, np.zeros(SCORE_BINS, np.int64), edges, binning)
        made.scores = made.count_scores(scores)
        return made

    def save(self, directory: Path) -> None:
        """Write reference.json into a bundle's directory."""
        fields = {n: {"bins": self.labels[n], "counts": counts.tolist()} for n, counts in self.fields.items()}
        scores = {"edges": self.edges.tolist(), "counts": self.scores.tolist()}
        content = json.dumps({"fields": fields, "scores": scores}, ensure_ascii=False)
        (directory / REFERENCE).write_text(content, encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> "Reference":
        """What `save` wrote.

        Raises:
            BundleError: the bundle has none (it is of format 1), or it is damaged.
        """
        try:
            content = json.loads((directory / REFERENCE).read_text(encoding="utf-8"))
            fields, scores = content["fields"], content["scores"]
            return cls(
                {name: np.array(entry["counts"], np.int64) for name, entry in fields.items()},
                {name: [str(one) for one in entry["bins"]] for name, entry in fields.items()},
                np.array(scores["counts"], np.int64),
                np.array(scores["edges"], np.float64),
            )
        except FileNotFoundError as error:
            raise BundleError(f"the bundle {directory} has no {REFERENCE}; retrain the model to watch drift") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{REFERENCE} of the bundle {directory} is damaged: {error!r}; retrain it") from error

    def count(self, encoder: Encoder, encoded: Encoded) -> dict[str, Counts]:
        """How rows fall into the bins of each field, int64 [bins]; `encoder` is the bundle's."""
        if self._binning is None or self._binning.encoder is not encoder:
            self._binning = Binning(encoder)
        return self._binning.count(encoded)

    def count_scores(self, scores: npt.NDArray[np.float64]) -> Counts:
        """How calibrated scores [B] fall into their bins, int64 [10]."""
        return np.bincount(np.searchsorted(self.edges, scores, side="right"), minlength=SCORE_BINS)


def _bins(encoder: object) -> tuple[list[str], npt.NDArray[np.int16]]:
    """The labels of a field's bins, and the bin of each of its local ids (-1: padding)."""
    if isinstance(encoder, NumericEncoder):
        count = len(encoder.knots)
        of_knot = np.arange(count) * VALUES // max(count, 1)
        starts = [encoder.knots[np.flatnonzero(of_knot == b)[0]] for b in np.unique(of_knot)]
        labels = [f"{start:g}" for start in starts] + ["missing", "unseen"]
        bin_of = np.searchsorted(np.unique(of_knot), of_knot)
    else:
        vocabulary = encoder.vocabulary  # type: ignore[attr-defined]
        top = np.argsort(-vocabulary.counts, kind="stable")[:VALUES]
        labels = [*(vocabulary.values[int(i)].as_py() for i in top), "other", "missing", "unseen"]
        bin_of = np.full(len(vocabulary.values), len(top))
        bin_of[top] = np.arange(len(top))
    bins = np.full(FIRST_VALUE + len(bin_of), -1, np.int16)
    bins[FIRST_VALUE:] = bin_of
    bins[MISSING], bins[UNSEEN] = len(labels) - 2, len(labels) - 1
    return labels, bins
