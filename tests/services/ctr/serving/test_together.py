import asyncio

import numpy as np
import pytest

from llactr_core.data.encoding import Encoded
from llactr_core.scorer import Scorer
from services.ctr.serving.together import Together

ROWS = [[{"job": "student", "age": 20}], [{}], [], [{"job": "clerk"}, {"age": 41}, {"age": "x"}]]


@pytest.fixture(scope="module")
def scorer(bundles) -> Scorer:  # type: ignore[no-untyped-def]
    return Scorer.load(bundles["llactr"].path)


def runs_of(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    runs: list[int] = []
    plain = scorer.probabilities

    def counted(encoded: Encoded, *, raw: bool = False) -> np.ndarray:
        runs.append(len(encoded))
        return plain(encoded, raw=raw)

    monkeypatch.setattr(scorer, "probabilities", counted)
    return runs


def test_what_comes_at_once_is_one_run_and_scores_as_alone(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [scorer.score(rows) for rows in ROWS]
    raw = scorer.score(ROWS[0], raw=True)
    runs, together = runs_of(scorer, monkeypatch), Together()

    async def ask() -> list[np.ndarray]:
        calls = [together.probabilities(scorer, scorer.encode(rows), raw=False) for rows in ROWS]
        return await asyncio.gather(*calls, together.probabilities(scorer, scorer.encode(ROWS[0]), raw=True))

    *found, found_raw = asyncio.run(ask())
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=0)
    np.testing.assert_allclose(found_raw, raw, atol=1e-6, rtol=0)
    assert sorted(runs) == [1, sum(map(len, ROWS))]


def test_a_run_is_bounded_and_the_rest_comes_next(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ctr.serving.together.MOST_ROWS", 3)
    runs, together = runs_of(scorer, monkeypatch), Together()

    async def ask() -> list[np.ndarray]:
        encoded = scorer.encode([{"age": 20}, {"age": 41}])
        return await asyncio.gather(*(together.probabilities(scorer, encoded, raw=False) for _ in range(5)))

    assert [len(scores) for scores in asyncio.run(ask())] == [2] * 5
    assert runs == [2] * 5


def test_who_hangs_up_takes_nobody_along(scorer: Scorer) -> None:
    together = Together()

    async def ask() -> tuple[asyncio.Task[np.ndarray], np.ndarray]:
        gone = asyncio.create_task(together.probabilities(scorer, scorer.encode(ROWS[0]), raw=False))
        other = asyncio.create_task(together.probabilities(scorer, scorer.encode(ROWS[1]), raw=False))
        await asyncio.sleep(0)
        gone.cancel()
        return gone, await other

    gone, scores = asyncio.run(ask())
    assert gone.cancelled()
    np.testing.assert_allclose(scores, scorer.score(ROWS[1]), atol=1e-6, rtol=0)


def test_a_request_that_cannot_be_scored_takes_nobody_along(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    together, plain = Together(), scorer.logits_of

    def fails_for_two_rows(encoded: Encoded) -> np.ndarray:
        if len(encoded) > 1:
            raise MemoryError
        return plain(encoded)

    monkeypatch.setattr(scorer, "logits_of", fails_for_two_rows)

    async def ask() -> list[object]:
        calls = [together.probabilities(scorer, scorer.encode(rows), raw=False) for rows in ([{}], [{}, {}], [{}])]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    first, failed, last = asyncio.run(ask())
    assert isinstance(failed, MemoryError)
    np.testing.assert_array_equal(first, last)


def test_a_model_that_fails_tells_everybody_and_the_next_ones_are_scored(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = Together()

    async def ask() -> list[object]:
        calls = [together.probabilities(scorer, scorer.encode(rows), raw=False) for rows in ROWS[:2]]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    with monkeypatch.context() as patch:
        patch.setattr(scorer, "logits_of", lambda _encoded: 1 / 0)
        assert [type(answer) for answer in asyncio.run(ask())] == [ZeroDivisionError] * 2
    assert all(isinstance(answer, np.ndarray) for answer in asyncio.run(ask()))
