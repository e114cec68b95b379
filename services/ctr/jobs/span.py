"""One bar for a job of several parts: each part reports 0..1 of itself into its share of the whole."""

from dataclasses import dataclass, replace

from llactr_core.progress import Progress, ProgressCallback


@dataclass(frozen=True)
class Span:
    """The share `start`..`end` of a job's bar."""

    tell: ProgressCallback
    start: float = 0.0
    end: float = 1.0

    def __call__(self, progress: Progress) -> None:
        """Pass a part's report on. The time left is the part's, at its pace over the rest of the bar."""
        done = self.start + (self.end - self.start) * min(max(progress.done, 0.0), 1.0)
        eta = progress.eta_s
        if eta is not None and self.end > done:
            eta *= (1.0 - done) / (self.end - done)
        self.tell(replace(progress, done=done, eta_s=eta))

    def part(self, start: float, end: float) -> "Span":
        """A share of this share."""
        width = self.end - self.start
        return Span(self.tell, self.start + start * width, self.start + end * width)

    def stage(self, name: str, done: float = 0.0) -> None:
        """Say what is being done now."""
        self(Progress(name, done))
