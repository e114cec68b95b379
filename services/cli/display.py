"""Progress of long work: bars on a terminal, plain lines everywhere else."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from services.cli.console import say

if TYPE_CHECKING:
    from llactr_client import Job

    from llactr_core.progress import Progress

PLAIN_EVERY_S = 5.0


class Display:
    """Shows one bar per task: what it is, its stage, the share done, the loss and the time left."""

    def __init__(self) -> None:
        self._bars = _Bars() if sys.stdout.isatty() else _Lines()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def job(self, task: str) -> Callable[["Job"], None]:
        """The callback that shows a service's job as the bar `task`."""
        return lambda job: self.show(
            task, job.stage or job.state, job.progress, job.loss, job.eta_s, done=job.state == "succeeded"
        )

    def progress(self, task: str) -> Callable[["Progress"], None]:
        """The callback that shows work in this process as the bar `task`."""
        return lambda p: self.show(task, p.stage, p.done, p.loss, p.eta_s)

    def show(
        self, task: str, stage: str, share: float, loss: float | None, eta_s: float | None, *, done: bool = False
    ) -> None:
        """Show where a task stands; nothing after the end."""
        if self._closed:
            return
        tail = " ".join((_loss(loss), _left(None if done else eta_s))).strip()
        self._bars.show(task, "done" if done else stage, 1.0 if done else share, tail)

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.say(text)

    def close(self) -> None:
        """Give the terminal back; may be called twice. Lines can be printed still."""
        self._closed = True
        self._bars.close()


class _Lines:
    def __init__(self) -> None:
        self._last: dict[str, tuple[str, float]] = {}

    def show(self, task: str, stage: str, share: float, tail: str) -> None:
        last_stage, last_time = self._last.get(task, ("", 0.0))
        now = time.monotonic()
        if stage == last_stage and now - last_time < PLAIN_EVERY_S:
            return
        self._last[task] = (stage, now)
        self.say(f"{task}: {stage} {share:.0%} {tail}".rstrip())

    def say(self, text: str) -> None:
        say(text)

    def close(self) -> None:
        self._last.clear()


class _Bars(_Lines):
    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TextColumn("{task.fields[stage]}"),
            TextColumn("[dim]{task.fields[tail]}"),
        )
        self._progress = Progress(*columns)
        self._tasks: dict[str, TaskID] = {}

    def show(self, task: str, stage: str, share: float, tail: str) -> None:
        if task not in self._tasks:
            self._progress.start()
            self._tasks[task] = self._progress.add_task(task, total=1.0, stage=stage, tail=tail)
        self._progress.update(self._tasks[task], completed=share, stage=stage, tail=tail)

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


def _loss(loss: float | None) -> str:
    return "" if loss is None else f"loss {loss:.4f}"


def _left(eta_s: float | None) -> str:
    if eta_s is None:
        return ""
    minutes, seconds = divmod(round(eta_s), 60)
    return f"{minutes}:{seconds:02d} left"
