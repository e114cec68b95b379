"""Promotion: what is gated, what is recorded, what happens when two promote at once, and roll backs."""

import itertools
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llactr_core.errors import ConflictError, NotFoundError, UnavailableError
from services.ctr.promotion.child import ChildJudge
from services.ctr.promotion.gate import GateResult, GateRule
from services.ctr.promotion.judge import judge_bundles
from services.ctr.promotion.promotion import Promotion, gate_of
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings


class CountingJudge:
    """The real gate, or a fixed answer; counts how often it was asked, and lets others act meanwhile."""

    def __init__(self, passed: bool | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.passed = passed
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, challenger: Path, champion: Path, rule: GateRule) -> GateResult:
        self.asked.append((challenger.name, champion.name))
        self.meanwhile()
        result = judge_bundles(challenger, champion, rule)
        return result if self.passed is None else replace(result, passed=self.passed, reason="so it was decided")


@pytest.fixture
def judge() -> CountingJudge:
    return CountingJudge()


@pytest.fixture
def promotion(registry: Registry, settings: CtrSettings, judge: CountingJudge) -> Promotion:
    return Promotion(registry, settings, judge)


def test_the_first_champion_other_aliases_and_old_champions_are_not_gated(
    registry: Registry, promotion: Promotion, judge: CountingJudge, publish: Callable[..., str]
) -> None:
    old, new = publish("llactr"), publish("none")
    assert promotion.promote("tiny", "champion", old).reason == "the model's first champion"
    assert promotion.promote("tiny", "challenger", new).moved
    assert judge.asked == []
    judge.passed = True
    moved = promotion.promote("tiny", "champion", "challenger", by="anna", job="j1")
    assert (moved.moved, moved.version, moved.previous, moved.reason) == (True, new, old, "so it was decided")
    assert moved.gate is not None
    assert moved.gate["champion"] == old
    judge.passed = False
    assert "was champion before" in promotion.promote("tiny", "champion", "previous").reason
    assert promotion.promote("tiny", "champion", old).reason == "it is the champion already"
    assert judge.asked == [(new, old)]
    assert promotion.decision_of("j1", "champion") == moved
    assert promotion.decision_of("j1", "challenger") is None
    assert registry.aliases()["tiny"] == {"champion": old, "challenger": new, "previous": new}


def test_a_job_cannot_bring_back_what_was_rolled_back(
    promotion: Promotion, judge: CountingJudge, publish: Callable[..., str]
) -> None:
    good, bad = publish("llactr", alias="champion"), publish("none")
    promotion.promote("tiny", "champion", bad, force=True)
    assert promotion.roll_back("tiny").version == good
    judge.passed = False
    assert not promotion.promote("tiny", "champion", bad, job="j1").moved
    assert promotion.promote("tiny", "champion", bad, by="an admin").moved


def test_a_refusal_leaves_the_champion_is_recorded_and_not_judged_twice(
    registry: Registry, promotion: Promotion, judge: CountingJudge, publish: Callable[..., str]
) -> None:
    old, new = publish("llactr", alias="champion"), publish("none")
    judge.passed = False
    first, second = (promotion.promote("tiny", "champion", new, by="anna") for _ in range(2))
    assert first == second
    assert (first.moved, first.previous, len(judge.asked)) == (False, old, 1)
    assert registry.aliases()["tiny"] == {"champion": old}
    newest = registry.history("tiny", 10)[0]
    assert (newest.outcome, newest.reason, newest.by, newest.gate) == ("refused", first.reason, "anna", first.gate)
    forced = promotion.promote("tiny", "champion", new, force=True)
    assert (forced.moved, forced.gate, len(judge.asked)) == (True, None, 1)
    assert "forced" in forced.reason


def test_another_rule_judges_again(
    registry: Registry, settings: CtrSettings, judge: CountingJudge, publish: Callable[..., str]
) -> None:
    publish("llactr", alias="champion")
    judge.passed = False
    for margin in (0.002, 0.002, 0.1):
        rule = settings.model_copy(update={"gate_margin": margin})
        Promotion(registry, rule, judge).promote("tiny", "champion", publish("none"))
    assert len(judge.asked) == 2
    assert gate_of(rule) == GateRule(margin=0.1)


