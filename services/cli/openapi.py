"""`python -m services.cli.openapi FOLDER`: the OpenAPI documents of both services, ctr.json and llm.json."""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from services.ctr.app import build_app as build_ctr
from services.ctr.settings import CtrSettings
from services.llm.app import build_app as build_llm
from services.llm.settings import LlmSettings
from services.shared.access.admin_key import ensure_admin_key


def apps() -> Mapping[str, FastAPI]:
    """Both services' apps on a folder that is gone again: good for describing them, not for calling."""
    with tempfile.TemporaryDirectory() as home:
        ensure_admin_key(Path(home) / "admin.key")
        return {"ctr": build_ctr(CtrSettings(home=Path(home))), "llm": build_llm(LlmSettings(home=Path(home)))}


def documents() -> Mapping[str, dict[str, Any]]:
    """The OpenAPI document of each service."""
    return {name: app.openapi() for name, app in apps().items()}


def write(folder: Path) -> None:
    """Write the documents."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents().items():
        (folder / f"{name}.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
