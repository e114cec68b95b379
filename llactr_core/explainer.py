"""What every field and every pair of fields adds to a row's logit, from a bundle and without torch.

    logit = bias + deep_baseline + sum_i (first_i + deep_i) + sum_{i<j} (fm_ij + fie_ij)

`first`, `fm` and `fie` are terms of the model and exact. The deep part (all of FinalMLP and Wukong) has no such terms:
it is shared out among the fields by their Shapley values (Shapley, "A value for n-person games", 1953), where a field
that does not take part has its unseen value. They are estimated over sampled orders of the fields (Strumbelj and
Kononenko, "Explaining prediction models and individual predictions with feature contributions", Knowledge and
Information Systems 2014, https://doi.org/10.1007/s10115-013-0679-x), each order with its reverse; the orders are the
same for every row, so an answer repeats. Whatever the orders, the shares sum to the deep part of the row less
that of the baseline.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnxruntime

from llactr_core.calibration import sigmoid
from llactr_core.data.vocabulary import UNSEEN
from llactr_core.errors import BundleError, ConflictError
from llactr_core.scorer import Data, Scorer
from llactr_core.session import open_session

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
EVALUATIONS = 512  # of the deep part for one row, about
MOST_ORDERS = 64
# Of the logit's size: beyond, graph and explanation are not of one model. What 8-bit products round off is in the bias.
TOLERANCE = {"fp32": 1e-3, "int8": 0.1}


@dataclass(frozen=True)
class Explanation:
    """B rows explained; the parts of a row sum to its logit.

    Args:
        logits: [B], the model's, before calibration.
        probabilities: [B], calibrated.
        bias: [B], w_0, and what was rounded off between the sum of the parts and the logit.
        deep_baseline: the deep part of a row whose fields are all unseen.
        first: [B, K], first-order terms.
        deep: [B, K], Shapley values of the deep part.
        deep_error: [B, K], their standard errors; None where the orders are too few to tell.
        fm: [B, K, K], strictly upper triangular, the backbone's pair terms.
        fie: [B, K, K], likewise those of FIE.
        missing: [B, K], whether the field had no value.
        unseen: [B, K], whether it had one that training did not know.
    """

    logits: Floats
    probabilities: Floats
    bias: Floats
    deep_baseline: float
    first: Floats
    deep: Floats
    deep_error: Floats | None
    fm: Floats
    fie: Floats
    missing: npt.NDArray[np.bool_]
    unseen: npt.NDArray[np.bool_]

    @cached_property
    def raw_probabilities(self) -> Floats:
        """Without calibration, [B]."""
        raw: Floats = sigmoid(self.logits)
        return raw

    @cached_property
    def shares(self) -> Floats:
        """[B, K]: a field's first-order term, its deep part, and half of each of its pairs."""
        pairs = self.fm + self.fie
        shares: Floats = self.first + self.deep + 0.5 * (pairs.sum(1) + pairs.sum(2))
        return shares


