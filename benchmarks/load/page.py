"""docs/soak.md and docs/overload.md: what a run measured, on which machine, with which versions, by which command."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
PACKAGES = ("uvicorn", "fastapi", "onnxruntime", "sqlalchemy", "psycopg", "redis", "pyarrow")
ABOUT = {
    "soak": "A CTR service with two workers on one core, at half of its capacity, while the champion is swapped every "
    "20 s, workers end, and Redis and PostgreSQL are each lost for 30 s. Requests of one row (nine of ten) and of a "
    "hundred rows, open loop, from the load generator `benchmarks/load/load.c` on another core. Each distinct answer "
    "is compared with the scores of the version that it names, to 1e-6.",
    "overload": "One worker of the CTR service on one core, requests of 100 rows from the load generator "
    "`benchmarks/load/load.c` on another core: three times the measured capacity for `seconds`, then half of it.",
}


def write(name: str, result: dict[str, Any]) -> None:
    """Write docs/NAME.md and docs/NAME.json, and print the numbers."""
    packages = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    faults = result["faults"]
    lines = [
        f"# {name.capitalize()} test",
        "",
        f"Written by `make {name}` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {'FAILED' if faults else 'passed'}. "
        f"All numbers: [{name}.json]({name}.json).",
        "",
        ABOUT[name],
        "",
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python "
        f"{platform.python_version()}; {packages}; tree {_commit()}. `machine_load` is the load average of one minute "
        "at the end of each measurement: other work on the machine makes the numbers worse.",
        "",
        *(f"- fault: {fault}" for fault in faults),
        *([""] if faults else []),
        "```",
        *_shown(result),
        "```",
        "",
    ]
    docs = PROJECT / "docs"
    (docs / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")
    (docs / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _shown(value: Any, name: str = "", depth: int = -1) -> list[str]:
    pad = "  " * max(depth, 0)
    if isinstance(value, dict):
        inner = [line for key, one in value.items() if key != "faults" for line in _shown(one, str(key), depth + 1)]
        return [f"{pad}{name}:", *inner] if name else inner
    if isinstance(value, list):
        return [f"{pad}{name}: {' '.join(map(str, _thinned(value)))}"]
    return [f"{pad}{name}: {round(value, 3) if isinstance(value, float) else value}"]


def _thinned(values: list[Any], most: int = 16) -> list[Any]:
    return values if len(values) <= most else values[:: -(-len(values) // most)]


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    told = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "without git"
