"""Every call of the client against the running CTR service: real processes, a real model."""

import asyncio
import math
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from ctr_house import CtrHouse
from llactr_client import (
    ApiError,
    AsyncClient,
    Client,
    ClientError,
    DeadlineExceeded,
    Outcome,
    Scores,
    Shadow,
    TrafficPlan,
)
from servers import wait_until
from shop import shop_rows

from llactr_core.bundle import Bundle

ROWS = shop_rows(40, 5).drop_columns(["click"]).to_pylist()


@pytest.fixture
def plain(shop: Client) -> Iterator[Client]:
    """The client, and a registry that is afterwards what it was."""
    before = {model.name: model for model in shop.models()}["shop"].aliases
    yield shop
    shop.delete_traffic("shop")
    shop.promote("shop", before["champion"], force=True)
    shop.promote("shop", before["challenger"], alias="challenger")


def test_scores_raw_and_of_a_version(shop: Client, shop_bundles: tuple[Bundle, Bundle]) -> None:
    first, second = (bundle.version for bundle in shop_bundles)
    assert shop.score(ROWS).version == first
    assert shop.score(ROWS, model=f"shop:{second}").version == second
    assert shop.score(ROWS, raw=True).scores != shop.score(ROWS).scores
    assert shop.ready("ctr").ok
    assert shop.health("ctr").ok


def test_values_are_added_to_models_that_can_read_them(shop: Client) -> None:
    with pytest.raises(ApiError, match="without value semantics") as refused:
        shop.add_values("shop", {"colour": ["mauve"]})
    assert refused.value.status == 409
    listed = shop.later_values("shop", limit=5)
    assert (listed.rows, listed.values, listed.overlay) == (0, (), listed.version)
    assert shop.drop_values("shop") == 0
    assert shop.score(ROWS).overlay is None


def test_an_explanation_sums_to_the_logit(shop: Client) -> None:
    found = shop.explain(ROWS[:2], model="shop@challenger")
    assert len(found.rows) == 2
    for row in found.rows:
        parts = [part.contribution for part in (*row.fields, *row.pairs)]
        assert row.bias + row.deep_baseline + math.fsum(parts) == pytest.approx(row.logit, abs=1e-9)
        assert {part.field for part in row.fields} == {"user", "colour", "price", "tags"}
    assert found.rows[0].probability == pytest.approx(shop.score(ROWS[:1], model="shop@challenger").scores[0], abs=1e-9)


def test_the_registry(plain: Client, shop_bundles: tuple[Bundle, Bundle]) -> None:
    first, second = (bundle.version for bundle in shop_bundles)
    found = {model.name: model for model in plain.models()}
    assert set(found["shop"].versions) == {first, second}
    assert {entry.version for entry in plain.model_versions("shop")} == {first, second}
    assert plain.model_version("shop", "challenger").version == second
    moved = plain.promote("shop", second, force=True)
    assert (moved.version, moved.previous) == (second, first)
    with pytest.raises(ApiError, match="nothing was rolled back"):
        plain.rollback("shop", leaving=first)
    assert plain.rollback("shop", leaving=second).version == first
    assert [move.outcome for move in plain.model_history("shop", limit=2)] == ["rolled-back", "moved"]
    (older,) = plain.model_history("shop", limit=1, before=plain.model_history("shop", limit=1)[0].number)
    assert (older.outcome, older.version, older.by) == ("moved", second, "admin.key")
    plain.promote("shop", second, alias="night")
    assert plain.delete_alias("shop", "night").version == second
    with pytest.raises(ApiError, match="night"):
        plain.delete_alias("shop", "night")


def test_versions_come_and_go(plain: Client, shop_bundles: tuple[Bundle, Bundle]) -> None:
    _, second = shop_bundles
    imported = plain.import_version("copy", str(second.path))
    assert imported.version == second.version
    assert plain.prune_versions("copy", dry_run=True) == ()
    assert plain.delete_version("copy", second.version) == (second.version,)
    with pytest.raises(ApiError):
        plain.delete_version("shop", plain.model_version("shop").version)


