"""What is remembered of keys: for how long, what happens without the storage, and that guesses use no memory."""

import pytest

from llactr_core.errors import UnavailableError
from services.shared.access.caller import Caller, Role
from services.shared.access.key_cache import KNOWN_KEYS, LONGEST_S, UNKNOWN_KEYS, KeyCache

SOMEONE = Caller("id", "someone", Role.READER)


class Table:
    """A storage of keys that counts how often it is asked, and may not answer."""

    def __init__(self) -> None:
        self.keys: dict[str, Caller] = {"a": SOMEONE}
        self.asked = 0
        self.answers = True

    def __call__(self, digest: str) -> Caller | None:
        self.asked += 1
        if not self.answers:
            raise UnavailableError("no answer")
        return self.keys.get(digest)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def cache(clock: Clock) -> KeyCache:
    return KeyCache(5.0, clock)


def test_a_key_is_looked_up_once_in_its_time(cache: KeyCache, table: Table, clock: Clock) -> None:
    assert [cache.caller("a", table) for _ in range(3)] == [SOMEONE] * 3
    assert [cache.caller("b", table) for _ in range(3)] == [None] * 3
    assert table.asked == 2
    assert cache.known("a") is SOMEONE
    clock.now += 5.0
    assert cache.known("a") is None
    del table.keys["a"]
    table.keys["b"] = SOMEONE
    assert (cache.caller("a", table), cache.caller("b", table)) == (None, SOMEONE)
    assert cache.known("a") is None


def test_a_known_key_works_on_for_ten_minutes_without_the_storage(cache: KeyCache, table: Table, clock: Clock) -> None:
    cache.caller("a", table)
    cache.caller("b", table)
    table.answers = False
    clock.now += 60
    assert [cache.caller("a", table) for _ in range(50)] == [SOMEONE] * 50
    assert table.asked == 3
    for unknown in ("b", "c"):
        with pytest.raises(UnavailableError):
            cache.caller(unknown, table)
    clock.now += LONGEST_S - 60
    with pytest.raises(UnavailableError):
        cache.caller("a", table)
    table.answers = True
    assert cache.caller("a", table) is SOMEONE


def test_who_comes_while_the_storage_is_slow_does_not_wait_for_it(cache: KeyCache, table: Table, clock: Clock) -> None:
    cache.caller("a", table)
    clock.now += 6

    def slow(_digest: str) -> Caller | None:
        assert cache.caller("a", table) is SOMEONE
        return None

    asked = table.asked
    assert cache.caller("a", slow) is None
    assert table.asked == asked


def test_what_was_forgotten_stays_so_though_it_was_just_looked_up(cache: KeyCache, table: Table) -> None:
    def revoked_meanwhile(_digest: str) -> Caller | None:
        cache.clear()
        return SOMEONE

    cache.caller("a", revoked_meanwhile)
    assert cache.known("a") is None


def test_guesses_push_out_no_known_key(cache: KeyCache, table: Table) -> None:
    cache.caller("a", table)
    for guess in range(3 * UNKNOWN_KEYS):
        cache.caller(f"guess-{guess}", table)
    assert cache.known("a") is SOMEONE
    assert len(cache) == UNKNOWN_KEYS + 1
    for number in range(KNOWN_KEYS + 10):
        table.keys[f"k{number}"] = SOMEONE
        cache.caller(f"k{number}", table)
    assert len(cache) == UNKNOWN_KEYS + KNOWN_KEYS
