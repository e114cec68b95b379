"""The history of aliases, and the way back that follows from it."""

from typing import Any

import pytest

from llactr_core.errors import ConflictError, NotFoundError
from services.ctr.registry.moves import Outcome, Why
from services.ctr.registry.store import Registry


@pytest.fixture(autouse=True)
def _versions(registry: Registry, tiny: Any) -> None:
    for version in "abcd":
        registry.register("m", version, tiny.lineage_of(), {})


def champion(registry: Registry, version: str, outcome: Outcome = Outcome.MOVED) -> None:
    registry.set_alias("m", "champion", version, Why("why", outcome))


def test_decisions_are_listed_newest_first_in_pages(registry: Registry) -> None:
    why = Why("too bad", Outcome.REFUSED, {"passed": False}, "anna", "j")
    registry.set_alias("m", "champion", "a")
    registry.set_alias("m", "champion", "b", why)
    registry.set_alias("m", "mine", "c")
    registry.remove_alias("m", "mine", "ben")
    removed, mine, refused, first = registry.history("m", 10)
    assert (removed.outcome, removed.alias, removed.version, removed.by) == ("removed", "mine", "c", "ben")
    assert (mine.outcome, mine.previous) == ("moved", None)
    assert (refused.version, refused.previous, refused.reason, refused.by, refused.job) == (
        *("b", "a", "too bad", "anna", "j"),
    )
    assert refused.gate == {"passed": False}
    assert (first.alias, first.version, first.previous, first.gate) == ("champion", "a", None, None)
    assert first.at.endswith("+00:00")
    assert registry.history("m", 2) == [removed, mine]
    assert registry.history("m", 2, before=mine.number) == [refused, first]
    assert registry.aliases() == {"m": {"champion": "a"}}
    with pytest.raises(NotFoundError):
        registry.history("nobody", 5)


def test_a_move_that_rests_on_an_alias_that_has_moved_is_refused(registry: Registry) -> None:
    registry.set_alias("m", "champion", "a", if_at=None)
    with pytest.raises(ConflictError, match="has moved"):
        registry.set_alias("m", "champion", "b", if_at=None)
    with pytest.raises(ConflictError, match="has moved"):
        registry.set_alias("m", "champion", "b", Why("bad", Outcome.REFUSED), if_at="c")
    registry.set_alias("m", "champion", "b", if_at="a")
    assert [move.version for move in registry.history("m", 10)] == ["b", "a"]


def test_the_trail_undoes_roll_backs_and_leaves_deleted_versions_out(registry: Registry) -> None:
    assert registry.trail("m") == []
    for version in "abc":
        champion(registry, version)
    champion(registry, "c")
    champion(registry, "d", Outcome.REFUSED)
    assert registry.trail("m") == ["a", "b", "c"]
    champion(registry, "b", Outcome.ROLLED_BACK)
    assert registry.trail("m") == ["a", "b"]
    champion(registry, "d")
    assert registry.trail("m") == ["a", "b", "d"]
    champion(registry, "b")
    assert registry.trail("m") == ["a", "b", "d", "b"]
    assert registry.champions("m") == ["b", "d", "c", "a"]


@pytest.mark.parametrize("alias", ["champion", "previous"])
def test_what_the_service_keeps_cannot_be_removed(registry: Registry, alias: str) -> None:
    champion(registry, "a")
    champion(registry, "b")
    with pytest.raises(ConflictError, match="cannot be removed"):
        registry.remove_alias("m", alias, None)
    with pytest.raises(NotFoundError, match="no alias"):
        registry.remove_alias("m", "other", None)
