"""The online lookup on a real Redis, PostgreSQL and SQLite: what is filled in and reported, what an outage costs."""

import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
import redis
from servers import Postgres, Redis
from sqlalchemy import create_engine, text

from llactr_core.errors import OptionError
from llactr_core.schema import Schema
from services.ctr.formats.decoding import Batch
from services.ctr.lookup.config import LookupFile
from services.ctr.lookup.lookup import Lookup

SCHEMA = Schema.parse(
    {
        "name": "movies",
        "label": "click",
        "fields": [{"name": "user_id"}, {"name": "gender"}, {"name": "age"}, {"name": "title"}, {"name": "released"}],
    }
)
USERS = {"17": {"gender": "F", "age": "34"}, "18": {"gender": "M"}}


def lookup_of(*entities: dict[str, object], timeout_ms: int = 1000) -> Lookup:
    return Lookup(LookupFile.model_validate({"timeout_ms": timeout_ms, "schemas": {"movies": list(entities)}}))


@pytest.fixture
def users(redis_server: Redis) -> Iterator[Lookup]:
    client = redis.Redis.from_url(redis_server.url)
    for key, values in USERS.items():
        client.hset(f"user:{key}", mapping=values)
    client.close()
    lookup = lookup_of({"entity": "user_id", "redis": {"url": redis_server.url, "prefix": "user:"}})
    yield lookup
    lookup.close()


@pytest.fixture
def movies_url(database_url: str) -> str:
    engine = create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE movies (id INTEGER PRIMARY KEY, title TEXT, released DATE, other TEXT)"))
        connection.execute(text("INSERT INTO movies VALUES (1, 'Heat', '1995-12-15', 'x'), (2, NULL, NULL, 'y')"))
    engine.dispose()
    return database_url


ROWS = [
    {"user_id": 17, "age": "", "tag": "kept"},
    {"user_id": "18", "gender": "X"},
    {"user_id": "99"},
    {"gender": "F"},
]
COLUMNS = {"user_id": ["17", "18", "99", None], "gender": [None, "X", None, "F"], "age": ["", None, None, None]}


def test_rows_keep_what_they_say_and_get_the_rest(users: Lookup) -> None:
    filled = users.fill(SCHEMA, Batch(ROWS, 4))
    assert filled.batch.features == [
        {"user_id": 17, "age": "34", "gender": "F", "tag": "kept"},
        {"user_id": "18", "gender": "X"},
        {"user_id": "99"},
        {"gender": "F"},
    ]
    assert filled.absent == [[], [], ["user_id=99"], []]
    assert ROWS[0] == {"user_id": 17, "age": "", "tag": "kept"}


@pytest.mark.parametrize("form", ["columns", "arrow"])
def test_columns_and_arrow_tables_likewise(users: Lookup, form: str) -> None:
    features = COLUMNS if form == "columns" else pa.table(COLUMNS)
    filled = users.fill(SCHEMA, Batch(features, 4))
    found = filled.batch.features
    columns = found.to_pydict() if isinstance(found, pa.Table) else found
    assert columns["gender"] == ["F", "X", None, "F"]
    assert [value or None for value in columns["age"]] == ["34", None, None, None]
    assert filled.absent == [[], [], ["user_id=99"], []]


def test_an_sql_table_fills_in_too_and_keys_of_any_type_are_found(movies_url: str) -> None:
    lookup = lookup_of({"entity": "movie", "sql": {"url": movies_url, "table": "movies", "key": "id"}})
    filled = lookup.fill(SCHEMA, Batch([{"movie": 1}, {"movie": "2"}, {"movie": 3}], 3))
    first, second, third = filled.batch.features
    assert first["title"] == "Heat"  # type: ignore[index]
    assert str(first["released"]) == str(date(1995, 12, 15))  # type: ignore[index]
    assert second == {"movie": "2"}
    assert third == {"movie": 3}
    assert filled.absent == [[], [], ["movie=3"]]
    lookup.close()


def test_fields_limit_what_is_filled_in(redis_server: Redis) -> None:
    client = redis.Redis.from_url(redis_server.url)
    client.hset("17", mapping={"gender": "F", "age": "34"})
    client.close()
    lookup = lookup_of({"entity": "user_id", "fields": ["age"], "redis": {"url": redis_server.url}})
    assert lookup.fill(SCHEMA, Batch([{"user_id": 17}], 1)).batch.features == [{"user_id": 17, "age": "34"}]
    lookup.close()


def test_only_schemas_of_the_file_are_looked_up(users: Lookup) -> None:
    assert users.applies(SCHEMA)
    assert not users.applies(SCHEMA.model_copy(update={"name": "other"}))


def test_a_dead_store_is_reported_and_left_alone(users: Lookup, redis_server: Redis) -> None:
    redis_server.kill()
    for _ in range(2):
        started = time.monotonic()
        filled = users.fill(SCHEMA, Batch([{"user_id": 17}], 1))
        assert filled.batch.features == [{"user_id": 17}]
        assert filled.absent == [["user_id=17"]]
        assert time.monotonic() - started < 1.5


