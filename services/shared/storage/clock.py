"""The database's clock, which every process that uses the database shares."""

import time
from typing import Any

from sqlalchemy import Double, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

SQLITE_CLOCK = "llactr_now"


class DatabaseTime(FunctionElement[float]):
    """The time now, in seconds since the epoch (UTC), as an expression in a statement."""

    name = "database_time"
    type = Double()
    inherit_cache = True


def time_of(session: Session) -> float:
    """The time now by the database's clock, in seconds since the epoch (UTC)."""
    return float(session.scalar(select(DatabaseTime())) or 0.0)


def teach_clock(connection: Any) -> None:
    """Give an SQLite connection its clock: the machine's, because whoever opens the file is on this machine."""
    connection.create_function(SQLITE_CLOCK, 0, time.time)


@compiles(DatabaseTime, "postgresql")
def _on_postgresql(_element: DatabaseTime, _compiler: Any, **_options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


@compiles(DatabaseTime, "sqlite")
def _on_sqlite(_element: DatabaseTime, _compiler: Any, **_options: Any) -> str:
    return f"{SQLITE_CLOCK}()"
