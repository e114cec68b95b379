"""How work asks for an accelerator that others of its machine use too."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

# Holds what the device "auto", "cpu" or "cuda" names; may wait for it, and raise JobCancelled meanwhile.
Turn = Callable[[str], AbstractContextManager[None]]


def at_once(_device: str) -> AbstractContextManager[None]:
    """The turn of work that shares with nobody: it waits for nothing."""
    return nullcontext()
