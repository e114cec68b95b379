"""The TypeScript client: its types are those of the services, and its own tests pass against a running service."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ctr_house import CtrHouse

from llactr_core.bundle import Bundle
from services.cli.openapi import write

ROOT = Path(__file__).parents[3] / "clients" / "typescript"
pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="Node.js with npm is not installed")


def npm(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        ["npm", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    """What package-lock.json names, unless it is there already."""
    installed, wanted = ROOT / "node_modules" / ".package-lock.json", ROOT / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
        npm("ci", "--no-audit", "--no-fund")


@pytest.fixture(scope="module")
def house(shop_bundles: tuple[Bundle, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Iterator[CtrHouse]:
    running = CtrHouse(tmp_path_factory.mktemp("typescript"))
    running.publish(shop_bundles[0], "shop")
    running.start()
    running.until_ready()
    yield running
    running.stop()


def test_the_types_are_those_of_the_services(tmp_path: Path) -> None:
    write(ROOT / "build")
    committed = {name: (ROOT / "src" / "generated" / f"{name}.ts").read_text() for name in ("ctr", "llm")}
    for name, types in committed.items():
        npm(
            "exec",
            "--",
            "openapi-typescript",
            f"build/{name}.json",
            "--default-non-nullable=false",
            "-o",
            str(tmp_path / f"{name}.ts"),
        )
        assert (tmp_path / f"{name}.ts").read_text() == types, "run `make types` and commit what it changes"


def test_the_lock_names_no_place() -> None:
    assert "resolved" not in (ROOT / "package-lock.json").read_text()


def test_the_client_compiles_and_its_tests_pass_against_the_service(house: CtrHouse) -> None:
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    out = npm("test", LLACTR_TEST_CTR_URL=house.url, LLACTR_TEST_KEY=house.key)
    assert "# skipped 0" in out
    assert "# fail 0" in out
