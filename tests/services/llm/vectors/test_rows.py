import time
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select, update

from services.llm.rows import EmbeddingRow
from services.llm.vectors import rows
from services.llm.vectors.rows import DAY_S, VectorRows
from services.llm.vectors.vector import Vector
from services.shared.storage.storage import Storage


def some(*names: str) -> dict[str, Vector]:
    return {name: Vector(name[-1].encode() * 8, len(name)) for name in names}


def keys(storage: Storage) -> set[str]:
    with storage.reading() as session:
        return set(session.scalars(select(EmbeddingRow.key)))


def age(storage: Storage, seconds: float, *names: str) -> None:
    with storage.session() as session:
        session.execute(update(EmbeddingRow).where(EmbeddingRow.key.in_(names)).values(used_at=time.time() - seconds))


def test_what_was_written_is_read(storage: Storage) -> None:
    stored = VectorRows(storage, 100)
    stored.write(some("a", "b"))
    stored.write(some("b", "cc"))
    assert stored.read(["a", "b", "cc", "d"]) == (some("a", "b", "cc"), [])
    stored.write({"a": Vector(b"1234", 9)})
    assert stored.read(["a"]) == ({"a": Vector(b"1234", 9)}, [])


def test_many_keys_are_read_in_several_statements(storage: Storage) -> None:
    many = some(*(f"key{number}" for number in range(1201)))
    stored = VectorRows(storage, 10_000)
    stored.write(many)
    assert stored.read([*many, "none"])[0] == many


def test_use_is_marked_once_a_day(storage: Storage) -> None:
    stored = VectorRows(storage, 100)
    stored.write(some("a", "b"))
    age(storage, DAY_S + 5, "a")
    age(storage, DAY_S - 60, "b")
    assert stored.read(["a", "b"])[1] == ["a"]
    stored.touch(["a"])
    assert stored.read(["a", "b"])[1] == []


def test_beyond_the_limit_those_used_longest_ago_go(storage: Storage, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(rows, "BATCH", 3)
    stored = VectorRows(storage, 4)
    names = [f"k{number}" for number in range(12)]
    stored.write(some(*names))
    for number, name in enumerate(names):
        age(storage, 1000 - number, name)
    age(storage, 1, "k0")
    assert stored.prune() == 8
    assert keys(storage) == {"k0", "k9", "k10", "k11"}
    assert stored.prune() == 0


def test_writers_of_the_same_keys_do_not_hinder_each_other(storage: Storage) -> None:
    stored = VectorRows(storage, 1000)
    forth = some(*(f"k{number}" for number in range(40)))
    back = dict(reversed(forth.items()))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(stored.write, [forth, back] * 10))
    assert stored.read(list(forth)) == (forth, [])
