"""INSERT ... ON CONFLICT, which SQLAlchemy has for each database apart."""

from typing import cast

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session


def insert_into(session: Session, table: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """An insert into the table that can say what happens where the row is there already.

    It is one of the table, not of the class: the ORM would send rows with and without a null apart, one by one.
    """
    is_postgres = session.get_bind().dialect.name == "postgresql"
    return (postgresql.insert if is_postgres else sqlite.insert)(cast(Table, table.__table__))