class Explainer:
    """Explains the rows of one bundle; safe to share between threads. It keeps no hold of the bundle's `Scorer`."""

    def __init__(self, scorer: Scorer, graph: bytes, bias: float) -> None:
        self._session = open_session(graph)
        self._outputs = [entry.name for entry in self._session.get_outputs()]
        self._options = _only_what_is_asked()
        self._bias = bias
        self._baseline = _unseen_rows(scorer)  # [1, K, d (+ 1)]
        self._orders = sampled_orders(self._baseline.shape[1]) if self.is_deep else None

    @classmethod
    def load(cls, scorer: Scorer) -> "Explainer":
        """The explainer of a loaded bundle.

        Raises:
            ConflictError: the bundle was written without an explanation.
            BundleError: its explanation is damaged.
        """
        version, terms = scorer.version, scorer.terms
        if terms is None:
            raise ConflictError(
                f"the model of version {version} was trained by a release that could not explain; train it again"
            )
        try:
            return cls(scorer, terms.graph, terms.bias)
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise BundleError(f"cannot explain with version {version}: {error}; restore or retrain it") from error

    @property
    def is_deep(self) -> bool:
        """Whether a part of the logit has to be approximated."""
        return "rest" in self._outputs

    @property
    def has_pairs(self) -> bool:
        """Whether the model has terms of pairs."""
        return "fm" in self._outputs or "fie" in self._outputs

    @property
    def permutations(self) -> int:
        """How many orders of the fields the deep part is averaged over; 0 without one."""
        return 0 if self._orders is None else len(self._orders)

    def explain(self, scorer: Scorer, data: Data) -> Explanation:
        """Explain rows, in the forms that `Scorer.score` reads.

        Raises:
            RowError: a row is no mapping or a value is nested; names row and field.
            BundleError: the parts do not sum to the logit.
        """
        encoded = scorer.encode(data)
        rows = scorer.look_up(encoded.ids, encoded.weights)  # [B, K, d (+ 1)]
        logits = scorer.logits_of(encoded)
        missing, unseen = scorer.encoder.flags(encoded)
        found = self._terms(rows)
        baseline, deep, error = self._deep(rows)
        parts = self._bias + baseline + deep.sum(1) + found["first"].sum(1)
        parts = parts + found["fm"].sum((1, 2)) + found["fie"].sum((1, 2))
        if (np.abs(parts - logits) > TOLERANCE[scorer.precision] * np.maximum(1, np.abs(logits))).any():
            raise BundleError(f"the explanation of version {scorer.version} is of another model; restore or retrain it")
        return Explanation(
            logits=logits,
            probabilities=scorer.calibrator.probabilities(logits),
            bias=self._bias + logits - parts,
            deep_baseline=baseline,
            first=found["first"],
            deep=deep,
            deep_error=error,
            fm=found["fm"],
            fie=found["fie"],
            missing=missing,
            unseen=unseen,
        )

    def _terms(self, rows: Rows) -> dict[str, Floats]:
        """first [B, K], fm and fie [B, K, K]; zeros for what the model does not have."""
        b, k = rows.shape[:2]
        names = [name for name in self._outputs if name != "rest"]
        found = self._run(names, rows) if names else []
        shapes = {"first": (b, k), "fm": (b, k, k), "fie": (b, k, k)}
        return {name: np.zeros(shape) for name, shape in shapes.items()} | dict(zip(names, found, strict=True))

    def _deep(self, rows: Rows) -> tuple[float, Floats, Floats | None]:
        """The deep part of the baseline, its shares [B, K], and their standard errors [B, K]."""
        if self._orders is None:
            return 0.0, np.zeros(rows.shape[:2]), np.zeros(rows.shape[:2])
        baseline = float(self._run(["rest"], self._baseline)[0][0])
        shares = [self._shapley(row, self._orders) for row in rows]  # [P, K] each
        empty = np.empty((0, *self._orders.shape))
        by_order = np.stack(shares) if shares else empty  # [B, P, K]
        pairs = self.permutations // 2
        by_pair = by_order.reshape(len(rows), pairs, 2, rows.shape[1]).mean(2)  # an order and its reverse
        error = by_pair.std(1, ddof=1) / np.sqrt(pairs) if pairs > 1 else None
        return baseline, by_order.mean(1), error

    def _shapley(self, row: Rows, orders: npt.NDArray[np.int64]) -> Floats:
        """What each field adds to the deep part when its turn comes, [P, K], for a row [K, d (+ 1)]."""
        p, k = orders.shape
        turn = np.argsort(orders, axis=1)  # [P, K]: when a field's turn comes
        inner = turn[:, None, :] < np.arange(1, k)[None, :, None]  # [P, K - 1, K]: who has had a turn
        mixed = np.where(inner.reshape(-1, k)[:, :, None], row[None], self._baseline)  # [P (K - 1), K, d (+ 1)]
        values = self._run(["rest"], np.concatenate([self._baseline, row[None], mixed]))[0]
        steps = np.empty((p, k + 1))
        steps[:, 0], steps[:, k] = values[0], values[1]
        steps[:, 1:k] = values[2:].reshape(p, k - 1)
        return np.take_along_axis(np.diff(steps, axis=1), turn, axis=1)  # from turns to fields

    def _run(self, names: list[str], rows: Rows) -> list[Floats]:
        return [part.astype(np.float64) for part in self._session.run(names, {"rows": rows}, self._options)]


def _only_what_is_asked() -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    return options


def sampled_orders(fields: int) -> npt.NDArray[np.int64]:
    """Orders of K fields, [P, K], each followed by its reverse; P is 2 to 64, less for more fields; never varies."""
    pairs = max(1, min(MOST_ORDERS, EVALUATIONS // fields) // 2)
    random = np.random.default_rng(0)
    forward = np.stack([random.permutation(fields) for _ in range(pairs)])
    return np.stack([forward, forward[:, ::-1]], axis=1).reshape(-1, fields)


def _unseen_rows(scorer: Scorer) -> Rows:
    """The looked-up row whose fields are all unseen, [1, K, d (+ 1)]."""
    encoder = scorer.encoder
    ids = np.zeros((1, len(encoder.slot_field)), np.int32)
    weights = np.zeros(ids.shape, np.float32)
    ids[0, encoder.first_slots] = encoder.offsets + UNSEEN
    weights[0, encoder.first_slots] = 1
    return scorer.look_up(ids, weights)
