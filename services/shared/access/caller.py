"""Who calls: what a key may do, and to what."""

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What a key may do; a higher role may do all that a lower one may."""

    READER = 1
    TRAINER = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        """The role in lower case, as it is written everywhere outside the code."""
        return self.name.lower()


@dataclass(frozen=True)
class Caller:
    """Whose call it is. `scopes` names the schemas (LLM) or models (CTR) that the key is limited to; None is all.
    `rate_per_s` is the most calls a second, where the key has a rate of its own.
    """

    key_id: str | None
    key_name: str | None
    role: Role
    scopes: frozenset[str] | None = None
    rate_per_s: float | None = None

    def sees(self, name: str) -> bool:
        """Whether the schema or model of this name is among the caller's own."""
        return self.scopes is None or name in self.scopes


ANYONE = Caller(None, None, Role.READER)
ADMIN_FILE = Caller("admin.key", "admin.key", Role.ADMIN)
