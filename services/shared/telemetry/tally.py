"""Counts of what the event loop does often, added to the metrics once a turn: each alone would take as long as a score.

Nobody sees a metric between: what reads them runs on the same loop, in a later turn, as does what an answer leads to.
"""

import asyncio
from bisect import bisect_left
from collections import Counter as Numbers
from collections import defaultdict

from prometheus_client import Counter, Gauge, Histogram


class Tally:
    """Of one process; to be used on its event loop only."""

    def __init__(self) -> None:
        self._amounts: dict[Counter | Gauge, float] = defaultdict(float)
        self._observed: dict[Histogram, list[float]] = defaultdict(list)
        self._is_due = False

    def add(self, series: Counter | Gauge, amount: float = 1) -> None:
        """Add to a counter, or to a gauge."""
        self._amounts[series] += amount
        if not self._is_due:
            self._plan()

    def observe(self, series: Histogram, value: float) -> None:
        """Add a value to a histogram."""
        self._observed[series].append(value)
        if not self._is_due:
            self._plan()

    def _plan(self) -> None:
        self._is_due = True
        asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        self._is_due = False
        for series, amount in self._amounts.items():
            if amount:
                series.inc(amount)
                self._amounts[series] = 0
        for histogram, values in self._observed.items():
            if values:
                _observe_all(histogram, values)
                values.clear()


def _observe_all(histogram: Histogram, values: list[float]) -> None:
    """What `observe` does with each value; prometheus_client has nothing that does it with several."""
    if len(values) == 1:
        histogram.observe(values[0])
        return
    bounds = histogram._upper_bounds
    histogram._sum.inc(sum(values))
    for bucket, number in Numbers([bisect_left(bounds, value) for value in values]).items():
        histogram._buckets[bucket].inc(number)


TALLY = Tally()
