"""Small requests that come at once are scored in one run of the model: a run of 32 rows takes as long as six of one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llactr_core.data.encoding import Encoded
from llactr_core.scorer import Scorer

MOST_ROWS = 1024  # in one run, so that who comes meanwhile is let in or refused in time
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Waiting:
    encoded: Encoded
    scores: "asyncio.Future[Scores]"


class Together:
    """Collects what one pass of the event loop brings, and scores it at the beginning of the next one.

    Nobody waits for a timer: a request that comes alone is scored as soon as the loop has seen that it is alone.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[Scorer, bool], list[_Waiting]] = {}

    async def probabilities(self, scorer: Scorer, encoded: Encoded, *, raw: bool) -> Scores:
        """What `Scorer.probabilities` returns, float64 [B]."""
        loop = asyncio.get_running_loop()
        key = (scorer, raw)
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = []
            loop.call_soon(self._score, key)
        mine = _Waiting(encoded, loop.create_future())
        waiting.append(mine)
        return await mine.scores

    def _score(self, key: tuple[Scorer, bool]) -> None:
        waiting = self._waiting.pop(key)
        now: list[_Waiting] = []
        rows = 0
        for one in waiting:
            rows += len(one.encoded)
            if now and rows > MOST_ROWS:
                break
            now.append(one)
        if len(now) < len(waiting):
            self._waiting[key] = waiting[len(now) :]
            asyncio.get_running_loop().call_soon(self._score, key)
        _answer(key, [one for one in now if not one.scores.done()])  # one may have been cancelled


def _answer(key: tuple[Scorer, bool], waiting: Sequence[_Waiting]) -> None:
    """Score requests in one run; where that fails, each on its own, so that none is to blame for another's failure."""
    scorer, raw = key
    try:
        found = scorer.probabilities(_joined([one.encoded for one in waiting]), raw=raw) if waiting else np.empty(0)
    except Exception as error:
        if len(waiting) == 1:
            waiting[0].scores.set_exception(error)
            return
        for one in waiting:
            _answer(key, [one])
        return
    start = 0
    for one in waiting:
        end = start + len(one.encoded)
        one.scores.set_result(found[start:end])
        start = end


def _joined(parts: Sequence[Encoded]) -> Encoded:
    if len(parts) == 1:
        return parts[0]
    weights = [part.weights for part in parts if part.weights is not None]
    return Encoded(np.concatenate([part.ids for part in parts]), np.concatenate(weights) if weights else None)
