"""Arms: in proportion to their weights, equal in every process, and moved as little as can be."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from llactr_core.errors import NotFoundError
from services.ctr.registry.store import Registry
from services.ctr.serving.pool import ModelPool
from services.ctr.traffic.plan import Arm, Plans, TrafficPlan, place_of
from services.shared.storage.storage import Storage

KEYS = [f"user-{i}" for i in range(20_000)]


def plan_of(*arms: tuple[str, float], salt: str = "") -> TrafficPlan:
    return TrafficPlan.model_validate({"arms": [{"alias": a, "weight": w} for a, w in arms], "salt": salt})


def dealt(plan: TrafficPlan) -> list[str | None]:
    return [plan.arm("tiny", key) for key in KEYS]


def test_arms_get_their_share() -> None:
    shares = Counter(dealt(plan_of(("champion", 7), ("challenger", 2), ("other", 1))))
    for alias, share in (("champion", 0.7), ("challenger", 0.2), ("other", 0.1)):
        assert abs(shares[alias] / len(KEYS) - share) < 0.015


def test_every_process_deals_the_same_arms() -> None:
    plan = plan_of(("champion", 0.5), ("challenger", 0.5))
    code = (
        "import json, sys; from services.ctr.traffic.plan import TrafficPlan;"
        "plan = TrafficPlan.model_validate_json(sys.argv[1]);"
        "print(json.dumps([plan.arm('tiny', f'user-{i}') for i in range(500)]))"
    )
    asked = [sys.executable, "-c", code, plan.model_dump_json()]
    other = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(other.stdout) == dealt(plan)[:500]


def test_a_changed_weight_moves_as_few_keys_as_can_be() -> None:
    before = dealt(plan_of(("a", 0.8), ("b", 0.1), ("c", 0.1)))
    after = dealt(plan_of(("a", 0.6), ("b", 0.2), ("c", 0.2)))
    moved = Counter((x, y) for x, y in zip(before, after, strict=True) if x != y)
    assert set(moved) == {("a", "b"), ("a", "c")}
    assert abs(sum(moved.values()) / len(KEYS) - 0.2) < 0.015


def test_neither_the_order_of_the_arms_nor_their_scale_matters() -> None:
    plan = plan_of(("a", 0.25), ("b", 0.75))
    assert dealt(plan) == dealt(plan_of(("b", 3), ("a", 1)))
    assert dealt(plan.normalised()) == dealt(plan)


def test_the_smallest_weight_beside_the_largest_one_stays_a_weight() -> None:
    plan = TrafficPlan(arms=(Arm(alias="champion", weight=1e6), Arm(alias="challenger", weight=5e-324)))
    kept = plan.normalised()
    assert all(arm.weight > 0 for arm in kept.arms)
    assert TrafficPlan.model_validate(kept.model_dump()).arm("m", "anyone") == "champion"


def test_another_salt_and_another_model_deal_anew() -> None:
    plan = plan_of(("a", 1), ("b", 1))
    for other in (dealt(plan_of(("a", 1), ("b", 1), salt="x")), [plan.arm("other", key) for key in KEYS]):
        same = sum(x == y for x, y in zip(dealt(plan), other, strict=True)) / len(KEYS)
        assert abs(same - 0.5) < 0.02


def test_the_champion_alone_is_no_experiment() -> None:
    assert TrafficPlan().arm("tiny", "x") is None
    assert plan_of(("challenger", 1)).arm("tiny", "x") == "challenger"
    assert plan_of(("a", 1), ("b", 1)).arm("tiny", "\ud800\x00") in ("a", "b")


def test_places_are_even() -> None:
    places = [place_of(key) for key in KEYS]
    assert 0 <= min(places) < 0.001
    assert 0.999 < max(places) < 1
    assert abs(sum(places) / len(places) - 0.5) < 0.01


@pytest.mark.parametrize(
    "wrong",
    [
        {"arms": []},
        {"arms": [{"alias": "a", "weight": 0}]},
        {"arms": [{"alias": "a", "weight": -1}]},
        {"arms": [{"alias": "a", "weight": float("nan")}]},
        {"arms": [{"alias": "a", "weight": float("inf")}]},
        {"arms": [{"alias": "a", "weight": 1}, {"alias": "a", "weight": 2}]},
        {"arms": [{"alias": f"a{i}", "weight": 1} for i in range(11)]},
        {"shadow": {"alias": "a", "share": 0}},
        {"shadow": {"alias": "a", "share": 1.5}},
        {"log_share": -0.1},
        {"log_share": 2},
        {"logshare": 0.1},
    ],
    ids=lambda wrong: f"{str(wrong)[:60]}",
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrafficPlan.model_validate(wrong)


def test_plans_are_kept_replaced_and_removed(
    storage: Storage, registry: Registry, pool: ModelPool, publish: Callable[..., str]
) -> None:
    plans = Plans(storage, registry, log_share=0.25)
    assert plans.of("tiny") == TrafficPlan(log_share=0.25)
    written = plans.write("tiny", plan_of(("champion", 3), ("challenger", 1)))
    assert [(arm.alias, arm.weight) for arm in written.arms] == [("champion", 0.75), ("challenger", 0.25)]
    assert written.log_share == 0.25
    assert plans.read() == {"tiny": written}
    plans.write("tiny", TrafficPlan(log_share=0.5))
    assert plans.of("tiny").log_share == 0.5
    assert plans.remove("tiny") == TrafficPlan(log_share=0.25)
    assert plans.read() == {}


def test_a_plan_names_only_what_there_is(storage: Storage, registry: Registry, pool: ModelPool) -> None:
    plans = Plans(storage, registry)
    with pytest.raises(NotFoundError, match="no alias 'rival'; it has: challenger, champion"):
        plans.write("tiny", plan_of(("champion", 1), ("rival", 1)))
    with pytest.raises(NotFoundError, match="there is no model 'huge'"):
        plans.write("huge", TrafficPlan())
    for call in (plans.of, plans.remove):
        with pytest.raises(NotFoundError):
            call("huge")
    assert plans.read() == {}
