import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from services.shared.telemetry.tally import Tally

VALUES = [0.5, 1.0, 1.5, 2.0, 99.0, -1.0]


def shown(registry: CollectorRegistry) -> list[bytes]:
    return [line for line in generate_latest(registry).splitlines() if b"_created" not in line]


def test_a_turn_of_counts_is_what_counting_at_once_is() -> None:
    told, tallied = CollectorRegistry(), CollectorRegistry()
    tally = Tally()

    async def count() -> list[bytes]:
        histogram, counter = Histogram("h", "h", buckets=(1, 2), registry=tallied), Counter("c", "c", registry=tallied)
        gauge = Gauge("g", "g", registry=tallied)
        before = shown(tallied)
        for _ in range(2):
            for value in VALUES:
                tally.observe(histogram, value)
                tally.add(counter, 2)
                tally.add(gauge)
                tally.add(gauge, -1)
            await asyncio.sleep(0)
        tally.observe(histogram, 1.0)
        await asyncio.sleep(0)
        return before

    histogram, counter = Histogram("h", "h", buckets=(1, 2), registry=told), Counter("c", "c", registry=told)
    Gauge("g", "g", registry=told)
    assert asyncio.run(count()) == shown(told)
    for value in [*VALUES, *VALUES, 1.0]:
        histogram.observe(value)
    counter.inc(2 * 2 * len(VALUES))
    assert shown(tallied) == shown(told)
