"""The vector of a text, the key it is found by, and its form in a cache that may damage it."""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DIGEST_BYTES = 32
TOKENS = struct.Struct("<I")
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Vector:
    """A vector float32 [D] as little-endian bytes, and how many tokens the model read."""

    content: bytes
    tokens: int

    @property
    def width(self) -> int:
        """D."""
        return len(self.content) // FLOAT_BYTES

    def pack(self, key: str) -> bytes:
        """The vector behind a digest of itself and its key."""
        body = TOKENS.pack(self.tokens) + self.content
        return hashlib.sha256(key.encode() + body).digest() + body


def unpack(key: str, packed: bytes, width: int | None) -> Vector | None:
    """What `Vector.pack` made under this key; None where the bytes are anything else."""
    body = packed[DIGEST_BYTES:]
    if hashlib.sha256(key.encode() + body).digest() != packed[:DIGEST_BYTES] or len(body) < TOKENS.size:
        return None
    content = body[TOKENS.size :]
    return Vector(content, TOKENS.unpack_from(body)[0]) if fits(content, width) else None


def fits(content: bytes, width: int | None) -> bool:
    """Whether the bytes can be a vector float32 [D]; where D is not known, of any length."""
    if width is None:
        return len(content) > 0 and len(content) % FLOAT_BYTES == 0
    return len(content) == width * FLOAT_BYTES


@dataclass(frozen=True)
class Reading:
    """All that decides a text's vector besides the text: the weights, the adapter, and how texts are encoded.

    `width` is D where it is known; it decides nothing, and bytes of another length are refused.
    """

    model_digest: str
    adapter_digest: str | None
    template: Mapping[str, Any]
    width: int | None
    _prefix: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        facts = [self.model_digest, self.adapter_digest, dict(self.template)]
        # JSON holds no line break of its own, so that no text can be mistaken for a part of the facts.
        object.__setattr__(self, "_prefix", json.dumps(facts, sort_keys=True).encode() + b"\n")

    def key(self, text: str) -> str:
        """The key of a text's vector: SHA-256 of model, adapter, template and text, as hex."""
        return hashlib.sha256(self._prefix + text.encode()).hexdigest()
