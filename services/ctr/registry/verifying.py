"""Whether a bundle loads and scores as it did when it was written, found out in a process of its own.

What comes from elsewhere may be made to take all memory or to crash a library: then the child ends, and no API.
As a process, `python -m services.ctr.registry.verifying`: {"bundle": folder} in, {} or {"error": why not} out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llactr_core.errors import BundleError
from llactr_core.scorer import Scorer
from services.shared.child import answer_with, ask

MODULE = "services.ctr.registry.verifying"


def verify(folder: Path, seconds: float) -> None:
    """Let a bundle pass that can be served.

    Raises:
        BundleError: it is damaged, of another format, or scores its golden rows differently.
        UnavailableError: that could not be found out in time.
    """
    answer = ask(MODULE, "the verification (gate_timeout_s)", {"bundle": str(folder.resolve())}, seconds)
    if "error" in answer:
        raise BundleError(str(answer["error"]))


def _answer(asked: Mapping[str, Any]) -> dict[str, str]:
    try:
        Scorer.load(Path(asked["bundle"]))
    except BundleError as error:
        return {"error": error.detail}
    return {}


if __name__ == "__main__":
    answer_with(_answer)
