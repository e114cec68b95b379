"""`make docs`: docs/reference.md, from the code itself; a test fails where the file is not what this writes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic_settings import BaseSettings

from llactr_core import errors
from services.cli.main import app as command_line
from services.cli.openapi import documents
from services.ctr.settings import CtrSettings
from services.llm.settings import LlmSettings
from services.shared.telemetry import logs, metrics, traces

FILE = Path(__file__).parents[2] / "docs" / "reference.md"
HEAD = """# Reference

Every endpoint, setting, error code, metric, log key, span and command. Written by `make docs` from the code; change
the code, not this page.
Bodies and answers with examples are on the services' own pages: `http://localhost:8000/docs` (CTR) and
`http://localhost:8001/docs` (LLM).
"""


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    described = documents()
    parts += _service("CTR service", described["ctr"], CtrSettings)
    parts += _service("LLM service", described["llm"], LlmSettings)
    parts += ["## Error codes\n", _table(("code", "status", "when"), _errors())]
    parts += ["## Metrics\n", _table(("metric", "type", "labels", "meaning"), _metrics())]
    parts += ["## Log keys\n", _table(("key", "meaning"), _named(logs.KEYS))]
    parts += ["## Spans\n", _table(("span", "meaning"), _named(traces.SPANS))]
    parts += ["## Command line\n", "Every command takes `--json` for a machine-readable last line.\n"]
    parts += _commands(typer.main.get_command(command_line), "llactr")
    return "\n".join(parts)


def _service(title: str, document: Mapping[str, Any], settings: type[BaseSettings]) -> list[str]:
    return [
        f"## {title}: endpoints\n",
        _table(("call", "what it does"), _endpoints(document)),
        f"## {title}: settings\n",
        _table(("variable", "default", "meaning"), _settings(settings)),
    ]


def _endpoints(document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            yield f"`{method.upper()} {path}`", call.get("summary", "")


def _settings(settings: type[BaseSettings]) -> Iterator[tuple[str, ...]]:
    prefix = settings.model_config.get("env_prefix", "")
    for name, field in settings.model_fields.items():
        choices: list[Any] = list(getattr(field.validation_alias, "choices", ()))
        names = [str(c) for c in choices if str(c).isupper()] or [f"{prefix}{name}".upper()]
        default = "" if field.is_required() or field.default_factory else field.default
        yield " or ".join(f"`{n}`" for n in names), f"`{default}`", field.description or ""


def _errors() -> Iterator[tuple[str, ...]]:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.LlactrError):
            yield f"`{kind.code}`", str(kind.status), (kind.__doc__ or "").splitlines()[0]


def _metrics() -> Iterator[tuple[str, ...]]:
    for name, kind, labels, meaning in metrics.described():
        yield f"`{name}`", kind, " ".join(f"`{label}`" for label in labels), meaning


def _named(entries: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for name, meaning in entries.items():
        yield f"`{name}`", meaning


def _commands(command: Any, name: str) -> list[str]:
    """The command, or all that it groups; `Any` because Typer brings a Click of its own, without types."""
    if hasattr(command, "commands"):
        return [line for sub, inner in command.commands.items() for line in _commands(inner, f"{name} {sub}")]
    about = (command.help or "").split("\n\n")[0].replace("\n", " ")
    return [f"### `{name}`\n", f"{about}\n", _table(("argument", "meaning"), _parameters(command))]


def _parameters(command: Any) -> Iterator[tuple[str, ...]]:
    for parameter in command.params:
        names = parameter.opts if parameter.opts[0].startswith("-") else [parameter.name.upper()]
        yield " ".join(f"`{name}`" for name in names), getattr(parameter, "help", None) or ""


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
