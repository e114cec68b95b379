"""How the commands speak: lines for people, one JSON line for machines, one line for an error."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from llactr_core.errors import LlactrError

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on the last line.")]


class CommandError(LlactrError):
    """A command cannot go on; the detail is all that its user has to know."""

    status = 400
    code = "command-failed"


class ServiceRefusalError(LlactrError):
    """A service refused the call of a command; status and code are the service's."""

    def __init__(self, status: int, code: str, detail: str, row: int | None = None, field: str | None = None) -> None:
        super().__init__(detail, row=row, field=field)
        self.status = status
        self.code = code


def say(text: str) -> None:
    """Print a line for people."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns as plain text, also right in a file."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join((lines[0], "-" * len(lines[0]), *lines[1:]))


def result(content: Mapping[str, object], as_json: bool) -> None:
    """Print the machine-readable last line, if it was asked for."""
    if as_json:
        say(json.dumps(content, ensure_ascii=False, default=str))


def complain(error: LlactrError, as_json: bool) -> None:
    """Print an error: one line on stderr, and with --json the problem as the last line of stdout."""
    where = "" if error.row is None else f" (row {error.row})"
    sys.stderr.write(f"error: {' '.join(error.detail.split())}{where}\n")
    problem = {"code": error.code, "status": error.status, "detail": error.detail}
    place = {"row": error.row, "field": error.field}
    result({"error": {**problem, **{k: v for k, v in place.items() if v is not None}}}, as_json)
