"""How long-running work tells where it stands."""

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Progress:
    """One report: the stage in words, the share done (0..1), and where known step, loss and seconds left."""

    stage: str
    done: float
    step: int | None = None
    loss: float | None = None
    eta_s: float | None = None


ProgressCallback = Callable[[Progress], None]


def within(tell: ProgressCallback, start: float, end: float) -> ProgressCallback:
    """A callback that passes reports on as the share `start`..`end` of a larger piece of work."""

    def part(progress: Progress) -> None:
        tell(replace(progress, done=start + (end - start) * progress.done))

    return part


def silent(_: Progress) -> None:
    """The callback that reports to nobody."""
