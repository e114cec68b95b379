"""From logits to calibrated probabilities: strictly increasing maps, so that the order of the rows stays as it was.

identity  p = sigmoid(z)
platt     p = sigmoid(a z + b), a > 0                                  (Platt, 1999)
beta      p = sigmoid(a log s - b log(1 - s) + c), s = sigmoid(z)      (Kull, Silva Filho and Flach, AISTATS 2017)
isotonic  p = sigmoid(f(z)), f linear between knots of a pool-adjacent-violators fit (Zadrozny and Elkan, KDD 2002)

`llactr_core.training.calibrate` fits them. Every map ends in a bend that keeps probabilities within 1e-6 and
1 - 1e-6 without making two of them equal, as a hard clip would.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from llactr_core.errors import BundleError

Floats = npt.NDArray[np.float64]
Method = Literal["none", "identity", "platt", "beta", "isotonic"]

LIMIT = float(np.log((1 - 1e-6) / 1e-6))  # the logit of 1 - 1e-6
BEND = LIMIT - 2.0  # up to here logits stay as they are
COEFFICIENTS = {"none": 0, "identity": 0, "platt": 2, "beta": 3}


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-z)), [B]."""
    return 1 / (1 + np.exp(-np.maximum(logits, -700)))


@dataclass(frozen=True)
class Calibrator:
    """One map. `none` is the plain sigmoid without the bend, as bundles of format 1 score.

    Args:
        method: which map.
        coefficients: (a, b) of platt, (a, b, c) of beta; empty for the others.
        knots: isotonic: (z, f(z)) of the knots, both strictly increasing; empty for the others.
    """

    method: Method = "identity"
    coefficients: tuple[float, ...] = ()
    knots: tuple[tuple[float, float], ...] = ()

    def probabilities(self, logits: Floats) -> Floats:
        """Calibrated probabilities, float64 [B], of logits [B]."""
        if self.method == "none":
            return sigmoid(logits)
        return sigmoid(bent(self.mapped(logits)))

    @cached_property
    def _knots(self) -> Floats:
        return np.array(self.knots)

    def mapped(self, logits: Floats) -> Floats:
        """The calibrated logits, [B], before the bend."""
        if self.method == "platt":
            a, b = self.coefficients
            return a * logits + b
        if self.method == "beta":
            a, b, c = self.coefficients
            return a * -np.logaddexp(0, -logits) + b * np.logaddexp(0, logits) + c
        if self.method == "isotonic":
            return interpolated(logits, self._knots)
        return logits

    def as_json(self) -> dict[str, object]:
        """Plain data, as calibration.json has it."""
        return {"method": self.method, "coefficients": list(self.coefficients), "knots": [list(k) for k in self.knots]}

    @classmethod
    def of_json(cls, content: object) -> "Calibrator":
        """What `as_json` gave.

        Raises:
            BundleError: it is something else, or a map that does not strictly increase.
        """
        try:
            if not isinstance(content, dict) or set(content) != {"method", "coefficients", "knots"}:
                raise ValueError("method, coefficients and knots are expected")
            coefficients = tuple(float(c) for c in content["coefficients"])
            made = cls(content["method"], coefficients, tuple((float(z), float(f)) for z, f in content["knots"]))
            made._check()
        except (TypeError, ValueError) as error:
            raise BundleError(f"the calibration of the bundle is damaged: {error}; restore or retrain it") from error
        return made

    def _check(self) -> None:
        knots, numbers = np.array(self.knots).reshape(-1, 2), (*self.coefficients, *np.ravel(self.knots))
        if not np.isfinite(numbers).all():
            raise ValueError("a number is not finite")
        if self.method == "isotonic":
            if len(knots) < 2 or (np.diff(knots, axis=0) <= 0).any() or self.coefficients:
                raise ValueError("the knots do not strictly increase")
            return
        if self.method not in COEFFICIENTS or len(self.coefficients) != COEFFICIENTS[self.method] or self.knots:
            raise ValueError(f"method {self.method!r} with {len(self.coefficients)} coefficients is not known")
        slopes = self.coefficients[: 1 if self.method == "platt" else 2]
        if slopes and min(slopes) <= 0:
            raise ValueError("the map does not strictly increase")


def bent(logits: Floats) -> Floats:
    """Logits within -LIMIT and LIMIT: those beyond BEND approach LIMIT and never reach it, in their order. [B]"""
    size = np.abs(logits)
    if not size.size or size.max() <= BEND:
        return logits
    room = LIMIT - BEND
    excess = np.maximum(size - BEND, 0)
    beyond = BEND + room * excess / (room + excess)
    return np.where(size <= BEND, logits, np.copysign(beyond, logits))


def interpolated(logits: Floats, knots: Floats) -> Floats:
    """f(z) [B]: linear between the knots [N, 2], and with slope 1 beyond the outer ones."""
    z, f = knots[:, 0], knots[:, 1]
    outside = np.minimum(logits - z[0], 0) + np.maximum(logits - z[-1], 0)
    found: Floats = np.interp(logits, z, f) + outside
    return found
