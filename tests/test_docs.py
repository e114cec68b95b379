"""The docs say what the code does."""

import json
import re
from pathlib import Path

import pytest

from services.cli.reference import FILE, reference
from services.shared.telemetry import logs, metrics, traces

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_reference_is_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), "run `make docs` and commit docs/reference.md"


def test_every_metric_log_key_and_span_is_in_the_reference() -> None:
    page = FILE.read_text(encoding="utf-8")
    names = [name for name, *_ in metrics.described()] + [*logs.KEYS, *traces.SPANS]
    assert [name for name in names if f"| `{name}` |" not in page] == []


def test_the_page_on_telemetry_names_only_what_there_is() -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
    known = {name for name, *_ in metrics.described()}
    used = {name.removesuffix("_bucket") for name in re.findall(r"\bllactr_[a-z_]+", page)}
    assert used <= known, used - known
    lines = [json.loads(line) for line in re.findall(r'(?m)^\{"time".*$', page)]
    assert len(lines) >= 2
    assert {key for line in lines for key in line} <= logs.KEYS.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def commands_of(page: Path, program: str) -> list[list[str]]:
    """The first two words behind the program's name, wherever it begins a line or a piece of code."""
    text = page.read_text(encoding="utf-8")
    given = re.findall(rf"(?:^|`|\|\| )(?:\.venv/bin/)?{program} ((?:[a-z][a-z-]*\b ?){{1,2}})", text, re.MULTILINE)
    return [words.split() for words in given]


def test_commands_are_found() -> None:
    assert ["models", "refresh"] in commands_of(ROOT / "README.md", "llactr")
    assert ["run"] in commands_of(ROOT / "README.md", "make")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_the_docs_exists(page: Path) -> None:
    known = FILE.read_text(encoding="utf-8")
    for first, *rest in commands_of(page, "llactr"):
        whole, group = f"### `llactr {first}`", f"### `llactr {first} {rest[0] if rest else ''}"
        assert whole in known or group in known, f"{page.name} names `llactr {first} {' '.join(rest)}`"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target, *_ in commands_of(page, "make"):
        assert f"\n{target}:" in makefile, f"{page.name} names `make {target}`"
