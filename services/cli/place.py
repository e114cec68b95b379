"""Where the services are and where their state lies, from the environment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from services.cli.console import CommandError, ServiceRefusalError

if TYPE_CHECKING:
    from llactr_client import Client

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Ports and state folder.

    Read from CTR_PORT (8000), LLM_PORT (8001) and LLACTR_HOME (.llactr); LLACTR_CTR_URL and LLACTR_LLM_URL name
    services elsewhere, LLACTR_KEY the key for them (default: the one in admin.key in the state folder).
    """

    ctr_port: int
    llm_port: int
    home: Path
    ctr_url: str
    llm_url: str

    @classmethod
    def from_environment(cls) -> Self:
        """Read the variables.

        Raises:
            CommandError: a port is no port.
        """
        ctr_port, llm_port = _port("CTR_PORT", 8000), _port("LLM_PORT", 8001)
        return cls(
            ctr_port=ctr_port,
            llm_port=llm_port,
            home=Path(os.environ.get("LLACTR_HOME") or ".llactr").absolute(),
            ctr_url=os.environ.get("LLACTR_CTR_URL") or f"http://{HOST}:{ctr_port}",
            llm_url=os.environ.get("LLACTR_LLM_URL") or f"http://{HOST}:{llm_port}",
        )

    @property
    def key_file(self) -> Path:
        """The file with the admin key."""
        return self.home / "admin.key"

    def key(self) -> str | None:
        """LLACTR_KEY, or the admin key of the state folder, or None."""
        given = os.environ.get("LLACTR_KEY", "").strip()
        if given:
            return given
        try:
            return self.key_file.read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None


@contextmanager
def services() -> Iterator["Client"]:
    """A client of the running services, for a command.

    Raises:
        CommandError: they do not answer, or a job failed.
        ServiceRefusalError: they refused.
    """
    from llactr_client import ApiError, Client, ClientError, ConnectionFailed

    place = Place.from_environment()
    try:
        with Client(place.ctr_url, place.llm_url, place.key()) as client:
            yield client
    except ApiError as error:
        hint = f"; is LLACTR_HOME ({place.home}) that of the running services?" if error.status in (401, 403) else ""
        raise ServiceRefusalError(error.status, error.code, error.detail + hint, error.row, error.field) from error
    except ConnectionFailed as error:
        raise CommandError(f"{error}; start the services with `make run` (or set CTR_PORT and LLM_PORT)") from error
    except ClientError as error:
        raise CommandError(str(error)) from error


def _port(name: str, default: int) -> int:
    given = os.environ.get(name) or str(default)
    if not given.isdigit() or not 1 <= int(given) <= 65535:
        raise CommandError(f"{name} is {given!r}; give a port number from 1 to 65535")
    return int(given)
