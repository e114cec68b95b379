"""Alembic at work on a database; imported only where there is something to bring up or down."""

import importlib.util
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, text

from llactr_core.errors import OptionError

MIGRATION_LOCK = 0x11AC72


def bring(engine: Engine, package: str, revision: str) -> None:
    """What `services.shared.storage.storage.migrate` says."""
    config = _config_of(package)
    script = ScriptDirectory.from_config(config)
    newest_first = [one.revision for one in script.walk_revisions()] + ["base"]
    goal = script.get_current_head() if revision == "head" else revision
    if goal not in newest_first:
        raise OptionError(f"{package!r} has no revision {revision!r}; the known ones are {', '.join(newest_first)}")
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        config.attributes["connection"] = connection
        current = MigrationContext.configure(connection).get_current_revision() or "base"
        if current not in newest_first:
            raise OptionError(
                f"the database is at revision {current!r}, which {package!r} does not have: it belongs to another "
                "service or to another release; give each service a database of its own"
            )
        is_down = newest_first.index(current) < newest_first.index(goal)
        (command.downgrade if is_down else command.upgrade)(config, goal)


def _config_of(package: str) -> Config:
    found = importlib.util.find_spec(package)
    folders = list(found.submodule_search_locations or []) if found else []
    if not folders or not (Path(folders[0]) / "migrations").is_dir():
        raise OptionError(f"{package!r} has no migrations; give the package that holds a folder 'migrations'")
    config = Config()
    config.set_main_option("script_location", str(Path(folders[0]) / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def run_migrations(tables: MetaData) -> None:
    """What a package's migrations/env.py calls: run the revisions on the connection that `migrate` opened."""
    context.configure(connection=context.config.attributes["connection"], target_metadata=tables)
    with context.begin_transaction():
        context.run_migrations()
