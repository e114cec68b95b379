import os
import pty
import subprocess
import sys

import pytest
from llactr_client import Job

from llactr_core.progress import Progress
from services.cli.display import Display

ON_A_TERMINAL = """
from llactr_core.progress import Progress
from services.cli.display import Display

with Display() as display:
    tell = display.progress("train")
    tell(Progress("epoch 1", 0.25, loss=0.5, eta_s=75))
    display.say("hello [bold]world[/bold]")
    tell(Progress("epoch 2", 0.5))
"""


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        tell = display.progress("train")
        tell(Progress("epoch 1", 0.251, loss=0.51234, eta_s=75.4))
        tell(Progress("epoch 1", 0.26, loss=0.5))
        tell(Progress("epoch 2", 0.5))
        display.job("fields")(Job("llm", "j", "succeeded", stage="embedding", progress=0.9, eta_s=3))
        display.job("other")(Job("llm", "j", "queued"))
    tell(Progress("too late", 1.0))
    assert capsys.readouterr().out.splitlines() == [
        "train: epoch 1 25% loss 0.5123 1:15 left",
        "train: epoch 2 50%",
        "fields: done 100%",
        "other: queued 0%",
    ]


def test_bars_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", ON_A_TERMINAL], stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    output = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # how a terminal says that the other side has closed it
            break
        if not part:
            break
        output += part
    os.close(ours)
    assert process.wait(20) == 0
    text = output.decode()
    for word in ("train", "epoch 1", "loss 0.5000", "1:15 left", "hello [bold]world[/bold]", "epoch 2", "50%"):
        assert word in text, word
