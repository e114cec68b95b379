"""Registered schemas: every version of what the language model reads stays, the newest answers to the name."""

import time
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from llactr_core.errors import NotFoundError
from llactr_core.schema import Schema
from services.llm.rows import SchemaRow
from services.shared.storage.storage import Storage, hold

SCHEMAS_LOCK = 0x11AC74


@dataclass(frozen=True)
class Registered:
    """A schema as it is registered. `number` counts the versions of its name from 1."""

    schema: Schema
    number: int
    fingerprint: str
    registered_at: float


class SchemaStore:
    """The schemas by name."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def register(self, schema: Schema) -> tuple[Registered, bool]:
        """Make this schema the newest of its name; whether it is a new version comes second.

        A schema that reads the same (names, descriptions, kinds, in order) as the newest is no new version; its
        encoding rules replace the former ones. One that reads the same as an older version becomes the newest again.
        """
        with self.storage.session() as session:
            hold(session, SCHEMAS_LOCK)
            return self._register(session, schema)

    def _register(self, session: Session, schema: Schema) -> tuple[Registered, bool]:
        newest = _newest(session, schema.name)
        fingerprint = schema.semantic_fingerprint
        content = schema.model_dump(mode="json")
        if newest is not None and newest.fingerprint == fingerprint:
            newest.content = content
            return _registered(newest), False
        number = newest.number + 1 if newest else 1
        known = session.scalar(
            select(SchemaRow).where(SchemaRow.name == schema.name, SchemaRow.fingerprint == fingerprint)
        )
        if known is not None:
            session.delete(known)
            session.flush()
        row = SchemaRow(
            name=schema.name, number=number, fingerprint=fingerprint, content=content, registered_at=time.time()
        )
        session.add(row)
        session.flush()
        return _registered(row), True

    def get(self, name: str) -> Registered:
        """The newest schema of a name.

        Raises:
            NotFoundError: there is none.
        """
        with self.storage.reading() as session:
            row = _newest(session, name)
            if row is None:
                raise NotFoundError(
                    f"there is no schema {name!r}; GET /v1/schemas lists the known ones, POST /v1/schemas registers one"
                )
            return _registered(row)

    def list(self) -> list[Registered]:
        """The newest schema of every name, by name."""
        with self.storage.reading() as session:
            rows = session.scalars(select(SchemaRow).order_by(SchemaRow.name, SchemaRow.number))
            newest = {row.name: row for row in rows}
            return [_registered(row) for row in newest.values()]


def _newest(session: Session, name: str) -> SchemaRow | None:
    return session.scalar(select(SchemaRow).where(SchemaRow.name == name).order_by(SchemaRow.number.desc()).limit(1))


def _registered(row: SchemaRow) -> Registered:
    return Registered(Schema.model_validate(row.content), row.number, row.fingerprint, row.registered_at)
