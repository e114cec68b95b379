"""What a benchmark measures: figures, and curves."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Row:
    """A figure.

    Args:
        value: the median over the repeats.
        unit: "x" marks a ratio.
        op: which side of `reach` is good.
        reach: what is wanted; None where nothing is.
        peer: what it is compared with.
        spread: the smallest and the largest of the repeats.
        cpu_s: processor time of one repeat, in seconds, where the figure is one of wall time.
    """

    name: str
    value: float
    unit: str
    op: Literal["<=", ">="]
    reach: float | None = None
    peer: str | None = None
    note: str = ""
    spread: tuple[float, float] | None = None
    cpu_s: float | None = None

    @property
    def is_reached(self) -> bool | None:
        """Whether it is as wanted; None where nothing is."""
        if self.reach is None:
            return None
        return self.value <= self.reach if self.op == "<=" else self.value >= self.reach


@dataclass(frozen=True)
class Series:
    """A curve; curves of the same `plot` are drawn together, one without on its own."""

    name: str
    x_label: str
    y_label: str
    points: tuple[tuple[float, float], ...]
    note: str = ""
    plot: str | None = None
