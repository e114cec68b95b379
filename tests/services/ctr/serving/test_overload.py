"""A short `make overload` and a short fight with swaps and killed workers, on real processes; generous bounds."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from ctr_house import CtrHouse

from benchmarks.load.generator import Generator, finished
from benchmarks.load.trouble import Trouble
from benchmarks.load.versions import Truth, as_json
from benchmarks.overload import overload
from llactr_core.bundle import Bundle

ROWS = [{"age": str(number % 90), "job": "student"} for number in range(100)]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[CtrHouse]:
    house = CtrHouse(tmp_path / "home", extra={"LLACTR_CTR_LOG_LEVEL": "WARNING"})
    yield house
    house.stop()


def test_threefold_overload_is_refused_soon_and_leaves_nothing_behind(
    house: CtrHouse, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    house.publish(bundles["none"], "tiny")
    process = house.start()
    house.until_ready()
    result = overload(Generator(tmp_path, house.port, None), process.pid, 2, [as_json(ROWS * 20)])
    assert result["refused_per_s"] > 0
    assert result["refused_ms"]["p50"] < 500
    assert result["served_share"] > 0.3
    assert sum(result["failed"].values()) == 0
    assert result["memory_mb"]["peak"] - result["memory_mb"]["rest"] < 128


def test_swaps_and_the_end_of_a_worker_cost_no_request_and_no_wrong_score(
    house: CtrHouse, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    versions = [house.publish(bundle, "tiny") for bundle in bundles.values()]
    house.extra["LLACTR_CTR_WORKERS"] = "2"
    process = house.start()
    house.until_ready()
    requests = [ROWS[:1], ROWS[:5]]
    trouble = Trouble(house.admin, process.pid, house.port, "tiny", versions)
    started = Generator(tmp_path, house.port, None).start([as_json(rows) for rows in requests], 4, 6, 40)
    trouble.play([*trouble.swapping(6, 1.0), *trouble.ending(signal.SIGTERM, 4.0, 6)], 6)
    load = finished(started)
    assert load.failed == 0
    assert trouble.swaps >= 2
    assert trouble.ended
    assert Truth.of(list(bundles.values()), requests).wrong(load.report["answers"]) == []


def test_a_score_of_another_version_is_found(bundles: dict[str, Bundle]) -> None:
    one, other = bundles.values()
    truth = Truth.of([one, other], [ROWS[:2]])
    scores = truth.scores[one.version][0].tolist()
    assert truth.is_right(0, one.version, scores)
    assert not truth.is_right(0, other.version, scores)
    assert not truth.is_right(0, one.version, [scores[0]])
    assert not truth.is_right(0, "unheard-of", scores)
