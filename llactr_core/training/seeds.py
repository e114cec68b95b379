"""Seeds of independent random streams, derived from one seed and a position."""

import numpy as np


def derived_seed(*parts: int) -> int:
    """A 63-bit seed for the position `parts` (seed, epoch, step, ...); different positions give unrelated seeds."""
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1, np.uint64)[0] >> np.uint64(1))
