"""Where a name points, as it is kept in memory and told through Redis."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

CHANNEL = "pointers"

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Revision:
    """The state of all pointers in SQL: equal revisions, equal pointers."""

    moved_at: float
    tables: int
    aliases: int


@dataclass(frozen=True, slots=True)
class Pointer:
    """What answering for a name needs: the table's version, its file's digest, and when the name moved there.

    `moved_at` is 0 for a version, which is its own name.
    """

    version: Digest
    file_digest: Digest
    moved_at: float = 0.0


class Told(BaseModel):
    """The pointers of a schema's aliases, as Redis holds them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    aliases: Mapping[str, Pointer]

    @classmethod
    def parse(cls, content: bytes | None) -> "Told":
        """What a value of Redis tells; nothing where it is damaged or absent."""
        try:
            return cls.model_validate_json(content or b'{"aliases": {}}')
        except ValidationError:
            return cls(aliases={})


def told_key(schema: str) -> str:
    """The key of a schema's pointers in Redis."""
    return f"pointers:{schema}"
