"""Options that several commands share, and the reading of KEY=VALUE pairs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from services.cli.console import CommandError

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job to its end.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="KEY=VALUE", help="May be repeated; VALUE as JSON or plain text."),
]


def dataset_for_service(given: str) -> str:
    """A dataset as a service on this machine finds it: a URL as it is, a path made absolute."""
    return given if "://" in given else str(Path(given).absolute())


def parse_options(pairs: Sequence[str] | None) -> dict[str, object] | None:
    """{"epochs": 3, "backbone_options": {"dropout": 0.1}} from ["epochs=3", "backbone_options.dropout=0.1"].

    Raises:
        CommandError: a pair has no "=", or a key stands below something that is no object.
    """
    if not pairs:
        return None
    options: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise CommandError(f"option {pair!r} is not of the form KEY=VALUE, such as epochs=3")
        _put(options, key.split("."), _value(value), key)
    return options


def _put(options: dict[str, object], path: list[str], value: object, key: str) -> None:
    for part in path[:-1]:
        inner = options.setdefault(part, {})
        if not isinstance(inner, dict):
            raise CommandError(f"option {key!r}: {part!r} was given as a value before; it cannot hold other options")
        options = inner
    options[path[-1]] = value


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
