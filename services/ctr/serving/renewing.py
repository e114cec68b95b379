"""How a loaded version comes to know more than its bundle; `services.ctr.values` implements it."""

from typing import Protocol

from services.ctr.serving.shelf import Loaded


class Renewing(Protocol):
    """Gives loaded versions their overlays."""

    def is_due(self) -> bool:
        """Whether it is time for another look."""

    def look(self) -> None:
        """Read where the overlays stand. Raises UnavailableError while the database does not answer."""

    def renewed(self, loaded: Loaded) -> Loaded:
        """The version with its overlay; the same object where it has that already."""
