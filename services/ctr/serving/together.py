"""Small requests that come at once are scored in one run of the model: a run of 32 rows takes as long as six of one."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llactr_core.data.encoding import Encoded
from llactr_core.scorer import Scorer

MOST_ROWS = 1024  # in one run, so that who comes meanwhile is let in or refused in time
Scores = npt.NDArray[np.float64]


Taking = Callable[[Scores | Exception], None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    encoded: Encoded
    take: Taking


class Together:
    """Collects what one pass of the event loop brings, and scores it at the beginning of the next one.

    Nobody waits for a timer: a request that comes alone is scored as soon as the loop has seen that it is alone.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[Scorer, bool], list[_Waiting]] = {}

    async def probabilities(self, scorer: Scorer, encoded: Encoded, *, raw: bool) -> Scores:
        """What `Scorer.probabilities` returns, float64 [B]."""
        found: asyncio.Future[Scores] = asyncio.get_running_loop().create_future()

        def take(scores: Scores | Exception) -> None:
            if found.done():  # nobody waits any more
                return
            if isinstance(scores, Exception):
                found.set_exception(scores)
            else:
                found.set_result(scores)

        self.add(scorer, encoded, take, raw=raw)
        return await found

    def add(self, scorer: Scorer, encoded: Encoded, take: Taking, *, raw: bool = False, is_alone: bool = False) -> None:
        """The same for who does not wait: `take`, which must not raise, is given the scores or what went wrong.

        That is at once where the caller knows that nobody else comes in this pass (`is_alone`).
        """
        key = (scorer, raw)
        waiting = self._waiting.get(key)
        if waiting is None and is_alone:
            _answer(key, [_Waiting(encoded, take)])
            return
        if waiting is None:
            waiting = self._waiting[key] = []
            asyncio.get_running_loop().call_soon(self._score, key)
        waiting.append(_Waiting(encoded, take))

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
        _answer(key, now)


def _answer(key: tuple[Scorer, bool], waiting: Sequence[_Waiting]) -> None:
    """Score requests in one run; where that fails, each on its own, so that none is to blame for another's failure."""
    scorer, raw = key
    try:
        found = scorer.probabilities(_joined([one.encoded for one in waiting]), raw=raw)
    except Exception as error:
        if len(waiting) == 1:
            waiting[0].take(error)
            return
        for one in waiting:
            _answer(key, [one])
        return
    start = 0
    for one in waiting:
        end = start + len(one.encoded)
        one.take(found[start:end])
        start = end


def _joined(parts: Sequence[Encoded]) -> Encoded:
    if len(parts) == 1:
        return parts[0]
    weights = [part.weights for part in parts if part.weights is not None]
    return Encoded(np.concatenate([part.ids for part in parts]), np.concatenate(weights) if weights else None)
