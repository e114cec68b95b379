"""The live numbers: computed by one worker for all, shown by every API, NaN once nobody computes them any more."""

import math
from collections.abc import Callable

import pytest
from servers import wait_until
from sqlalchemy import delete, insert, select, update

from services.ctr import metrics
from services.ctr.quality.live import LiveComputer, LiveGauges
from services.ctr.quality.outcomes import Outcome, Outcomes
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
from services.ctr.traffic.tables import LiveRow, ScoreRow
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage


def shown() -> float:
    return float(metrics.LIVE_LOGLOSS.labels("tiny", "v1")._value.get())


def times(storage: Storage) -> list[float]:
    with storage.reading() as session:
        return list(session.scalars(select(LiveRow.at)))


@pytest.fixture
def logged(storage: Storage, publish: Callable[..., str]) -> None:
    """One labelled score of 0.5."""
    publish("llactr", alias="champion")
    with storage.session() as session:
        row = {"request_id": "r", "row": 0, "model": "tiny", "version": "v1", "shadow": 0, "score": 0.5}
        session.execute(insert(ScoreRow), {**row, "at": time_of(session)})
    Outcomes(storage).add([Outcome(request_id="r", row=0, label=1)])


def test_computed_once_and_shown_until_they_are_old(
    logged: None, storage: Storage, registry: Registry, settings: CtrSettings
) -> None:
    slow = settings.model_copy(update={"live_every_s": 60.0})
    LiveComputer(storage, registry, slow).compute()
    first = times(storage)
    LiveComputer(storage, registry, slow).compute()
    assert times(storage) == first, "another worker has just done it"
    gauges = LiveGauges(storage, slow)
    gauges.show()
    assert shown() == pytest.approx(math.log(2))
    with storage.session() as session:
        session.execute(update(LiveRow).values(at=LiveRow.at - 3600))
    gauges.show()
    assert math.isnan(shown())
    LiveComputer(storage, registry, slow).compute()
    gauges.show()
    assert shown() == pytest.approx(math.log(2))
    with storage.session() as session:
        session.execute(delete(ScoreRow))
    LiveComputer(storage, registry, slow.model_copy(update={"live_every_s": 1e-6})).compute()
    gauges.show()
    assert math.isnan(shown())


def test_a_worker_computes_by_itself(logged: None, storage: Storage, registry: Registry, settings: CtrSettings) -> None:
    computer = LiveComputer(storage, registry, settings)
    computer.start()
    wait_until(lambda: times(storage) != [], 5, "the numbers")
    computer.close()
