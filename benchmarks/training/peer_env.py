"""The environment of FuxiCTR, made once: its own torch and its own packages, outside of the project's."""

import os
import subprocess
import sys
import venv
from functools import cache
from pathlib import Path

FUXICTR = "fuxictr==2.3.10"
# What it imports. Its wheel asks for `ray[data]`; the package alone is enough for files of numpy.
PACKAGES = ("pandas", "pyyaml", "scikit-learn", "numpy", "h5py", "tqdm", "pyarrow", "polars", "pydantic", "ray>=2.52")
PROBE = "from fuxictr.pytorch.models import BaseModel; from fuxictr.pytorch.dataloaders import RankDataLoader"


def cache_folder() -> Path:
    """Where environments and encoded data sets of the benchmarks are kept: LLACTR_BENCH_CACHE, or a user's cache."""
    return Path(os.environ.get("LLACTR_BENCH_CACHE", Path.home() / ".cache" / "llactr-bench"))


@cache
def fuxictr_python(folder: Path | None = None) -> Path:
    """The Python of an environment with FuxiCTR and the project's version of torch; it is made where there is none.

    Raises:
        subprocess.CalledProcessError: pip failed; its own words are on stderr.
    """
    home = (folder or cache_folder()) / "fuxictr"
    python = home / "bin" / "python"
    if python.exists() and subprocess.run([python, "-c", PROBE], capture_output=True, check=False).returncode == 0:
        return python
    venv.create(home, with_pip=True, clear=True)
    torch = version_of_torch()
    install(python, [f"torch=={torch}", *PACKAGES])
    install(python, ["--no-deps", FUXICTR])
    subprocess.run([python, "-c", PROBE], check=True)
    return python


def version_of_torch() -> str:
    """The project's version of torch."""
    code = "import torch; print(torch.__version__)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def install(python: Path, packages: list[str]) -> None:
    """Install packages with pip."""
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, stdout=sys.stderr)
