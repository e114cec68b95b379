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


def test_every_command_in_the_readme_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    known = FILE.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    used = re.findall(r"`?llactr ((?:[a-z]+ ?){1,2})", " ".join(re.findall(r"(?m)^llactr .*|`llactr [^`]*`", text)))
    assert len(used) >= 5
    for words in used:
        first, *rest = words.split()
        assert f"`llactr {first}" in known
        if rest and f"### `llactr {first}`" not in known:
            assert f"### `llactr {first} {rest[0]}`" in known
    for target in re.findall(r"\bmake ([a-z][a-z-]*)\b(?= |`|$)", text):
        assert f"\n{target}:" in makefile, f"the README names `make {target}`"
