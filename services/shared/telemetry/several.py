"""One GET /metrics for several API processes: each counts into files of its own, and whoever is asked adds them up.

That is prometheus_client's multiprocess mode. A process has a number instead of its id: the one that takes a dead
one's place goes on counting in the same files, so that no counter falls and the folder does not grow. A gauge says by
its `multiprocess_mode` what it means for all; one that says nothing shows what the process that is asked knows, which
is right for what every process reads from the storage. `process_*` have the label `pid`.

https://prometheus.github.io/client_python/multiprocess/
"""

import os
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil
from prometheus_client import CollectorRegistry, Metric, ProcessCollector, values
from prometheus_client.metrics import Gauge
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
NUMBER = "LLACTR_METRICS_NUMBER"
OWN_MODE = "all"


def environment(folder: str, number: int) -> dict[str, str]:
    """What the process with this number has to find in its environment; numbers of living ones differ."""
    return {FOLDER: folder, NUMBER: str(number)}


def join_others() -> None:
    """Count together with the other processes, where there are others; to be called before any metric is declared."""
    number = os.environ.get(NUMBER)
    if number is not None:
        values.ValueClass = direct(values.MultiProcessValue(lambda: number))  # type: ignore[no-untyped-call]
        # Only gauges that each process shows for itself are ever cleared.
        warnings.filterwarnings("ignore", "Clearing labels has not been implemented", UserWarning)


def direct(mapped: Any) -> type:
    """A value class that counts right in the mapped file, at half the cost of `mapped`, which packs and looks up.

    Args:
        mapped: what `prometheus_client.values.MultiProcessValue` returns, for a process whose number stays.
    """

    class Direct(mapped):  # type: ignore[misc]
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            place = self._file._positions[self._key]
            # The file may be mapped anew as it grows; what is written through the older mapping stands in it too.
            self._place = memoryview(self._file._m)[place : place + 8].cast("d")
            self._own = threading.Lock()

        def inc(self, amount: float) -> None:
            with self._own:
                self._place[0] += amount

        def set(self, value: float, timestamp: float | None = None) -> None:
            with self._own:
                super().set(value, timestamp)

        def get(self) -> float:
            return float(self._place[0])

    return Direct


def forget(folder: str, number: int) -> None:
    """The process with this number has ended: what it was doing at the moment counts no more."""
    mark_process_dead(number, folder)  # type: ignore[no-untyped-call]


def of_all(own: CollectorRegistry, declared: list[Collector]) -> CollectorRegistry:
    """What a scrape shows: `own`, or the sum over all processes where there are several."""
    folder = os.environ.get(FOLDER)
    if folder is None or NUMBER not in os.environ:
        return own
    registry = CollectorRegistry()
    registry.register(_Service(folder, declared))
    return registry


class _Service(Collector):
    def __init__(self, folder: str, declared: list[Collector]) -> None:
        self._folder = folder
        self._own = [one for one in declared if isinstance(one, Gauge) and one._multiprocess_mode == OWN_MODE]

    def collect(self) -> Iterator[Metric]:
        own = {family.name: one for one in self._own for family in one.describe()}
        collector = MultiProcessCollector(CollectorRegistry(), self._folder)  # type: ignore[no-untyped-call]
        for metric in collector.collect():  # type: ignore[no-untyped-call]
            if metric.name not in own:
                yield metric
        for gauge in own.values():
            yield from gauge.collect()
        yield from _processes()


def _processes() -> Iterator[Metric]:
    """The metrics of each process, told apart by a label: a sum would fall whenever one of them ends."""
    found: dict[str, Metric] = {}
    for process in psutil.Process(os.getppid()).children():
        for metric in ProcessCollector(pid=partial(int, process.pid), registry=None).collect():
            family = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            for sample in metric.samples:
                family.add_sample(sample.name, {**sample.labels, "pid": str(process.pid)}, sample.value)
    yield from found.values()
