from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from services.llm.vectors.memory import ENTRY_BYTES, Memory
from services.llm.vectors.vector import Reading, Vector, unpack

READING = Reading("m" * 64, "a" * 64, {"pooling": "mean", "max_tokens": 512}, 3)
VECTOR = Vector(np.array([1.5, -0.0, 1e-42], dtype="<f4").tobytes(), 7)


def test_the_key_is_a_function_of_model_adapter_template_and_text() -> None:
    others = [
        replace(READING, model_digest="n" * 64),
        replace(READING, adapter_digest=None),
        replace(READING, adapter_digest="b" * 64),
        replace(READING, template={"pooling": "last", "max_tokens": 512}),
        replace(READING, template={"pooling": "mean"}),
    ]
    keys = [reading.key(text) for reading in [READING, *others] for text in ("a", "b", "a ", "\n", "é")]
    assert len(set(keys)) == len(keys)
    same = replace(READING, template={"max_tokens": 512, "pooling": "mean"}, width=None)
    assert same.key("a") == READING.key("a")


def test_packed_and_unpacked_is_the_same_bits() -> None:
    key = READING.key("a")
    assert unpack(key, VECTOR.pack(key), 3) == VECTOR
    assert unpack(key, VECTOR.pack(key), None) == VECTOR
    assert VECTOR.width == 3


@pytest.mark.parametrize("flipped", [0, 31, 32, 40, 47])
def test_a_flipped_bit_is_seen(flipped: int) -> None:
    key = READING.key("a")
    damaged = bytearray(VECTOR.pack(key))
    damaged[flipped] ^= 1
    assert unpack(key, bytes(damaged), 3) is None


PACKED = [b"", b"x", bytes(range(48)), VECTOR.pack("k")[:-4], VECTOR.pack("other"), b"\0" * 36]


@pytest.mark.parametrize("packed", PACKED)
def test_other_bytes_are_no_vector(packed: bytes) -> None:
    assert unpack("k", packed, 3) is None
    assert unpack("k", packed, None) is None


def test_a_vector_of_another_width_is_refused() -> None:
    assert unpack("k", VECTOR.pack("k"), 4) is None
    assert unpack("k", Vector(b"", 0).pack("k"), None) is None


def test_memory_forgets_what_was_used_longest_ago() -> None:
    entry = len(VECTOR.content) + ENTRY_BYTES
    memory = Memory(3 * entry)
    memory.put_many({"a": VECTOR, "b": VECTOR})
    memory.put_many({"b": VECTOR, "c": VECTOR})
    assert memory.get_many(["a"]) == {"a": VECTOR}
    memory.put_many({"d": VECTOR})
    assert memory.get_many("abcd").keys() == {"a", "c", "d"}
    memory.put_many({"large": Vector(b"\0" * 4 * entry, 1)})
    assert memory.get_many(["a", "b", "c", "d", "large"]) == {}
    memory.put_many({"e": VECTOR})
    assert memory.get_many("e") == {"e": VECTOR}


def test_memory_holds_as_much_as_it_may_whatever_comes() -> None:
    memory = Memory(10 * (len(VECTOR.content) + ENTRY_BYTES))
    names = [str(number % 37) for number in range(500)]
    for one, other in pairwise(names):
        memory.put_many({one: VECTOR, other: VECTOR})
    assert len(memory.get_many(set(names))) == 10
