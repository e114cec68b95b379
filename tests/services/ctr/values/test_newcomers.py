from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from llm_stand_in import FakeLlm

from llactr_core.bundle import Bundle
from llactr_core.scorer import Scorer
from services.ctr.formats.decoding import Batch, decode
from services.ctr.registry.store import Registry
from services.ctr.serving.hooks import Scored
from services.ctr.serving.pool import ModelPool
from services.ctr.serving.shelf import Loaded
from services.ctr.settings import CtrSettings
from services.ctr.values.adding import Adder
from services.ctr.values.newcomers import Newcomers, Sightings, unseen_values
from services.ctr.values.renewal import Renewal
from services.ctr.values.store import OverlayStore
from services.shared.storage.storage import Storage


@pytest.fixture
def scene(
    registry: Registry, storage: Storage, work_settings: CtrSettings, publish_valued: Callable[..., str], llm: FakeLlm
) -> Any:
    publish_valued()
    settings = work_settings.model_copy(update={"newcomer_sightings": 2, "newcomers_per_minute": 3})
    store = OverlayStore(storage)
    pool = ModelPool(registry, overlays=Renewal(store, look_s=0.0))
    pool.refresh()
    adder = Adder(store, registry, pool, settings)
    small = Adder(store, registry, pool, settings.model_copy(update={"overlay_values": 2}))
    return SimpleNamespace(pool=pool, store=store, newcomers=Newcomers(adder, settings), llm=llm, small=small)


def seen(loaded: Loaded, *jobs: str) -> Scored:
    batch = Batch([{"job": job} for job in jobs], len(jobs))
    return Scored("id", loaded, None, batch, np.zeros(len(jobs)), None)


def jobs_of(scene: Any) -> list[str]:
    loaded = scene.pool.champion("tiny")
    return [one.row.value for one in scene.store.rows((loaded.name, loaded.version))]


def test_a_value_is_added_when_it_was_seen_often_enough(scene: Any) -> None:
    loaded = scene.pool.champion("tiny")
    scene.newcomers.saw(seen(loaded, "pilot", "student"))
    scene.newcomers.turn()
    assert jobs_of(scene) == []
    scene.newcomers.saw(seen(loaded, "pilot"))
    scene.newcomers.turn()
    assert jobs_of(scene) == ["pilot"]
    scene.pool.refresh()
    for _ in range(3):
        scene.newcomers.saw(seen(scene.pool.champion("tiny"), "pilot"))
    scene.newcomers.turn()
    assert jobs_of(scene) == ["pilot"]


def test_a_field_takes_so_many_a_minute(scene: Any) -> None:
    loaded = scene.pool.champion("tiny")
    for _ in range(2):
        scene.newcomers.saw(seen(loaded, *[f"job {n}" for n in range(8)]))
    scene.newcomers.turn()
    scene.newcomers.turn()
    assert jobs_of(scene) == ["job 0", "job 1", "job 2"]
    scene.newcomers._minute -= 61
    scene.newcomers.turn()
    assert jobs_of(scene) == [f"job {n}" for n in range(6)]


def test_a_full_field_takes_no_more_and_says_so(scene: Any) -> None:
    found = scene.small.add("tiny", "champion", {"job": ["pilot", "cook", "clown"]}, "admin").fields["job"]
    assert (found.added, found.known, list(found.refused)) == (["pilot", "cook"], [], ["clown"])
    found = scene.small.add("tiny", "champion", {"job": ["cook", "clown"]}, "admin").fields["job"]
    assert (found.added, found.known, list(found.refused)) == ([], ["cook"], ["clown"])
    assert "overlay_values" in found.refused["clown"]


def test_while_the_llm_service_is_away_values_wait(scene: Any) -> None:
    scene.llm.away = True
    loaded = scene.pool.champion("tiny")
    for _ in range(2):
        scene.newcomers.saw(seen(loaded, "pilot"))
    scene.newcomers.turn()
    asked = len(scene.llm.calls)
    scene.newcomers.turn()
    assert (jobs_of(scene), len(scene.llm.calls)) == ([], asked), "it does not knock all the time"
    scene.llm.away = False
    scene.newcomers._rest_until = 0.0
    scene.newcomers.turn()
    assert jobs_of(scene) == ["pilot"]


def test_in_every_form_unseen_values_are_found(valued_bundle: Bundle) -> None:
    loaded = Loaded("tiny", valued_bundle.version, Scorer.load(valued_bundle.path))
    body = b'{"rows": [{"job": "pilot", "city": "c99"}, {"job": "student"}, {"job": ""}]}'
    forms = [
        decode(body, None, 10, reader=loaded.scorer.reader),
        Batch({"job": ["pilot", "student", None]}, 3),
        Batch(pa.table({"job": ["pilot", "student", None], "age": [1, 2, 3]}), 3),
    ]
    for batch in forms:
        scored = Scored("id", loaded, None, batch, np.zeros(3), None)
        assert list(unseen_values(scored, frozenset({"job"}))) == [("job", "pilot")]
        assert list(unseen_values(scored, frozenset())) == []


def test_of_too_many_values_the_longest_unseen_are_forgotten() -> None:
    sightings = Sightings(2)
    first, second, third = ((("m", "v"), "job", value) for value in "abc")
    assert [sightings.add(one) for one in (first, second, first, third, second, first)] == [1, 1, 2, 1, 1, 1]


def test_it_is_off_by_default() -> None:
    assert not CtrSettings().newcomers
