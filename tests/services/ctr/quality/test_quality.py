"""Live quality against a slow computation of its own: every way to name a row, late, early and repeated labels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from sqlalchemy import insert, update

from services.ctr.quality.outcomes import Outcome, Outcomes
from services.ctr.quality.quality import Quality
from services.ctr.registry.store import Registry
from services.ctr.traffic.drift import DriftCounts
from services.ctr.traffic.prune import prune_traffic
from services.ctr.traffic.tables import OutcomeRow, ScoreRow
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage

HOUR_S = 3600.0


@dataclass(frozen=True)
class Logged:
    """A row of the score log, `age` seconds old."""

    request_id: str
    row: int
    score: float
    version: str = "v1"
    row_id: str | None = None
    arm: str | None = None
    shadow: int = 0
    model: str = "tiny"
    age: float = 10.0


@pytest.fixture
def log(storage: Storage) -> Callable[..., None]:
    def log(*rows: Logged) -> None:
        with storage.session() as session:
            now = time_of(session)
            found = [{**vars(row), "at": now - row.age} for row in rows]
            for row in found:
                del row["age"]
            session.execute(insert(ScoreRow), found)

    return log


@pytest.fixture
def outcomes(storage: Storage) -> Outcomes:
    return Outcomes(storage)


@pytest.fixture
def quality(storage: Storage, registry: Registry) -> Quality:
    return Quality(storage, registry.bundle_path, 5000)


def label(value: int, **name: object) -> Outcome:
    return Outcome.model_validate({"label": value, **name})


def slow_auc(scores: list[float], labels: list[int]) -> float:
    wins = [
        (a > b) + (a == b) / 2
        for a, x in zip(scores, labels, strict=True)
        for b, y in zip(scores, labels, strict=True)
        if x == 1 and y == 0
    ]
    return sum(wins) / len(wins)


def test_the_join_is_what_a_slow_one_finds(log: Callable[..., None], outcomes: Outcomes, quality: Quality) -> None:
    random = np.random.default_rng(5)
    rows = [
        Logged(
            f"r{n // 3}",
            n % 3,
            float(random.random()),
            version=str(random.choice(["v1", "v2"])),
            row_id=f"i{n}" if n % 2 else None,
            arm=[None, "champion", "challenger"][n % 3],
        )
        for n in range(300)
    ]
    expected: dict[int, int] = {}
    for n, row in enumerate(rows):
        value, way = int(random.random() < row.score), int(random.integers(0, 5))
        if way == 0:
            outcomes.add([label(value, request_id=row.request_id, row=row.row)])
        elif way == 1 and row.row_id:
            outcomes.add([label(value, row_id=row.row_id, model="tiny")])
        elif way == 2 and row.row_id:
            outcomes.add([label(value, request_id=row.request_id, row_id=row.row_id)])
        elif way == 3:
            outcomes.add([label(1 - value, request_id=row.request_id, row=row.row)])
            outcomes.add([label(value, request_id=row.request_id, row=row.row)])
        else:
            continue
        expected[n] = value
        if n == 150:
            log(*rows[:200])  # the others' labels, and half of these, come before their scores
    log(*rows[200:])
    found = quality.of("tiny", 1)
    assert [version.version for version in found.versions] == ["v1", "v2"]
    for version in found.versions:
        for arm, numbers in [(None, version), *version.arms.items()]:
            own = [n for n, r in enumerate(rows) if r.version == version.version and (arm is None or r.arm == arm)]
            scores = [rows[n].score for n in own if n in expected]
            labels = [expected[n] for n in own if n in expected]
            y, p = np.array(labels), np.array(scores)
            assert (numbers.rows, numbers.labelled, numbers.clicks) == (len(own), len(labels), sum(labels))
            assert numbers.auc == pytest.approx(slow_auc(scores, labels), abs=1e-12)
            assert numbers.logloss == pytest.approx(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)), abs=1e-9)
            assert numbers.predicted_over_true == pytest.approx(p.sum() / y.sum(), abs=1e-9)
        assert set(version.arms) == {"champion", "challenger"}
    assert found.outcomes.unmatched == 0
    assert not found.capped


def test_a_label_reaches_only_what_it_names(log: Callable[..., None], outcomes: Outcomes, quality: Quality) -> None:
    log(
        Logged("r", 0, 0.5, row_id="x"),
        Logged("r", 1, 0.5),
        Logged("q", 0, 0.5, row_id="x"),
        Logged("r", 0, 0.5, row_id="x", model="other"),
    )
    outcomes.add([label(1, request_id="r", row_id="y"), label(1, request_id="s", row=0), label(0, row_id="r")])
    assert quality.of("tiny", 1).versions[0].labelled == 0
    assert (quality.of("tiny", 1).outcomes.received, quality.of("tiny", 1).outcomes.unmatched) == (3, 3)
    outcomes.add([label(1, request_id="r", row_id="x", model="tiny")])
    assert quality.of("tiny", 1).versions[0].labelled == 1
    assert quality.of("other", 1).versions[0].labelled == 0
    outcomes.add([label(0, row_id="x")])
    assert quality.of("tiny", 1).versions[0].labelled == 2
    assert quality.of("other", 1).versions[0].labelled == 1
    assert quality.of("tiny", 1).versions[0].clicks == 0, "the label that came last counts"


def test_the_last_label_in_one_call_counts(log: Callable[..., None], outcomes: Outcomes, quality: Quality) -> None:
    log(Logged("r", 0, 0.5))
    outcomes.add([label(value, request_id="r", row=0) for value in (0, 1, 0, 1)])
    assert quality.of("tiny", 1).versions[0].clicks == 1


def test_where_nothing_is_defined_there_is_null(log: Callable[..., None], outcomes: Outcomes, quality: Quality) -> None:
    assert quality.of("tiny", 1).versions == ()
    log(Logged("r", 0, 0.25), Logged("r", 1, 0.5, version="v2"))
    outcomes.add([label(0, request_id="r", row=0)])
    one, two = quality.of("tiny", 1).versions
    assert (one.labelled, one.auc, one.predicted_over_true) == (1, None, None)
    assert one.logloss == pytest.approx(-np.log(0.75))
    assert (two.rows, two.labelled, two.auc, two.logloss, two.ece) == (1, 0, None, None, None)


def test_the_window_the_version_and_the_cap(
    log: Callable[..., None], outcomes: Outcomes, storage: Storage, registry: Registry
) -> None:
    rows = [Logged(f"r{n}", 0, n / 200, version=f"v{n % 2}", age=n * HOUR_S) for n in range(100)]
    log(*rows, Logged("s", 0, 0.3, version="v0", shadow=1))
    for part in (range(10, 100), range(10)):
        outcomes.add([label(int(n % 3 == 0), request_id=f"r{n}", row=0) for n in part])
    capped = Quality(storage, registry.bundle_path, 10)
    whole = Quality(storage, registry.bundle_path, 1000)
    assert sum(v.labelled for v in whole.of("tiny", 200).versions) == 100
    assert sum(v.rows for v in whole.of("tiny", 24.5).versions) == 25 + 1
    assert {v.version for v in whole.of("tiny", 24.5, "v1").versions} == {"v1"}
    assert [(v.version, v.shadow) for v in whole.of("tiny", 24.5).versions] == [
        ("v0", False),
        ("v0", True),
        ("v1", False),
    ]
    found = capped.of("tiny", 200)
    assert found.capped
    assert sum(v.labelled for v in found.versions) == 10
    assert sum(v.predicted for v in found.versions) == pytest.approx(sum(n / 200 for n in range(10)))


def test_what_is_old_goes(
    log: Callable[..., None], outcomes: Outcomes, quality: Quality, storage: Storage, publish: Callable[..., str]
) -> None:
    publish("llactr")
    log(*(Logged(f"r{n}", 0, 0.5, age=(n % 4) * 24 * HOUR_S) for n in range(12_000)))
    outcomes.add([label(1, request_id=f"r{n}", row=0) for n in range(7000)])
    with storage.session() as session:
        session.execute(update(OutcomeRow).values(at=OutcomeRow.at - 3 * 24 * HOUR_S))
    outcomes.add([label(1, request_id="r1", row=0)])
    assert prune_traffic(storage, 2.5) == 3000 + 6999
    assert quality.of("tiny", 1000).versions[0].rows == 9000
    assert quality.of("tiny", 1000).outcomes.received == 1
    assert prune_traffic(storage, 2.5) == 0


def test_drift_counts_of_several_processes_add_up(storage: Storage) -> None:
    for _ in range(2):
        counts = DriftCounts(storage)
        counts._counts[("tiny", "v1")] = {"job": np.array([3, 0, 4]), "": np.array([0, 7])}
        counts.write()
        counts.write()
    assert DriftCounts(storage).read("tiny", 1) == {"v1": {"job": {0: 6, 2: 8}, "": {1: 14}}}
