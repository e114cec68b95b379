"""What is noted of answered requests: sampled, logged, compared, dropped where there is no room; never a wait."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pytest
from servers import Postgres, wait_until
from sqlalchemy import func, select, text

from llactr_core.errors import ConflictError
from services.ctr import metrics
from services.ctr.registry.store import Registry
from services.ctr.serving.hooks import Scored
from services.ctr.serving.pool import ModelPool
from services.ctr.settings import CtrSettings
from services.ctr.traffic.comparison import Comparisons
from services.ctr.traffic.plan import TrafficPlan, place_of
from services.ctr.traffic.tables import ScoreRow
from services.ctr.traffic.traffic import Traffic
from services.shared.storage.storage import Storage

Answered = Callable[..., Scored]
Rows = Callable[..., list[dict[str, object]]]


@pytest.fixture
def traffic(storage: Storage, registry: Registry, pool: ModelPool, settings: CtrSettings) -> Iterator[Traffic]:
    traffic = Traffic(storage, registry, pool, settings)
    traffic.start()
    yield traffic
    traffic.close()


def plan(traffic: Traffic, **content: object) -> None:
    traffic.plans.write("tiny", TrafficPlan.model_validate(content))
    traffic.refresh()


def logged(storage: Storage) -> list[ScoreRow]:
    with storage.reading() as session:
        return list(session.scalars(select(ScoreRow).order_by(ScoreRow.request_id, ScoreRow.row)))


def count_of(storage: Storage) -> int:
    with storage.reading() as session:
        return session.scalar(select(func.count()).select_from(ScoreRow)) or 0


def counted(counter: object, outcome: str) -> float:
    return float(counter.labels(outcome)._value.get())  # type: ignore[attr-defined]


def test_nothing_is_written_by_default(traffic: Traffic, storage: Storage, answered: Answered, rows_of: Rows) -> None:
    traffic.saw(answered(rows_of(5)))
    traffic.close()
    assert logged(storage) == []


def test_all_forms_are_logged_as_they_were_answered(
    traffic: Traffic, storage: Storage, answered: Answered, rows_of: Rows
) -> None:
    plan(traffic, log_share=1)
    rows = rows_of(300, seed=3)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    given = [
        answered(rows[:3], row_ids=["x", None, "z\x00"], arm="champion"),
        answered(rows),
        answered(columns),
        answered(pa.table(columns)),
        answered([]),
    ]
    for scored in given:
        traffic.saw(scored)
    traffic.close()
    found = logged(storage)
    expected = {(g.request_id, i): float(s) for g in given for i, s in enumerate(g.scores)}
    assert {(row.request_id, row.row): row.score for row in found} == pytest.approx(expected, abs=1e-12)
    named = {row.row: (row.row_id, row.arm) for row in found if row.request_id == given[0].request_id}
    assert named == {0: ("x", "champion"), 1: (None, "champion"), 2: ("z\\x00", "champion")}
    assert {row.version for row in found} == {given[0].loaded.version}
    assert all(abs(row.at - time.time()) < 30 for row in found)


def test_a_request_that_is_sent_twice_is_logged_once(
    traffic: Traffic, storage: Storage, answered: Answered, rows_of: Rows
) -> None:
    plan(traffic, log_share=1)
    for _ in range(2):
        traffic.saw(answered(rows_of(2), request_id="same"))
        time.sleep(0.15)
    traffic.close()
    assert count_of(storage) == 2


def test_the_log_takes_its_share_of_the_requests(
    traffic: Traffic, storage: Storage, answered: Answered, rows_of: Rows
) -> None:
    plan(traffic, log_share=0.3)
    one = answered(rows_of(1))
    names = [f"request-{i}" for i in range(400)]
    for name in names:
        traffic.saw(Scored(name, one.loaded, None, one.batch, one.scores, None))
    traffic.close()
    assert {row.request_id for row in logged(storage)} == {name for name in names if place_of(name) < 0.3}


def test_a_shadow_is_compared_and_logged_beside(
    traffic: Traffic, storage: Storage, pool: ModelPool, answered: Answered, rows_of: Rows
) -> None:
    plan(traffic, log_share=1, shadow={"alias": "challenger", "share": 1})
    requests = [rows_of(n, seed=n) for n in (1, 2, 150, 1)]
    for rows in requests:
        traffic.saw(answered(rows))
    challenger = pool.resolve("tiny@challenger")
    traffic.saw(answered(rows_of(3), loaded=challenger))  # nothing to compare: it answered itself
    traffic.close()
    a = np.concatenate([pool.champion("tiny").scorer.score(rows) for rows in requests])
    b = np.concatenate([challenger.scorer.score(rows) for rows in requests])
    [pair] = Comparisons(storage).read("tiny", 1)
    assert (pair.version, pair.shadow, pair.rows) == (pool.champion("tiny").version, challenger.version, 154)
    assert pair.mean_difference == pytest.approx(np.abs(a - b).mean(), abs=1e-6)
    assert pair.largest_difference == pytest.approx(np.abs(a - b).max(), abs=1e-6)
    assert pair.correlation == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-4)
    assert (pair.mean_score, pair.mean_shadow) == pytest.approx((a.mean(), b.mean()), abs=1e-6)
    beside = [row for row in logged(storage) if row.shadow]
    assert sorted(row.score for row in beside) == pytest.approx(sorted(b.tolist()), abs=1e-6)
    assert {row.version for row in beside} == {challenger.version}


def test_a_shadow_that_does_not_load_is_counted_and_the_log_goes_on(
    traffic: Traffic, storage: Storage, settings: CtrSettings, pool: ModelPool, answered: Answered, rows_of: Rows
) -> None:
    plan(traffic, log_share=1, shadow={"alias": "challenger", "share": 1})
    version = pool.champion("tiny").version
    [other] = [folder for folder in settings.bundles.iterdir() if folder.name != version]
    (other / "manifest.json").write_text("{}", encoding="utf-8")
    before = counted(metrics.SHADOW_ROWS, "failed")
    traffic.saw(answered(rows_of(4)))
    traffic.close()
    assert counted(metrics.SHADOW_ROWS, "failed") == before + 4
    assert count_of(storage) == 4


def test_plans_of_other_processes_are_followed(
    traffic: Traffic, storage: Storage, registry: Registry, pool: ModelPool, settings: CtrSettings
) -> None:
    other = Traffic(storage, registry, pool, settings)
    arms = [{"alias": "champion", "weight": 1}, {"alias": "challenger", "weight": 1}]
    other.plans.write("tiny", TrafficPlan.model_validate({"arms": arms}))
    wait_until(lambda: traffic.arm("tiny", "x") is not None, 5, "the plan of another process")
    other.refresh()
    keys = [f"user-{i}" for i in range(200)]
    dealt = [traffic.arm("tiny", key) for key in keys]
    assert dealt == [other.arm("tiny", key) for key in keys]
    assert set(dealt) == {"champion", "challenger"}
    assert traffic.arm("other", "x") is None


def test_a_database_that_does_not_take_the_log_costs_the_requests_nothing(
    storage: Storage, registry: Registry, pool: ModelPool, settings: CtrSettings, answered: Answered, rows_of: Rows
) -> None:
    small = Traffic(storage, registry, pool, settings.model_copy(update={"traffic_rows": 50}))
    plan(small, log_share=1)
    small.start()
    released = threading.Event()
    holder = threading.Thread(target=_hold_the_table, args=(storage, released))
    holder.start()
    time.sleep(0.2)
    dropped = counted(metrics.WATCHED_REQUESTS, "dropped")
    one = answered(rows_of(1))
    slowest = 0.0
    for number in range(400):
        began = time.perf_counter()
        small.saw(Scored(f"r{number}", one.loaded, None, one.batch, one.scores, None))
        slowest = max(slowest, time.perf_counter() - began)
        time.sleep(0.001)
    lost = counted(metrics.WATCHED_REQUESTS, "dropped") - dropped
    released.set()
    holder.join()
    small.close()
    assert slowest < 0.1
    assert lost > 200
    assert count_of(storage) == 400 - lost


def _hold_the_table(storage: Storage, released: threading.Event) -> None:
    with storage.session() as session:
        is_postgres = session.get_bind().dialect.name == "postgresql"
        session.execute(text("LOCK TABLE ctr_scores IN ACCESS EXCLUSIVE MODE" if is_postgres else "SELECT 1"))
        released.wait(20)


def test_bodies_that_wait_are_bounded_in_bytes(
    storage: Storage, registry: Registry, pool: ModelPool, settings: CtrSettings, answered: Answered, rows_of: Rows
) -> None:
    idle = Traffic(storage, registry, pool, settings.model_copy(update={"traffic_mb": 1}))
    plan(idle, log_share=1)
    one = answered(rows_of(1))
    before = counted(metrics.WATCHED_REQUESTS, "dropped")
    for number in range(4):
        idle.saw(Scored(f"r{number}", one.loaded, None, one.batch, one.scores, None, size=400_000))
    assert counted(metrics.WATCHED_REQUESTS, "dropped") == before + 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_while_the_database_is_away_scores_wait_up_to_the_bound(
    postgres: Postgres, registry: Registry, pool: ModelPool, settings: CtrSettings, answered: Answered, rows_of: Rows
) -> None:
    storage = Storage(settings.storage_url)
    traffic = Traffic(storage, registry, pool, settings.model_copy(update={"traffic_rows": 30}))
    plan(traffic, log_share=1, arms=[{"alias": "challenger", "weight": 1}])
    one = answered(rows_of(20))
    traffic.start()
    postgres.kill()
    try:
        dropped = counted(metrics.LOGGED_ROWS, "dropped")
        for number in range(5):
            traffic.saw(Scored(f"r{number}", one.loaded, None, one.batch, one.scores, None))
            time.sleep(0.15)
        assert traffic.arm("tiny", "x") == "challenger"
        wait_until(lambda: counted(metrics.LOGGED_ROWS, "dropped") == dropped + 40, 10, "two requests dropped")
    finally:
        postgres.start()
    wait_until(lambda: count_of(storage) == 60, 10, "what waited is written")
    traffic.close()
    assert {row.request_id for row in logged(storage)} == {"r2", "r3", "r4"}
    storage.close()


def test_a_full_buffer_drops_log_and_shadow_together(
    storage: Storage, registry: Registry, pool: ModelPool, settings: CtrSettings, answered: Answered, rows_of: Rows
) -> None:
    traffic = Traffic(storage, registry, pool, settings.model_copy(update={"traffic_rows": 30}))
    plan(traffic, log_share=1, shadow={"alias": "challenger", "share": 1})
    dropped = counted(metrics.WATCHED_REQUESTS, "dropped")
    for _ in range(5):
        traffic.saw(answered(rows_of(10)))
    assert counted(metrics.WATCHED_REQUESTS, "dropped") == dropped + 2
    traffic.start()
    traffic.close()
    assert sorted(row.shadow for row in logged(storage)) == [0] * 30 + [1] * 30


def test_rows_of_a_repeated_request_id_are_counted_apart(traffic: Traffic, answered: Answered, rows_of: Rows) -> None:
    plan(traffic, log_share=1)
    written, repeated = (counted(metrics.LOGGED_ROWS, outcome) for outcome in ("written", "repeated"))
    for _ in range(2):
        traffic.saw(answered(rows_of(2), request_id="same"))
    traffic.close()
    assert counted(metrics.LOGGED_ROWS, "written") == written + 2
    assert counted(metrics.LOGGED_ROWS, "repeated") == repeated + 2


def test_an_alias_of_the_plan_cannot_be_removed(traffic: Traffic, registry: Registry) -> None:
    plan(traffic, shadow={"alias": "challenger", "share": 1})
    with pytest.raises(ConflictError, match="traffic plan"):
        registry.remove_alias("tiny", "challenger", None)
    traffic.plans.remove("tiny")
    registry.remove_alias("tiny", "challenger", None)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_rows_that_cannot_be_taken_apart_do_not_end_the_thread(
    traffic: Traffic, storage: Storage, answered: Answered, rows_of: Rows
) -> None:
    plan(traffic, log_share=1)
    good, failed = answered(rows_of(2)), counted(metrics.WATCHED_REQUESTS, "failed")
    traffic.saw(Scored("bad", good.loaded, None, good.batch, good.scores, ["only one"]))
    wait_until(lambda: counted(metrics.WATCHED_REQUESTS, "failed") == failed + 1, 10, "counted")
    traffic.saw(good)
    wait_until(lambda: count_of(storage) == 2, 10, "the next request is logged")
