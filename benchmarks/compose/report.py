"""The log of a run: printed as it goes, and kept for the page."""

import time


class Report:
    """Lines with the seconds since the start, and whether each thing that was looked at is as it should be."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failed: list[str] = []
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def section(self, title: str) -> None:
        """Begin a part of the run."""
        self._line(f"== {title}")

    def note(self, text: str) -> None:
        """Say what happens."""
        self._line(f"        {text}")

    def check(self, what: str, is_so: bool, found: object = "") -> None:
        """Say whether something is as it should be, and remember where it is not."""
        if not is_so:
            self.failed.append(what)
        shown = f" ({found})" if str(found) else ""
        self._line(f"   {'ok  ' if is_so else 'FAIL'} {what}{shown}")

    def _line(self, text: str) -> None:
        line = f"{self.seconds:6.0f} s {text}"
        self.lines.append(line)
        print(line, flush=True)
