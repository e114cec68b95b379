"""The registry: versions are immutable, aliases move atomically, champion leaves a trail."""

import threading
from typing import Any

import pytest
from sqlalchemy import inspect

from llactr_core.errors import ConflictError, NotFoundError
from services.ctr.registry.store import Registry, require_semantics
from services.shared.storage.storage import Base, Storage, migrate


def test_a_version_keeps_its_first_lineage_and_metrics(registry: Registry, tiny: Any) -> None:
    registry.register("m", "v1", tiny.lineage_of(dataset="first"), {"valid": {"auc": 0.7}})
    again = registry.register("m", "v1", tiny.lineage_of(dataset="second"), {"valid": {"auc": 0.1}})
    assert again.lineage.dataset == "first"
    assert again.metrics == {"valid": {"auc": 0.7}}
    assert [v.version for v in registry.versions("m")] == ["v1"]


def test_versions_are_listed_newest_first_with_their_aliases(registry: Registry, tiny: Any) -> None:
    for version in ("v1", "v2", "v3"):
        registry.register("m", version, tiny.lineage_of(), {})
    registry.set_alias("m", "champion", "v1")
    registry.set_alias("m", "challenger", "v1")
    assert [(v.version, v.aliases) for v in registry.versions("m")] == [
        ("v3", []),
        ("v2", []),
        ("v1", ["challenger", "champion"]),
    ]
    assert registry.models()[0].model_dump() == {
        "name": "m",
        "aliases": {"champion": "v1", "challenger": "v1"},
        "versions": ["v3", "v2", "v1"],
    }
    assert registry.get("m", "champion").version == "v1"


def test_the_champion_before_stays_as_previous_and_a_roll_back_is_the_same_call(registry: Registry, tiny: Any) -> None:
    registry.register("m", "v1", tiny.lineage_of(), {})
    registry.register("m", "v2", tiny.lineage_of(), {})
    assert registry.set_alias("m", "champion", "v1") is None
    assert registry.aliases() == {"m": {"champion": "v1"}}
    assert registry.set_alias("m", "champion", "v2") == "v1"
    assert registry.aliases() == {"m": {"champion": "v2", "previous": "v1"}}
    assert registry.set_alias("m", "champion", "v2") == "v2"
    assert registry.aliases() == {"m": {"champion": "v2", "previous": "v1"}}
    assert registry.set_alias("m", "champion", "v1") == "v2"
    assert registry.aliases() == {"m": {"champion": "v1", "previous": "v2"}}
    registry.set_alias("m", "challenger", "v1")
    registry.set_alias("m", "challenger", "v2")
    assert registry.aliases()["m"]["previous"] == "v2"
    registry.set_alias("m", "champion", "v1")
    registry.set_alias("m", "challenger", "v1")
    assert registry.aliases()["m"]["previous"] == "v2"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda r: r.versions("nobody"), "GET /v1/models lists"),
        (lambda r: r.get("m", "v9"), "no version or alias 'v9'"),
        (lambda r: r.set_alias("m", "champion", "v9"), "no version 'v9'"),
        (lambda r: r.set_alias("nobody", "champion", "v1"), "GET /v1/models lists"),
    ],
)
def test_what_does_not_exist_is_named(registry: Registry, tiny: Any, call: object, word: str) -> None:
    registry.register("m", "v1", tiny.lineage_of(), {})
    with pytest.raises(NotFoundError, match=word):
        call(registry)  # type: ignore[operator]
    assert registry.aliases() == {}


def test_concurrent_registrations_and_moves_lose_nothing(registry: Registry, tiny: Any) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            registry.register("m", f"v{number % 3}", tiny.lineage_of(), {})
            registry.set_alias("m", f"a{number}", f"v{number % 3}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(v.version for v in registry.versions("m")) == ["v0", "v1", "v2"]
    assert registry.aliases()["m"] == {f"a{n}": f"v{n % 3}" for n in range(8)}


def test_only_a_model_with_field_semantics_can_be_refreshed(registry: Registry, tiny: Any) -> None:
    plain = registry.register("m", "v1", tiny.lineage_of(), {})
    enhanced = registry.register("m", "v2", tiny.lineage_of(enhancer="llactr"), {})
    require_semantics("m", enhanced)
    with pytest.raises(ConflictError, match="without field semantics"):
        require_semantics("m", plain)


def test_the_migration_makes_the_tables_that_the_code_declares(storage: Storage) -> None:
    migrate(storage, "services.ctr")  # twice is as once
    inspector = inspect(storage.engine)
    ours = {name: table for name, table in Base.metadata.tables.items() if not name.startswith("llm_")}
    for name in ("ctr_models", "ctr_versions", "ctr_aliases", "ctr_moves", "jobs", "api_keys"):
        columns = {column["name"]: bool(column["nullable"]) for column in inspector.get_columns(name)}
        assert columns == {column.name: bool(column.nullable) for column in ours[name].columns}
