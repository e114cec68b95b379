"""The gate in a process of its own, so that an API process goes on scoring while it judges."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from llactr_core.errors import BundleError, OverloadError, UnavailableError
from services.ctr.promotion.gate import GateResult, GateRule

TURN_S = 1.0  # so long a caller waits for its turn: each that waits holds a thread of the API


class ChildJudge:
    """Judges as `judge_bundles` does, in a niced child process, one at a time.

    Args:
        seconds: after which a child is killed.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._turn = threading.Lock()

    def __call__(self, challenger: Path, champion: Path, rule: GateRule) -> GateResult:
        """Decide about the challenger.

        Raises:
            BundleError: the challenger is damaged, or the rows that it keeps are.
            OverloadError: other promotions are being judged.
            UnavailableError: the gate took too long, or ended without a result.
        """
        asked = {
            "challenger": str(challenger.resolve()),
            "champion": str(champion.resolve()),
            "rule": asdict(rule),
            "parent": os.getpid(),
        }
        if not self._turn.acquire(timeout=TURN_S):
            raise OverloadError("another promotion is being judged; send the call again in a moment")
        try:
            answer = self._answer(json.dumps(asked))
        finally:
            self._turn.release()
        if "error" in answer:
            raise BundleError(answer["error"])
        return GateResult.of_json(answer)

    def _answer(self, asked: str) -> dict[str, str]:
        command = [sys.executable, "-m", "services.ctr.promotion.judge"]
        try:
            done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=self._seconds)
            answer: dict[str, str] = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            raise UnavailableError(
                f"the gate did not decide within {self._seconds:.0f} s (setting gate_timeout_s); send the call again"
            ) from None
        except (OSError, ValueError) as error:
            raise UnavailableError("the gate ended without a result; send the call again") from error
        return answer
