"""How far Adam moves a parameter over many steps in which its gradient is zero."""

import numpy as np
import numpy.typing as npt

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
LONGEST = 1024  # steps between two times that all rows are brought up to date

Numbers = npt.NDArray[np.float64]


class Drift:
    """The moves of parameters with moments m and v after step s, over the steps s + 1 .. t without a gradient.

    Adam moves such a parameter in step j by

        w_j m x_j / (sqrt(v) + eps x_j),   w_j = lr b1^(j - s) / (1 - b1^j),   x_j = sqrt((1 - b2^j) / b2^(j - s))

    so the whole way is an integral of a smooth function of x in the measure of the w_j. It is taken by Gauss's
    quadrature in two nodes, found from the first four moments of the measure, which are kept for every s and grow by
    one term a step. All rows are brought up to date when t has doubled (and after `LONGEST` steps), so x
    varies little over a measure: the relative error of a way is below 1e-4, and below 2e-6 after step 100.

    Args:
        learning_rate: lr.
    """

    def __init__(self, learning_rate: float) -> None:
        self.step = 0  # t
        self.base = 0  # no row that was ever touched is older than this step
        self.learning_rate = learning_rate  # of the steps to come; changed only while all rows are up to date
        self._moments = np.zeros((4, LONGEST))
        self._first = np.zeros(LONGEST)  # x_{s+1}, the origin of the moments

    @property
    def is_due(self) -> bool:
        """Whether all rows have to be brought up to date."""
        return self.step - self.base >= min(LONGEST, max(1, self.base))

    def settled(self, step: int) -> None:
        """All rows are up to date at a step."""
        self.step = self.base = step
        self._moments[:] = 0

    def advance(self) -> None:
        """One more step has been done."""
        self.step += 1
        count = self.step - self.base
        lag = np.arange(count, 0, -1.0)
        w = self.learning_rate * BETA_1**lag / (1 - BETA_1**self.step)
        x = np.sqrt((1 - BETA_2**self.step) / BETA_2**lag)
        self._first[count - 1] = x[-1]
        y = x - self._first[:count]
        for moments in self._moments[:, :count]:
            moments += w
            w = w * y

    def nodes(self) -> Numbers:
        """For s = base .. t: two times a weight w x and a node eps x, b1^(t - s) and b2^(t - s): [t - base + 1, 6].

        A parameter goes m * (w1 / (sqrt(v) + x1) + w2 / (sqrt(v) + x2)), and its moments shrink by the last two.
        """
        count = self.step - self.base
        total, *higher = self._moments[:, :count]
        mean, second, third = (moment / total for moment in higher)
        variance = np.maximum(second - mean**2, 1e-30)
        skew = (third - 3 * mean * second + 2 * mean**3) / variance
        width = np.sqrt(skew**2 + 4 * variance)
        up, down = (skew + width) / 2, (width - skew) / 2  # from the mean to the nodes
        centre = self._first[:count] + mean
        x_1, x_2 = centre + up, centre - down
        lag = np.arange(count, -1, -1.0)
        result = np.zeros((count + 1, 6))
        result[:, 1] = result[:, 3] = EPSILON  # s = t: no way to go
        result[:count, :4] = np.stack(
            [total * down / width * x_1, EPSILON * x_1, total * up / width * x_2, EPSILON * x_2], axis=1
        )
        result[:, 4], result[:, 5] = BETA_1**lag, BETA_2**lag
        return result
