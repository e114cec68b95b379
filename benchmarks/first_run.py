"""`make first-run`: the README's two commands in a fresh clone, with their times and output, into docs/first-run.md.

Needs only Python, git and make; HEAD is cloned, so commit first.
"""

import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "first-run.md"
READY_WORD = "curl "
PATIENCE_S = 900


class Run:
    """`make run` in a clone, its output in a file."""

    def __init__(self, clone: Path, env: dict[str, str]) -> None:
        self.log = clone.parent / f"run-{time.monotonic_ns()}.log"
        self.env = env
        self.began = time.monotonic()
        with self.log.open("w", encoding="utf-8") as out:
            self.process = subprocess.Popen(
                ["make", "run"], cwd=clone, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_until_ready(self) -> float:
        """Seconds until the CTR service is ready and the closing curl is printed."""
        while time.monotonic() - self.began < PATIENCE_S:
            if self.process.poll() is not None:
                sys.exit(f"`make run` ended:\n{self.log.read_text(encoding='utf-8')}")
            if READY_WORD in self.log.read_text(encoding="utf-8") and self._answers():
                return time.monotonic() - self.began
            time.sleep(0.2)
        sys.exit(f"`make run` was not ready in {PATIENCE_S} s:\n{self.log.read_text(encoding='utf-8')}")

    def stop(self, number: signal.Signals) -> float:
        """Seconds that it takes to end after a signal to make."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(60)
        return time.monotonic() - began

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.env['CTR_PORT']}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def main() -> None:
    """Clone, run, stop, run again, test; then write the page."""
    commit = _output(["git", "-C", str(PROJECT), "rev-parse", "--short", "HEAD"])
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    env = {"CTR_PORT": "8000", "LLM_PORT": "8001"} | mine
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "llactr"
        subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(clone)], check=True)
        began = time.monotonic()
        subprocess.run(["make", "install"], cwd=clone, env=env, check=True, capture_output=True)
        installed = time.monotonic() - began

        first = Run(clone, env)
        first_s = first.wait_until_ready()
        printed = _clean(first.log.read_text(encoding="utf-8"), clone)
        curl = _command_after(READY_WORD, first.log.read_text(encoding="utf-8"))
        answer = _output(curl, cwd=clone)
        stop_int = first.stop(signal.SIGINT)
        second = Run(clone, env)
        second_s = second.wait_until_ready()
        stop_term = second.stop(signal.SIGTERM)

        began = time.monotonic()
        tests = subprocess.run(["make", "test"], cwd=clone, env=env, capture_output=True, text=True, check=False)
        tested = time.monotonic() - began
        summary = _clean("\n".join(tests.stdout.splitlines()[-3:]), clone)
    rows = [
        ("`make install` (part of the first `make run`)", installed),
        ("first `make run`, after installation: until the promoted model answers", first_s),
        ("end after SIGINT", stop_int),
        ("second `make run`: until it answers", second_s),
        ("end after SIGTERM", stop_term),
        ("`make test`", tested),
    ]
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    lines = [
        "# A first run",
        "",
        f"Written by `make first-run` from a fresh clone of commit {commit} ({machine}).",
        "",
        "| step | seconds |",
        "| --- | --- |",
        *(f"| {what} | {seconds:.1f} |" for what, seconds in rows),
        "",
        "## What `make run` prints",
        "",
        *_block(printed),
        "## The curl that it ends with",
        "",
        *_block(f"$ {shlex.join(curl)}\n{answer}"),
        "## The end of `make test`",
        "",
        *_block(summary),
    ]
    PAGE.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print("\n".join(lines))
    sys.exit(tests.returncode)


def _command_after(word: str, printed: str) -> list[str]:
    text = printed[printed.rindex(word) :].replace("\\\n", " ")
    return shlex.split(text.split("\n\n")[0])


def _clean(text: str, clone: Path) -> str:
    kept = [line for line in text.splitlines() if not line.startswith("WARNING: ")]
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", "\n".join(kept)).replace(str(clone), "~/llactr").strip()


def _block(text: str) -> list[str]:
    return ["```", *text.splitlines(), "```", ""]


def _output(command: list[str], cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