def test_traffic_outcomes_and_quality(plain: Client) -> None:
    assert plain.traffic("shop").arms == {"champion": 1.0}
    plan = TrafficPlan({"champion": 1, "challenger": 3}, "s", Shadow("challenger", 1.0), 1.0)
    written = plain.set_traffic("shop", plan)
    assert (written.arms, written.shadow) == ({"champion": 0.25, "challenger": 0.75}, plan.shadow)
    assert plain.traffic("shop") == written
    time.sleep(2.2)  # the plan holds in the other worker within poll_s, at most 2 s
    arms = {key: plain.score(ROWS, routing_key=key).arm for key in map(str, range(12))}
    assert set(arms.values()) == {"champion", "challenger"}
    assert all(plain.score(ROWS[:1], routing_key=key).arm == arm for key, arm in arms.items())
    found = plain.score([{**row, "id": f"r{i}"} for i, row in enumerate(ROWS)], row_id="id", rows_at_once=30)
    by_place = [Outcome(i % 2, *found.place(i)) for i in range(20)]
    assert plain.report_outcomes([*by_place, *(Outcome(1, row_id=f"r{i}") for i in range(20, 40))]) == 40

    def labelled() -> bool:
        numbers = [v.numbers for v in plain.quality("shop").versions if not v.shadow]
        return sum(one.labelled for one in numbers) == 40

    wait_until(labelled, 20, "the labels to meet their scores")
    assert plain.quality("shop", window_hours=1, version="challenger").window_hours == 1
    wait_until(lambda: bool(plain.shadow_report("shop", window_hours=2)), 20, "the shadow's scores")
    assert plain.shadow_report("shop")[0].rows > 0
    assert plain.delete_traffic("shop").shadow is None


def test_jobs_and_schedules(plain: Client, shop_bundles: tuple[Bundle, Bundle]) -> None:
    job = plain.train("shop", str(shop_bundles[0].path.parent), label="click", warm_start="champion", force=True)
    assert plain.job(job.id).state == "queued"
    assert job.id in {known.id for known in plain.jobs()}
    assert plain.cancel_job(job.id).state == "cancelled"
    assert [seen.state for seen in plain.job_events(job.id)] == ["cancelled"]
    with pytest.raises(ClientError, match="cancelled"):
        plain.wait_for_job(job)
    with pytest.raises(ApiError) as caught:
        plain.refresh("shop", mode="re-enhance", table_version="current")
    assert caught.value.status in (400, 409), "the champion has no field semantics to refresh"
    with pytest.raises(ApiError):
        plain.set_schedule("shop", every_hours=24, request={"mode": "retrain"})
    for call in (plain.schedule, plain.delete_schedule):
        with pytest.raises(ApiError) as missing:
            call("shop")
        assert missing.value.status == 404


def test_keys(shop: Client, shop_house: CtrHouse) -> None:
    made = shop.create_key("slow", "reader", service="ctr", scopes=["shop"], rate_per_s=1.5)
    assert made.rate_per_s == 1.5
    assert made.id in {key.id for key in shop.keys("ctr")}
    with Client(shop_house.url, key=made.key) as reader:
        assert reader.models()
        with pytest.raises(ApiError, match="admin"):
            reader.rollback("shop")
    assert shop.revoke_key(made.id, "ctr").revoked_at
    assert shop.audit("ctr", limit=1)[0].method == "DELETE"


def test_a_deadline_ends_a_call_with_all_its_tries(service: object, shop: Client, shop_house: CtrHouse) -> None:
    assert shop.score(ROWS, deadline_s=30).scores
    with pytest.raises(ValueError, match="deadline_s is 0"):
        shop.score(ROWS, deadline_s=0)
    with pytest.raises(DeadlineExceeded, match="before the deadline"):
        shop.score(ROWS * 400, deadline_s=0.004)

    async def late() -> None:
        async with AsyncClient(shop_house.url, deadline_s=0.0001) as client:
            await client.models()

    with pytest.raises(DeadlineExceeded):
        asyncio.run(late())


class Callers:
    """Threads and an event loop that score until they are stopped, and what became of their calls."""

    def __init__(self, url: str) -> None:
        self.answers: list[object] = []
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._call, self._call, self._gather)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _keep(self, answer: object) -> None:
        self.answers.append(answer)

    def _call(self) -> None:
        with Client(self._url) as client:
            while not self._over.is_set():
                try:
                    self._keep(client.score(ROWS))
                except ClientError as error:
                    self._keep(error)

    def _gather(self) -> None:
        async def work() -> None:
            async with AsyncClient(self._url) as client:
                while not self._over.is_set():
                    for found in await asyncio.gather(*(client.score(ROWS) for _ in range(4)), return_exceptions=True):
                        self._keep(found)

        asyncio.run(work())


def test_no_call_fails_while_workers_are_killed(shop_house: CtrHouse) -> None:
    """SIGKILL to one of the two workers, three times, each once both serve again."""
    api = psutil.Process(shop_house.processes[0].pid)

    def serving() -> list[psutil.Process]:
        log = (shop_house.home / "api.log").read_text()
        return [child for child in api.children() if f"Started server process [{child.pid}]" in log]

    callers = Callers(shop_house.url)
    try:
        for _ in range(3):
            wait_until(lambda: len(serving()) == 2, 20, "both workers to serve")
            time.sleep(0.5)
            serving()[0].kill()
        time.sleep(1)
    finally:
        callers.stop()
    assert [one for one in callers.answers if not isinstance(one, Scores)] == []
    assert len(callers.answers) > 100
