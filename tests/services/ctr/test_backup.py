"""Backup and restore by the commands of docs/operations.md, as they stand there."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from servers import Postgres, program
from sqlalchemy import text

from llactr_core.bundle import Bundle
from llactr_core.scorer import Scorer
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
from services.llm.settings import LlmSettings
from services.shared.access.admin_key import ensure_admin_key
from services.shared.storage.storage import Storage, migrate

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"
ROWS = [{"job": "student", "age": 20}, {"job": "unheard", "city": "c1"}, {}]
Place = Callable[[str], "Home"]


class Home:
    """A folder and two databases, as the documented commands know them."""

    def __init__(self, folder: Path, urls: dict[str, str] | None) -> None:
        self.folder = folder
        given = {name: SecretStr(url) for name, url in (urls or {}).items()}
        self.ctr = CtrSettings(home=folder, database_url=given.get("ctr"))
        self.llm = LlmSettings(home=folder, database_url=given.get("llm"))
        self.variables = {"LLACTR_HOME": str(folder)}
        for name, url in (urls or {}).items():
            self.variables[f"{name.upper()}_DATABASE"] = url.replace("+psycopg", "")

        self.storages: list[Storage] = []

    def storage(self, service: str) -> Storage:
        storage = Storage((self.ctr if service == "ctr" else self.llm).storage_url)
        self.storages.append(storage)
        return storage

    def registry(self) -> Registry:
        return Registry(self.storage("ctr"), self.ctr.bundles)


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    made: list[Home] = []

    def make(name: str) -> Home:
        urls = None
        if kind == "PostgreSQL":
            postgres: Postgres = request.getfixturevalue("postgres")
            urls = {service: postgres.new_database() for service in ("ctr", "llm")}
        made.append(Home(tmp_path / name, urls))
        return made[-1]

    yield make
    for storage in (storage for home in made for storage in home.storages):
        storage.close()


def run_documented(title: str, backup: Path, home: Home) -> None:
    """The block of the page that begins with this comment, by a shell that stops at the first error."""
    [block] = re.findall(rf"```sh\n# {title}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    tools = Path(program("postgres")).parent
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    env = {**os.environ, **home.variables, "BACKUP": str(backup), "PATH": path}
    done = subprocess.run(["sh", "-euc", block], env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_was_saved_comes_back(
    kind: str, place: Place, tmp_path: Path, bundles: dict[str, Bundle], tiny: Any
) -> None:
    first, second, backup = place("first"), place("second"), tmp_path / "backup"
    for service in ("ctr", "llm"):
        migrate(first.storage(service), f"services.{service}")
    registry = first.registry()
    (first.folder / "llm" / "artifacts").mkdir(parents=True)
    (first.folder / "llm" / "artifacts" / "table.bin").write_bytes(b"\x00\x01")
    key = ensure_admin_key(first.ctr.key_file)
    for name, bundle in bundles.items():
        shutil.copytree(bundle.path, first.ctr.bundles / bundle.version)
        registry.register("tiny", bundle.version, tiny.lineage_of(bundle), bundle.metrics)
        registry.set_alias("tiny", "champion" if name == "llactr" else "challenger", bundle.version)
    expected = Scorer.load(registry.bundle_path(bundles["llactr"].version)).score(ROWS)

    aliases = registry.aliases()["tiny"]

    run_documented(f"backup, {kind}", backup, first)
    for storage in first.storages:
        storage.close()
    shutil.rmtree(first.folder)
    run_documented(f"restore, {kind}", backup, second)

    restored = second.registry()
    assert restored.aliases()["tiny"] == aliases
    again = Scorer.load(restored.bundle_path(aliases["champion"])).score(ROWS)
    assert again.tolist() == expected.tolist()
    assert (second.folder / "llm" / "artifacts" / "table.bin").read_bytes() == b"\x00\x01"
    assert second.ctr.key_file.read_text().strip() == key
    assert second.ctr.key_file.stat().st_mode & 0o077 == 0
    with second.storage("llm").reading() as session:
        assert session.execute(text("SELECT count(*) FROM api_keys")).scalar() == 0
