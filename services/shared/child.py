"""A question to a child process, niced: JSON in, JSON out. It ends after its time, and with the process that asked."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from llactr_core.errors import UnavailableError

NICE = 10
LOOK_S = 1.0

Json = dict[str, Any]


def ask(module: str, what: str, asked: Mapping[str, object], seconds: float) -> Json:
    """What `python -m module` answers, whose main is `answer_with`.

    Args:
        module: its name.
        what: what a caller is told took too long, and the setting that says how long it may take.
        asked: the question, plain JSON.
        seconds: after which the child is killed.

    Raises:
        UnavailableError: it took too long, or ended without an answer.
    """
    question = json.dumps({**asked, "parent": os.getpid()})
    command = [sys.executable, "-m", module]
    try:
        done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=seconds)
        answer: Json = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{what} took longer than {seconds:.0f} s; send the call again") from None
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{what} ended without a result; send the call again") from error
    return answer


def answer_with(answer: Callable[[Json], Mapping[str, object]]) -> None:
    """Answer the question on stdin."""
    os.nice(NICE)
    asked: Json = json.load(sys.stdin)
    threading.Thread(target=_end_with, args=(int(asked.pop("parent")),), daemon=True).start()
    json.dump(answer(asked), sys.stdout)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)
