"""The house: imports point only downwards, rooms stay small, and nothing forbidden moves in."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    ["llactr_core.errors", "llactr_core.files", "llactr_core.remote", "llactr_client"],
    ["llactr_core.schema", "llactr_core.progress", "llactr_core.turn"],
    ["llactr_core.semantics", "llactr_core.models", "llactr_core.data", "llactr_core.datasets", "llactr_core.metrics"],
    ["llactr_core.enhancers", "llactr_core.scorer", "llactr_core.explainer"],
    ["llactr_core.training", "llactr_core.proof", "llactr_core.export"],
    ["services.shared"],
    ["services.llm", "services.ctr"],
    ["services.cli"],
]
FLOORS[2].append("llactr_core.bundle")
PACKAGES = {"llactr_core": ROOT, "services": ROOT, "llactr_client": ROOT / "clients" / "python"}
FILES = sorted((path, root) for name, root in PACKAGES.items() for path in (root / name).rglob("*.py"))
WEB_AND_STORES = {"fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "redis", "vllm", "httpx2", "services"}


def module_of(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return found


def floor_of(module: str) -> int | None:
    for number, rooms in enumerate(FLOORS):
        if any(module == room or module.startswith(f"{room}.") for room in rooms):
            return number
    return None


@pytest.mark.parametrize(("path", "root"), FILES, ids=lambda value: str(value.relative_to(ROOT)))
def test_imports_point_downwards(path: Path, root: Path) -> None:
    here = floor_of(module_of(path, root))
    for imported in imports_of(path):
        there = floor_of(imported)
        if here is not None and there is not None:
            assert there <= here, f"{path.name} is on floor {here + 1} and imports {imported} from floor {there + 1}"


def test_the_core_knows_no_web_framework_and_no_database() -> None:
    for path, _ in FILES:
        if "llactr_core" in path.parts:
            used = {name.split(".")[0] for name in imports_of(path)}
            assert not used & WEB_AND_STORES, path


def test_the_client_knows_only_http() -> None:
    for path, _ in FILES:
        if "llactr_client" in path.parts:
            assert not {name.split(".")[0] for name in imports_of(path)} & {"llactr_core", "services", "torch"}, path


def test_the_two_services_meet_only_over_http() -> None:
    for path, _ in FILES:
        other = {"llm": "services.ctr", "ctr": "services.llm"}.get(path.relative_to(ROOT).parts[1])
        assert other is None or not any(name.startswith(other) for name in imports_of(path)), path


def test_no_file_is_too_long() -> None:
    for path, _ in FILES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_no_pickle_no_eval_and_no_path_of_a_machine() -> None:
    forbidden = re.compile(r"\bpickle\b\.|torch\.load\(|(?<![\w.])(eval|exec)\(|/(work|farm|root|home)/[a-z]")
    for path, _ in FILES:
        found = forbidden.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path}: {found}"
