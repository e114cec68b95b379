"""How long-running work tells where it stands."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One report: the stage in words, the share done (0..1), and where known step, loss and seconds left."""

    stage: str
    done: float
    step: int | None = None
    loss: float | None = None
    eta_s: float | None = None


ProgressCallback = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """The callback that reports to nobody."""
