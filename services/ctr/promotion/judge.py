"""Two bundles before the gate. As a process, `python -m services.ctr.promotion.judge`: JSON in, JSON out, niced.

In: {"challenger": folder, "champion": folder, "rule": GateRule, "parent": pid; who outlives it ends}.
Out: a GateResult as JSON, or {"error": why the challenger cannot be judged}.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from llactr_core.bundle import GATE_ROWS
from llactr_core.errors import BundleError, DataError
from llactr_core.scorer import Scorer
from services.ctr.promotion.gate import GateResult, GateRule, judge

NICE = 10
LOOK_S = 1.0


def judge_bundles(challenger: Path, champion: Path, rule: GateRule) -> GateResult:
    """Load two bundles and decide about the first. A champion that cannot be loaded is judged without.

    Raises:
        BundleError: the challenger is damaged.
        DataError: the rows that it keeps cannot be read.
    """
    scorer = Scorer.load(challenger)
    try:
        other: Scorer | None = Scorer.load(champion)
    except BundleError:
        other = None
    return judge(scorer, other, challenger / GATE_ROWS, rule)


def main() -> None:
    """Judge what stdin names."""
    os.nice(NICE)
    asked = json.load(sys.stdin)
    threading.Thread(target=_end_with, args=(int(asked["parent"]),), daemon=True).start()
    try:
        result = judge_bundles(Path(asked["challenger"]), Path(asked["champion"]), GateRule(**asked["rule"]))
        answer = result.as_json()
    except (BundleError, DataError) as error:
        answer = {"error": error.detail}
    json.dump(answer, sys.stdout)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)


if __name__ == "__main__":
    main()
