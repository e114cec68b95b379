"""Two bundles before the gate. As a process, `python -m services.ctr.promotion.judge`: JSON in, JSON out.

In: {"challenger": folder, "champion": folder, "rule": GateRule}.
Out: a GateResult as JSON, or {"error": why the challenger cannot be judged}.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llactr_core.bundle import GATE_ROWS
from llactr_core.errors import BundleError, DataError
from llactr_core.scorer import Scorer
from services.ctr.promotion.gate import GateResult, GateRule, judge
from services.shared.child import answer_with


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


def _answer(asked: Mapping[str, Any]) -> Mapping[str, object]:
    paths = Path(asked["challenger"]), Path(asked["champion"])
    try:
        return judge_bundles(*paths, GateRule(**asked["rule"])).as_json()
    except (BundleError, DataError) as error:
        return {"error": error.detail}


if __name__ == "__main__":
    answer_with(_answer)
