"""Ordering scores of two classes: a radix sort, since a comparison sort mispredicts half of its branches."""

import numpy as np
import numpy.typing as npt
from numba import njit, types, uint64

from llactr_core.errors import DataError

_DIGITS, _VALUES = 8, 256
_WIDTH, _LAST = uint64(8), uint64(_VALUES - 1)
_SIGN = uint64(63)
_TOP = uint64(1) << _SIGN
_KEYS = types.uint64[::1]
_SORTED = types.Array(types.uint64, 1, "C", readonly=True)
_SCORES = types.Array(types.float64, 1, "C", readonly=True)
_FLAGS = types.Array(types.bool_, 1, "C", readonly=True)


def wins(is_positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> tuple[int, int]:
    """In how many pairs of a positive and a negative the positive has the higher score, and in how many the lower one.

    Args:
        is_positive: [B].
        scores: finite, [B]; -0.0 and 0.0 are equal.

    Raises:
        DataError: the lengths differ.
    """
    if is_positive.shape != scores.shape:
        raise DataError(f"there are {is_positive.size} labels for {scores.size} scores; give one for each")
    count = int(np.count_nonzero(is_positive))
    rest = len(scores) - count
    positives, negatives = np.empty(count + 1, np.uint64), np.empty(rest + 1, np.uint64)
    _split(np.ascontiguousarray(is_positive), np.ascontiguousarray(scores), positives, negatives)
    above = _sorted(positives[:-1], np.empty(count, np.uint64))
    below = _sorted(negatives[:-1], np.empty(rest, np.uint64))
    return _pairs(above, below), _pairs(below, above)


@njit(types.void(_FLAGS, _SCORES, _KEYS, _KEYS), cache=True, nogil=True)
def _split(is_positive, scores, positives, negatives):
    """Put each score, as a whole number of the same order, into the array of its class.

    Every score is written to both and only one of the two moves on, so both have one place more than they need.
    """
    score = np.empty(1, np.float64)
    bits = score.view(np.uint64)
    i = j = 0
    for row in range(len(scores)):
        score[0] = scores[row] + 0.0  # -0.0 becomes 0.0
        key = bits[0] ^ (_TOP | (uint64(0) - (bits[0] >> _SIGN)))
        positives[i] = negatives[j] = key
        i += is_positive[row]
        j += not is_positive[row]


@njit(_KEYS(_KEYS, _KEYS), cache=True, nogil=True)
def _sorted(keys, spare):
    """The keys in ascending order, in one of the two arrays of equal length; what is in the other is lost."""
    counts = np.zeros((_DIGITS, _VALUES), np.int64)
    for i in range(len(keys)):
        key = keys[i]
        for digit in range(_DIGITS):
            counts[digit, key & _LAST] += 1
            key >>= _WIDTH
    for digit in range(_DIGITS):
        if counts[digit].max() == len(keys):  # no key differs here
            continue
        places = np.cumsum(counts[digit]) - counts[digit]
        shift = uint64(digit) * _WIDTH
        for i in range(len(keys)):
            value = (keys[i] >> shift) & _LAST
            spare[places[value]] = keys[i]
            places[value] += 1
        keys, spare = spare, keys
    return keys


@njit(types.int64(_SORTED, _SORTED), cache=True, nogil=True)
def _pairs(high, low):
    """The number of pairs whose key of `high` is above the one of `low`; both are sorted."""
    total = i = j = 0
    while i < len(high) and j < len(low):
        is_below = low[j] < high[i]
        total += 0 if is_below else j
        j += is_below
        i += not is_below
    return total + (len(high) - i) * j
