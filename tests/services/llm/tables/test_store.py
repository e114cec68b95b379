"""Published tables: what is damaged is refused, what is shared stays whole."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from llactr_core.errors import ArtifactError, NotFoundError
from llactr_core.semantics.table import FieldTable
from services.llm.settings import LlmSettings
from services.llm.tables.store import Origin, TableStore
from services.shared.storage.storage import Storage


@pytest.fixture
def settings(tmp_path: Path) -> LlmSettings:
    return LlmSettings(home=tmp_path, cached_tables=2)


@pytest.fixture
def store(storage: Storage, settings: LlmSettings) -> TableStore:
    return TableStore(storage, settings)


def table(seed: int = 0, metrics: dict[str, float] | None = None) -> FieldTable:
    vectors = np.random.default_rng(seed).standard_normal((2, 4)).astype(np.float32)
    return FieldTable(("a", "b"), vectors, "tiny", f"recipe-{seed}", metrics=metrics or {})


def origin(schema: str = "s") -> Origin:
    return Origin(schema, "f" * 64, "tiny", None)


def test_publishing_twice_is_publishing_once(store: TableStore) -> None:
    first, again = (store.publish(table(), origin()) for _ in range(2))
    assert first == again
    assert first.aliases == ("current",)
    assert len(store.versions("s")) == 1
    assert store.by_recipe("s", "recipe-0") == first
    assert store.by_recipe("other", "recipe-0") is None


def test_two_schemas_share_a_version_and_its_file(store: TableStore) -> None:
    first = store.publish(table(metrics={"loss": 1.0}), origin("one"))
    second = store.publish(table(metrics={"loss": 2.0}), origin("two"))
    assert first.version == second.version
    for schema in ("one", "two"):
        assert store.read(store.info(schema)).table == table()


def test_a_version_alone_is_looked_up_among_the_callers_own_schemas_first(store: TableStore) -> None:
    for schema in ("b", "c", "a"):
        version = store.publish(table(), origin(schema)).version
    for scopes, found in ((None, "a"), (frozenset({"c", "b"}), "b"), (frozenset({"c"}), "c"), (frozenset({"d"}), "a")):
        assert store.any_of_version(version, scopes).schema == found


@pytest.mark.parametrize("damage", ["flip", "cut", "other", "gone"])
def test_a_damaged_file_is_refused(store: TableStore, settings: LlmSettings, damage: str) -> None:
    info = store.publish(table(), origin())
    assert store.by_recipe("s", "recipe-0") == info
    [path] = (settings.state / "artifacts" / "tables").iterdir()
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        changed = {"flip": content[:-1] + bytes([content[-1] ^ 1]), "cut": content[:-3], "other": table(1).to_bytes()}
        path.write_bytes(changed[damage])
    with pytest.raises(ArtifactError, match=info.version[:12]):
        store.read(info)
    assert store.by_recipe("s", "recipe-0") is None, "an equal refresh must make it again"
    assert store.read(store.publish(table(), origin())).table == table()


def test_a_damaged_adapter_is_refused(store: TableStore, settings: LlmSettings, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "weights").write_bytes(b"abc")
    info = store.publish(table(), origin(), folder)
    kept = store.adapter(info)
    assert kept is not None
    assert (kept / "weights").read_bytes() == b"abc"
    assert kept.name == info.adapter_digest
    (kept / "weights").write_bytes(b"abd")
    again = store.adapter(info)
    assert again is not None
    assert (again / "weights").read_bytes() == b"abc", "a damaged copy is fetched anew"
    [stored] = (settings.state / "artifacts" / "adapters").iterdir()
    (stored / "weights").write_bytes(b"abd")
    (again / "weights").write_bytes(b"abd")
    with pytest.raises(ArtifactError, match="adapter"):
        store.adapter(info)
    assert store.by_recipe("s", "recipe-0") is None, "an equal refresh must make it again"


def test_tables_in_memory_are_few_and_read_once(store: TableStore, settings: LlmSettings) -> None:
    infos = [store.publish(table(seed), origin()) for seed in range(3)]
    first = store.read(infos[0])
    assert store.read(infos[0]) is first
    for info in infos[1:]:
        store.read(info)
    assert store.read(infos[0]) is not first


def test_current_keeps_what_it_left(store: TableStore) -> None:
    one, two, three = (store.publish(table(seed), origin()) for seed in range(3))
    assert (store.info("s").version, store.info("s", "previous").version) == (three.version, two.version)
    info, before = store.move("s", "current", one.version)
    assert (info.version, before) == (one.version, three.version)
    assert store.info("s", "previous").version == three.version
    with pytest.raises(NotFoundError):
        store.move("s", "current", "0" * 64)
    with pytest.raises(NotFoundError):
        store.move("other", "current", one.version)
    assert store.info("s").version == one.version


def test_no_move_is_lost_when_many_move_at_once(store: TableStore) -> None:
    """Whatever the order: `previous` is what `current` was before the last move, so the two always differ."""
    versions = [store.publish(table(seed), origin()).version for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        befores = list(pool.map(lambda version: store.move("s", "current", version)[1], versions * 5))
    ends = {store.info("s", alias).version for alias in ("current", "previous")}
    assert len(ends) == 2
    # Each move leaves one version and enters another: what was entered and not left again is where it ends.
    moves = [(before, after) for before, after in zip(befores, versions * 5, strict=True) if before != after]
    entered = [after for _, after in moves] + [versions[3]]
    for before, _ in moves:
        entered.remove(str(before))
    assert entered == [store.info("s").version]


def test_metrics_that_are_no_numbers_are_null(store: TableStore) -> None:
    assert store.publish(table(metrics={"loss": float("nan")}), origin()).metrics == {"loss": None}
