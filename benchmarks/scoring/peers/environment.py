"""The environment of the serving peers, made once: their own packages and torch, outside of the project's."""

import subprocess
import venv
from pathlib import Path

from benchmarks.training.peer_env import cache_folder, install, version_of_torch

PACKAGES = ("fastapi", "uvicorn[standard]", "pydantic", "litserve", "bentoml", "safetensors", "pyarrow", "numpy")
PROBE = "import torch, fastapi, litserve, bentoml, safetensors, pyarrow"


def serving_python() -> Path:
    """The Python of an environment with FastAPI, LitServe, BentoML and the project's version of torch."""
    home = cache_folder() / "serving"
    python = home / "bin" / "python"
    if python.exists() and subprocess.run([python, "-c", PROBE], capture_output=True, check=False).returncode == 0:
        return python
    venv.create(home, with_pip=True, clear=True)
    install(python, [f"torch=={version_of_torch()}", *PACKAGES])
    subprocess.run([python, "-c", PROBE], check=True)
    return python


def version_of(package: str) -> str:
    """The version of a package in that environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([serving_python(), "-c", code], capture_output=True, text=True, check=True).stdout.strip()
