"""Every revision up and down, with rows in every table, on both databases and for both services."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, MetaData, Table, insert, inspect, select

import services.ctr.registry.tables
import services.ctr.traffic.tables
import services.ctr.values.tables
import services.llm.rows
import services.shared.access.audit
import services.shared.jobs.calls  # noqa: F401
from llactr_core.errors import OptionError
from services.shared.storage.storage import Base, Storage, migrate

ROOT = Path(__file__).parents[4]
SERVICES = ["llm", "ctr"]
SHARED = {"jobs", "api_keys", "audit", "idempotency_keys"}
Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def empty(database_url: str) -> Iterator[Storage]:
    """A database without a table."""
    opened = Storage(database_url)
    yield opened
    opened.close()


@pytest.mark.parametrize("service", SERVICES)
def test_revisions_go_up_and_down_and_keep_the_rows(empty: Storage, service: str) -> None:
    package = f"services.{service}"
    states: list[tuple[str, dict[str, Table], Rows]] = []
    for revision in revisions_of(service):
        migrate(empty, package, revision)
        tables = tables_of(empty)
        for _, known, rows in states[-1:]:
            assert rows_of(empty, known) == rows
        filled = states[-1][1] if states else {}
        fill(empty, {name: table for name, table in tables.items() if name not in filled})
        states.append((revision, tables, rows_of(empty, tables)))
        assert all(len(rows) == 1 for rows in states[-1][2].values())
    for revision, tables, _ in reversed(states[:-1]):
        migrate(empty, package, revision)
        assert columns_of(tables_of(empty)) == columns_of(tables)
    assert rows_of(empty, states[0][1]) == states[0][2]
    migrate(empty, package)
    assert columns_of(tables_of(empty)) == columns_of(states[-1][1])
    assert rows_of(empty, states[0][1]) == states[0][2]
    migrate(empty, package, "base")
    assert tables_of(empty) == {}


def revisions_of(service: str) -> list[str]:
    files = sorted((ROOT / "services" / service / "migrations" / "versions").glob("0*.py"))
    return [f"{service}_{file.name[:4]}" for file in files]


@pytest.mark.parametrize("service", SERVICES)
def test_migrations_make_the_declared_tables_and_run_twice(empty: Storage, service: str) -> None:
    for _ in range(2):
        migrate(empty, f"services.{service}")
    declared = {name for name in Base.metadata.tables if name.startswith(f"{service}_")} | SHARED
    assert declared | {"alembic_version"} == set(inspect(empty.engine).get_table_names())
    with empty.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    other = SERVICES[1 - SERVICES.index(service)]
    assert [one for one in differences if f"{other}_" not in str(one)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_up_to_date_costs_no_alembic(tmp_path: Path, service: str) -> None:
    assert revisions_of(service)[-1] == import_module(f"services.{service}.migrations").NEWEST
    code = f"""
import sys
from services.shared.storage.storage import Storage, migrate
storage = Storage("sqlite:///{tmp_path / "known.db"}")
migrate(storage, "services.{service}")
print("alembic" in sys.modules)
"""
    runs = [subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True) for _ in range(2)]
    assert [run.stdout.strip() for run in runs] == ["True", "False"], runs[0].stderr


def test_a_database_of_another_version_is_left_alone(empty: Storage) -> None:
    migrate(empty, "services.llm")
    with empty.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(OptionError, match="at revision '9999'"):
        migrate(empty, "services.llm")


@pytest.mark.parametrize("service", SERVICES)
def test_two_services_do_not_share_a_database(empty: Storage, service: str) -> None:
    other = SERVICES[1 - SERVICES.index(service)]
    migrate(empty, f"services.{other}")
    with pytest.raises(OptionError, match=r"belongs to another service .* database of its own"):
        migrate(empty, f"services.{service}")


@pytest.mark.parametrize("service", SERVICES)
def test_an_operator_goes_down_by_a_command(tmp_path: Path, service: str) -> None:
    url = f"sqlite:///{tmp_path / 'operated.db'}"
    storage = Storage(url)
    migrate(storage, f"services.{service}")
    command = [sys.executable, "-m", f"services.{service}.migrations", f"{service}_0001"]
    subprocess.run(command, env={**os.environ, f"LLACTR_{service.upper()}_DATABASE_URL": url}, cwd=ROOT, check=True)
    assert "audit" not in tables_of(storage)
    storage.close()


def tables_of(storage: Storage) -> dict[str, Table]:
    """The tables as they are in the database, in an order in which they can be filled."""
    found = MetaData()
    found.reflect(storage.engine)
    return {table.name: table for table in found.sorted_tables if table.name != "alembic_version"}


def columns_of(tables: dict[str, Table]) -> dict[str, set[str]]:
    return {name: {column.name for column in table.columns} for name, table in tables.items()}


def fill(storage: Storage, tables: dict[str, Table]) -> None:
    """One row for each table; what is no key is filled too."""
    with storage.engine.begin() as connection:
        for table in tables.values():
            connection.execute(insert(table).values({column.name: value_of(column) for column in table.columns}))


def value_of(column: Column[Any]) -> object:
    kind = column.type.python_type if column.type.__class__.__name__ != "JSON" else dict
    values: dict[type, object] = {
        str: "x",
        int: 7,
        float: 1.5,
        bytes: b"\x00\xff",
        dict: {"deep": ["ü", 1, None]},
        datetime: datetime(2026, 1, 1),
    }
    return values[kind]


def rows_of(storage: Storage, tables: dict[str, Table]) -> Rows:
    with storage.engine.connect() as connection:
        return {name: [tuple(row) for row in connection.execute(select(table))] for name, table in tables.items()}