def test_a_store_that_hangs_costs_its_timeout_and_no_more(redis_server: Redis) -> None:
    lookup = lookup_of({"entity": "user_id", "redis": {"url": redis_server.url}}, timeout_ms=100)
    redis_server.freeze()
    started = time.monotonic()
    assert lookup.fill(SCHEMA, Batch([{"user_id": 17}], 1)).absent == [["user_id=17"]]
    assert time.monotonic() - started < 1
    redis_server.thaw()
    lookup.close()


def test_strange_keys_are_absent_and_switch_nothing_off(users: Lookup, redis_server: Redis, postgres_url: str) -> None:
    client = redis.Redis.from_url(redis_server.url)
    client.set("user:odd", "no hash")
    client.close()
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE people (name TEXT PRIMARY KEY, gender TEXT)"))
        connection.execute(text("INSERT INTO people VALUES ('ann', 'F')"))
    engine.dispose()
    people = lookup_of({"entity": "name", "sql": {"url": postgres_url, "table": "people", "key": "name"}})
    for lookup, odd, good in ((users, {"user_id": "odd"}, {"user_id": 17}), (people, {"name": "a\0"}, {"name": "ann"})):
        assert lookup.fill(SCHEMA, Batch([odd], 1)).absent[0]
        (row,) = lookup.fill(SCHEMA, Batch([good], 1)).batch.features
        assert row["gender"] == "F"
    people.close()


def test_a_store_that_hangs_holds_up_no_other(redis_server: Redis, postgres: Postgres, postgres_url: str) -> None:
    client = redis.Redis.from_url(redis_server.url)
    client.hset("user:17", mapping={"gender": "F"})
    client.close()
    sql = {"entity": "movie", "sql": {"url": postgres_url, "table": "movies", "key": "id"}}
    lookup = lookup_of({"entity": "user_id", "redis": {"url": redis_server.url, "prefix": "user:"}}, sql, timeout_ms=50)
    lookup.fill(SCHEMA, Batch([{"user_id": 17, "movie": 1}], 1))
    postgres.freeze()
    try:
        for _ in range(30):
            (row,) = lookup.fill(SCHEMA, Batch([{"user_id": 17, "movie": 1}], 1)).batch.features
            time.sleep(0.05)
        assert row["gender"] == "F"
    finally:
        postgres.thaw()
    time.sleep(1)  # what hung goes on, and gives its connection back
    lookup.close()


def test_thousands_of_rows_have_more_time(users: Lookup, redis_server: Redis) -> None:
    lookup = lookup_of({"entity": "user_id", "redis": {"url": redis_server.url, "prefix": "user:"}}, timeout_ms=200)
    rows = [{"user_id": 17}] + [{"user_id": number} for number in range(100, 8100)]
    filled = lookup.fill(SCHEMA, Batch(rows, len(rows)))
    assert filled.batch.features[0] == {"user_id": 17, "gender": "F", "age": "34"}  # type: ignore[index]
    assert sum(map(len, filled.absent)) == 8000
    lookup.close()


def test_arrow_columns_keep_their_types_and_odd_ones_do_no_harm(users: Lookup) -> None:
    far = pa.array([2**62, 2**62], pa.timestamp("ms"))
    table = pa.table({"user_id": [17, 18], "age": pa.array([0.1, None], pa.float32()), "seen": far})
    filled = users.fill(SCHEMA, Batch(table, 2)).batch.features
    assert isinstance(filled, pa.Table)
    assert filled.schema.field("age").type == pa.float32()  # no gap was filled: 18 has no age in the store
    assert filled["gender"].to_pylist() == ["F", "M"]


def test_a_missing_column_is_a_refusal_and_no_error(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE movies (number INTEGER, title TEXT)"))
    engine.dispose()
    source = {"url": f"sqlite:///{tmp_path / 'x.db'}", "table": "movies", "key": "id"}
    lookup = lookup_of({"entity": "movie", "sql": source})
    assert lookup.fill(SCHEMA, Batch([{"movie": 1}], 1)).absent == [["movie=1"]]
    lookup.close()


def test_a_missing_table_is_an_outage_and_no_error(tmp_path: Path) -> None:
    source = {"url": f"sqlite:///{tmp_path / 'x.db'}", "table": "nowhere", "key": "id"}
    lookup = lookup_of({"entity": "movie", "sql": source})
    assert lookup.fill(SCHEMA, Batch([{"movie": 1}], 1)).absent == [["movie=1"]]
    lookup.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("schemas: [", "cannot be read"),
        ("schemas: {a: [{entity: u}]}", "exactly one of redis and sql"),
        ("schemas: {a: [{entity: u, redis: {}}]}", "exactly one of url and url_env"),
        ("schemas: {a: [{entity: u, redis: {url: x}, colour: red}]}", "Extra inputs"),
        ("[]", "the file"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "lookups.yaml").write_text(content)
    with pytest.raises(OptionError, match=reason):
        LookupFile.read(tmp_path / "lookups.yaml")


def test_urls_come_from_the_environment_and_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"entity": "u", "redis": {"url_env": "FEATURES_URL"}}
    with pytest.raises(OptionError, match="FEATURES_URL"):
        lookup_of(source)
    monkeypatch.setenv("FEATURES_URL", "nonsense://user:secret@host")
    with pytest.raises(OptionError) as caught:
        lookup_of(source)
    assert "secret" not in str(caught.value)
