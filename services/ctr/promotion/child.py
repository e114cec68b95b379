"""The gate in a process of its own, so that an API process goes on scoring while it judges."""

import threading
from dataclasses import asdict
from pathlib import Path

from llactr_core.errors import BundleError, OverloadError
from services.ctr.promotion.gate import GateResult, GateRule
from services.shared.child import ask

MODULE = "services.ctr.promotion.judge"
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
        asked = {"challenger": str(challenger.resolve()), "champion": str(champion.resolve()), "rule": asdict(rule)}
        if not self._turn.acquire(timeout=TURN_S):
            raise OverloadError("another promotion is being judged; send the call again in a moment")
        try:
            answer = ask(MODULE, "the gate (gate_timeout_s)", asked, self._seconds)
        finally:
            self._turn.release()
        if "error" in answer:
            raise BundleError(str(answer["error"]))
        return GateResult.of_json(answer)
