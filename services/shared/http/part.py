"""What works beside the requests of an API process."""

from typing import Protocol


class Part(Protocol):
    """Started before the first request and closed after the last one; its work happens in threads of its own."""

    def start(self) -> None:
        """Begin; returns at once."""

    def close(self) -> None:
        """End within about two seconds."""