def test_a_champion_that_moves_while_it_is_judged_against_is_judged_against_anew(
    registry: Registry, promotion: Promotion, judge: CountingJudge, publish: Callable[..., str], tiny: Any
) -> None:
    old, new = publish("llactr", alias="champion"), publish("none")
    third = "f" * 64
    shutil.copytree(registry.bundle_path(old), registry.bundle_path(third))
    registry.register("tiny", third, tiny.lineage_of(), {})
    others = itertools.cycle([third, old])
    judge.meanwhile = lambda: registry.set_alias("tiny", "champion", next(others))
    judge.passed = True
    with pytest.raises(ConflictError, match="kept moving"):
        promotion.promote("tiny", "champion", new)
    assert new not in registry.champions("tiny")
    judge.asked.clear()
    now = registry.aliases()["tiny"]["champion"]
    judge.meanwhile = lambda: registry.set_alias("tiny", "champion", old)
    assert promotion.promote("tiny", "champion", new).previous == old
    assert judge.asked == [(new, now), (new, old)]


def test_two_promotions_at_once_end_with_one_champion_and_an_honest_history(
    registry: Registry, settings: CtrSettings, publish: Callable[..., str]
) -> None:
    publish("llactr"), publish("none")
    versions = [v.version for v in registry.versions("tiny")]
    judge = CountingJudge(passed=True)
    decided = []

    def promote(version: str) -> None:
        decided.append(Promotion(registry, settings, judge).promote("tiny", "champion", version))

    threads = [threading.Thread(target=promote, args=(version,)) for version in versions * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(decision.moved for decision in decided)
    assert len(decided) == 4
    history = [move for move in reversed(registry.history("tiny", 10)) if move.alias == "champion"]
    for before, after in itertools.pairwise(history):
        assert after.previous == before.version
    assert registry.aliases()["tiny"]["champion"] == history[-1].version


def test_a_bundle_with_another_schema_than_it_was_registered_with_is_refused(
    registry: Registry, promotion: Promotion, bundles: Any, tiny: Any
) -> None:
    bundle = bundles["none"]
    shutil.copytree(bundle.path, registry.bundle_path(bundle.version))
    registry.register("tiny", bundle.version, tiny.lineage_of(bundle, schema_fingerprint="another"), {})
    with pytest.raises(ConflictError, match="another schema"):
        promotion.promote("tiny", "champion", bundle.version, force=True)
    assert registry.aliases() == {}


def test_roll_back_goes_one_further_with_each_call(
    registry: Registry, promotion: Promotion, publish: Callable[..., str], tiny: Any
) -> None:
    with pytest.raises(NotFoundError):
        promotion.roll_back("nobody")
    one, two = publish("llactr", alias="champion"), publish("none", alias="champion")
    registry.set_alias("tiny", "champion", one)
    back = promotion.roll_back("tiny", by="anna")
    assert (back.version, back.previous) == (two, one)
    assert promotion.roll_back("tiny").version == one
    with pytest.raises(ConflictError, match="no champion before"):
        promotion.roll_back("tiny")
    registry.set_alias("tiny", "champion", two)
    shutil.rmtree(registry.bundle_path(one))
    with pytest.raises(ConflictError, match="not fit to serve"):
        promotion.roll_back("tiny")
    assert registry.aliases()["tiny"]["champion"] == two
    assert [move.outcome for move in registry.history("tiny", 3)] == ["moved", "rolled-back", "rolled-back"]


def test_the_gate_in_a_process_of_its_own_says_the_same(
    registry: Registry, settings: CtrSettings, publish: Callable[..., str]
) -> None:
    old, new = registry.bundle_path(publish("llactr")), registry.bundle_path(publish("none"))
    child, rule = ChildJudge(60.0), gate_of(settings)
    assert child(new, old, rule) == judge_bundles(new, old, rule)
    without = child(new, old / "nothing", rule)
    assert (without.numbers["champion"], "the ratio alone decided" in without.reason) == (None, True)
    (new / "index.npy").write_bytes(b"#")
    publish("llactr", alias="champion")
    with pytest.raises(ConflictError, match="not fit to serve"):
        Promotion(registry, settings, child, lambda _model, _version: None).promote("tiny", "champion", new.name)
    with pytest.raises(UnavailableError, match="gate_timeout_s"):
        ChildJudge(0.01)(old, old, rule)
