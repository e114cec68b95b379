"""Well-mixed bits of a position: the same rows go the same way in every process."""

from typing import Any

import numpy as np

Words = np.ndarray[Any, np.dtype[np.uint64]]
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def mixed(words: Words) -> Words:
    """SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): 64 well-mixed bits for each counter value."""
    words = words + _MIX[0]
    words = (words ^ (words >> np.uint64(30))) * _MIX[1]
    words = (words ^ (words >> np.uint64(27))) * _MIX[2]
    return words ^ (words >> np.uint64(31))
