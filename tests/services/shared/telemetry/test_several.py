"""Values that are counted right in the file that the processes of an API share."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

from services.shared.telemetry.several import FOLDER, direct

Join = Callable[[str], None]


@pytest.fixture
def join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Join:
    """Count from here on as the process with this number."""
    monkeypatch.setenv(FOLDER, str(tmp_path))

    def join(number: str) -> None:
        mapped = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
        monkeypatch.setattr(values, "ValueClass", direct(mapped))

    return join


def shown(folder: Path) -> CollectorRegistry:
    """What a scrape adds up."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return registry


def counter() -> Counter:
    return Counter("things", "Things.", ("kind",), registry=CollectorRegistry())


def test_processes_are_added_up_and_a_successor_goes_on(join: Join, tmp_path: Path) -> None:
    for number, amount in (("0", 2), ("1", 5), ("0", 4)):  # the last takes the place of the first
        join(number)
        counter().labels("a").inc(amount)
    assert shown(tmp_path).get_sample_value("things_total", {"kind": "a"}) == 11


def test_values_from_before_the_file_grew_are_still_counted(join: Join, tmp_path: Path) -> None:
    join("0")
    things = counter()
    first = things.labels("first")
    first.inc()
    for number in range(1500):  # more than the 64 KiB that the file begins with
        things.labels(f"kind {number}").inc(number)
    first.inc()
    registry = shown(tmp_path)
    assert registry.get_sample_value("things_total", {"kind": "first"}) == 2
    assert registry.get_sample_value("things_total", {"kind": "kind 1499"}) == 1499


def test_no_count_of_several_threads_is_lost(join: Join, tmp_path: Path) -> None:
    join("0")
    seconds = Histogram("seconds", "Seconds.", buckets=(1, 2), registry=CollectorRegistry())

    def observe() -> None:
        for _ in range(5000):
            seconds.observe(1.5)

    threads = [threading.Thread(target=observe) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry = shown(tmp_path)
    assert registry.get_sample_value("seconds_bucket", {"le": "1.0"}) == 0
    assert registry.get_sample_value("seconds_bucket", {"le": "2.0"}) == 20_000
    assert registry.get_sample_value("seconds_sum") == 30_000


def test_the_gauge_that_was_set_last_is_shown(join: Join, tmp_path: Path) -> None:
    for number, value in (("0", 3.0), ("1", 7.0), ("0", 4.0)):
        join(number)
        Gauge("height", "Height.", registry=CollectorRegistry(), multiprocess_mode="mostrecent").set(value)
    assert shown(tmp_path).get_sample_value("height") == 4.0


def test_a_living_gauge_goes_up_from_what_it_was_set_to(join: Join, tmp_path: Path) -> None:
    join("0")
    gauge = Gauge("waiting", "Waiting.", registry=CollectorRegistry(), multiprocess_mode="livesum")
    gauge.set(5)
    gauge.inc()
    gauge.dec(2)
    assert shown(tmp_path).get_sample_value("waiting") == 4
