"""The Dockerfiles as text: pinned, without root, without secrets, and with all that they copy."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "deploy" / "Dockerfile", ROOT / "deploy" / "vllm.Dockerfile"]
PROBLEMS = {
    r"^FROM \S+:latest\b": "a tag that moves",
    r"^ADD\s": "ADD instead of COPY",
    r"\bcurl\b[^\n]*\|\s*(ba)?sh\b|\bwget\b[^\n]*\|\s*(ba)?sh\b": "a script from the network",
    r"^(ARG|ENV) .*(PASSWORD|SECRET|TOKEN)": "a secret in a layer",
    r"\bsudo\b|chmod (-R )?777": "more rights than needed",
    r"apt-get upgrade|dist-upgrade": "versions that nobody chose",
    r"https?://(?!127\.0\.0\.1|download\.pytorch\.org/whl/cpu)": "an address of somebody's",
    r"apt-get install (?!--yes --no-install-recommends)": "packages that nobody asked for",
    r"pip install (?!--no-cache-dir)": "pip's cache in a layer",
}


def instructions(file: Path) -> list[str]:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    return [line for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines() if line.strip()]


def stages(file: Path) -> list[list[str]]:
    found: list[list[str]] = []
    for line in instructions(file):
        if line.startswith("FROM "):
            found.append([])
        if found:
            found[-1].append(line)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_that_a_linter_would_find(file: Path) -> None:
    text = "\n".join(instructions(file))
    found = [why for pattern, why in PROBLEMS.items() if re.search(pattern, text, re.MULTILINE)]
    assert found == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_base_is_pinned_or_a_stage(file: Path) -> None:
    own = {match[1] for line in instructions(file) if (match := re.match(r"FROM \S+ AS (\S+)", line))}
    for line in instructions(file):
        if line.startswith("FROM ") and (base := line.split()[1]) not in own:
            assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", base), base


@pytest.mark.parametrize(("file", "name"), [(FILES[0], "scorer"), (FILES[0], "models"), (FILES[1], "vllm")])
def test_an_image_runs_without_rights_and_can_be_asked_how_it_is(file: Path, name: str) -> None:
    [stage] = [s for s in stages(file) if s[0].endswith(f" AS {name}")] or [stages(file)[-1]]
    users = [line.split()[1] for line in stage if line.startswith("USER ")]
    assert users
    assert users[-1] == "10001:10001"
    assert any(line.startswith("HEALTHCHECK ") for line in stage)
    starts = [line for line in stage if line.startswith(("CMD ", "ENTRYPOINT "))]
    assert starts
    assert all("[" in line for line in starts), "a shell in front does not pass SIGTERM on"
    assert "STOPSIGNAL SIGTERM" in instructions(file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_is_copied_is_there_and_not_ignored(file: Path) -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in instructions(file):
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
                assert any(source.startswith(entry) or entry.startswith(source) for entry in kept), source
