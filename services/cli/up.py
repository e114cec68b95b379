"""`llactr up`: both services with their workers in the foreground, and the main job if there is no model yet."""

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from services.cli.console import AsJson, CommandError, complain
from services.cli.place import HOST, Place

VARIABLES = ("CTR_PORT", "LLM_PORT", "LLACTR_HOME", "DATA", "LABEL", "LLM_MODEL")


def up(
    data: Annotated[Path | None, typer.Option(envvar="DATA", help="A dataset; by default the sample.")] = None,
    label: Annotated[str | None, typer.Option(envvar="LABEL", help="Its column of 0 and 1.")] = None,
    under_make: Annotated[bool, typer.Option("--under-make", help="End with the make that runs this.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start both services and their workers; train a first model if there is none. Ctrl-C ends everything.

    With --json, a line with the URLs, the model and its metrics is printed once the champion answers.
    """
    from services.cli.dataset_choice import DatasetChoice
    from services.cli.launch import launch
    from services.cli.stopping import Make, StopRequest

    stop = StopRequest(Make() if under_make else None)
    stop.listen()
    _drop_empty_variables()
    try:
        place = Place.from_environment()
        with _own_home(place):
            check_ports(place)
            launch(place, DatasetChoice.asked(data, label), stop, as_json=as_json)
    except CommandError as error:
        complain(error, as_json)
        raise typer.Exit(1) from error


def _drop_empty_variables() -> None:
    # `make run LLM_MODEL=` means the default, and the services' settings would take "" for a value.
    for name in VARIABLES:
        if os.environ.get(name) == "":
            del os.environ[name]


def check_ports(place: Place) -> None:
    """Refuse to start on a port that something else listens on.

    Raises:
        CommandError: a port is taken, or both services were given the same one.
    """
    if place.ctr_port == place.llm_port:
        raise CommandError(f"CTR_PORT and LLM_PORT are both {place.ctr_port}; give each service a port of its own")
    for name, port in (("CTR_PORT", place.ctr_port), ("LLM_PORT", place.llm_port)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                probe.listen(1)
            except OSError as error:
                why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
                raise CommandError(
                    f"port {port} {why}; end what listens there, or choose another one: `make run {name}=PORT`"
                ) from error


@contextmanager
def _own_home(place: Place) -> Iterator[None]:
    """The state folder with its admin key, for this process alone."""
    from services.shared.access.admin_key import ensure_admin_key

    try:
        place.home.mkdir(parents=True, exist_ok=True)
        lock = (place.home / "up.lock").open("w", encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"cannot write to LLACTR_HOME {place.home}: {error.strerror}; choose another folder"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(
                f"the services are running with LLACTR_HOME {place.home} already; end them, or choose another folder"
            ) from error
        ensure_admin_key(place.key_file)
        yield
        sys.stdout.flush()
