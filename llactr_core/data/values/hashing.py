"""The loops of the flat hash, compiled by numba: hash bytes, fill the slots, find cells.

A slot is two words of 64 bits: [tag 32 | number of the value 32] and [start of its text 48 | length 16]. The first
value has the number 1, so that an empty slot is 0. Slots are probed linearly from where the hash points. What is found
is compared byte by byte, so two values never share an id however their hashes fall.
"""

import numpy as np
from numba import njit, types, uint64

from llactr_core.data import vocabulary
from llactr_core.data.values.words import BYTES, INTS, KINDS, LENGTHS, STARTS, few, prefetch, same, word

MISSING, TEXT, INTEGER, NUMBER, LITERAL = range(5)  # kinds of cells, see `llactr_core.data.values.cells`
AT_ONCE = 256  # cells: their cache misses overlap
ODD = -1
_WORDS = types.Array(types.uint64, 1, "C", readonly=True)
_GOLDEN, _FIRST, _SECOND = uint64(0x9E3779B97F4A7C15), uint64(0xBF58476D1CE4E5B9), uint64(0x94D049BB133111EB)
_LOW = uint64(0xFFFFFFFF)
_LENGTH = uint64(0xFFFF)


@njit
def _hash(at, n, seed):
    """64 bits of n bytes at an address: words folded in by multiplication, then mixed as SplitMix64 does."""
    h = seed * _GOLDEN ^ n
    if n < uint64(8):
        h ^= few(at, n)
    else:
        end = at + n - uint64(8)
        while at < end:
            h = (h ^ word(at)) * _FIRST
            h ^= h >> uint64(32)
            at += uint64(8)
        h ^= word(end)
    h = h * _FIRST
    h = (h ^ h >> uint64(31)) * _SECOND
    return h ^ h >> uint64(32)


@njit(types.void(types.uint64[::1], BYTES, INTS, INTS), cache=True, nogil=True)
def fill(slots, texts, ends, fields):
    """Put all values into slots that are 0; value v has the bytes from ends[v] to ends[v + 1] and is of fields[v]."""
    size, base = uint64(len(slots) // 2), uint64(texts.ctypes.data)
    for v in range(len(fields)):
        start = uint64(ends[v])
        n = uint64(ends[v + 1]) - start
        h = _hash(base + start, n, uint64(fields[v]))
        at = (h >> uint64(32)) * size >> uint64(32)
        while slots[uint64(2) * at] != uint64(0):
            at += uint64(1)
            if at == size:
                at = uint64(0)
        slots[uint64(2) * at] = h << uint64(32) | uint64(v + 1)
        slots[uint64(2) * at + uint64(1)] = start << uint64(16) | n


@njit(
    types.int64(_WORDS, BYTES, BYTES, STARTS, LENGTHS, KINDS, INTS, INTS, types.int64, types.int32[:, ::1]),
    cache=True,
    nogil=True,
)
def find(slots, texts, data, starts, lengths, kinds, plan, first, longest, out):
    """Local ids of cells, into out; how many of them are odd (-1): numbers that are no integers, and long texts.

    Args:
        slots, texts: the index.
        data, starts, lengths, kinds: cells [B, C].
        plan: for each of F fields [field, column of the cells, column of out], flat [3 F].
        first: the number of each field's first value, and behind them that of all values [K + 1].
        longest: bytes of a text beyond which it is odd.
        out: [B, S].
    """
    size = uint64(len(slots) // 2)
    table, known, given = uint64(slots.ctypes.data), uint64(texts.ctypes.data), uint64(data.ctypes.data)
    fields = len(plan) // 3
    cells = len(starts) * fields
    room = min(AT_ONCE, cells)
    hashes, places = np.empty(room, np.uint64), np.empty(room, np.uint64)
    odd = 0
    for begin in range(0, cells, AT_ONCE):
        many = min(AT_ONCE, cells - begin)
        row, f = divmod(begin, fields)
        for i in range(many):
            column = plan[3 * f + 1]
            n = uint64(max(0, min(lengths[row, column], longest)))
            hashes[i] = _hash(given + uint64(starts[row, column]), n, uint64(plan[3 * f]))
            places[i] = (hashes[i] >> uint64(32)) * size >> uint64(32)
            prefetch(table + (places[i] << uint64(4)))
            f += 1
            if f == fields:
                f = 0
                row += 1
        for i in range(many):
            prefetch(known + (slots[uint64(2) * places[i] + uint64(1)] >> uint64(16)))
        row, f = divmod(begin, fields)
        for i in range(many):
            column = plan[3 * f + 1]
            kind, n = kinds[row, column], lengths[row, column]
            low, high = uint64(first[plan[3 * f]]), uint64(first[plan[3 * f] + 1])
            found = vocabulary.UNSEEN
            if kind == MISSING or n <= 0:
                found = vocabulary.MISSING
            elif kind == NUMBER or n > longest:
                found = ODD
                odd += 1
            else:
                start, tag, at = given + uint64(starts[row, column]), hashes[i] & _LOW, places[i]
                head, tail = slots[uint64(2) * at], slots[uint64(2) * at + uint64(1)]
                while head != uint64(0):
                    number = (head & _LOW) - uint64(1)
                    like = head >> uint64(32) == tag and tail & _LENGTH == uint64(n) and low <= number < high
                    if like and same(known + (tail >> uint64(16)), start, uint64(n)):
                        found = int(number - low) + vocabulary.FIRST_VALUE
                        break
                    at += uint64(1)
                    if at == size:
                        at = uint64(0)
                    head, tail = slots[uint64(2) * at], slots[uint64(2) * at + uint64(1)]
            out[row, plan[3 * f + 2]] = found
            f += 1
            if f == fields:
                f = 0
                row += 1
    return odd
