"""The engine on a real vLLM server: equal to transformers and PEFT, and no way to a wrong vector."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llactr_core.errors import ArtifactError, TooLargeError
from llactr_core.semantics.canary import distances
from llactr_core.semantics.weights import resolve_model
from services.llm.engines.engine import Voice
from services.shared.storage.artifacts import folder_digest

PARITY = 1e-5  # 1 - cosine


def worst(served: np.ndarray, expected: np.ndarray) -> float:
    return float(distances(served, expected).max())


def at_once(calls: Sequence[Any]) -> list[Any]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_untuned_and_tuned_vectors_are_those_of_transformers_and_peft(server: Any) -> None:
    folder, expected = server.tuned(1)
    untuned, tuned = server.vectors(None), server.vectors(folder)
    print(
        f"\n{Path(server.model).name}: largest difference of a number to transformers and PEFT: "
        f"untuned {np.abs(untuned - server.base).max():.1e}, tuned {np.abs(tuned - expected).max():.1e}"
    )
    assert max(worst(untuned, server.base), worst(tuned, expected)) < PARITY
    assert worst(expected, server.base) > 0.05
    np.testing.assert_allclose(tuned, expected, atol=1e-4)  # length and sign too
    embedded = server.engine.embed(Voice(server.model), ["one", "two three"])
    assert embedded.tokens == tuple(len(row) for row in server.encoder.tokenize(["one", "two three"]))


def test_as_long_a_text_as_the_template_lets_through(server: Any) -> None:
    one, two = (len(row) for row in server.encoder.tokenize(["word ", "word word "]))
    words = 1 + (server.encoder.template.max_tokens - one) // (two - one)
    text = "word " * words
    [found] = server.engine.embed(Voice(server.model), [text]).vectors
    assert worst(found[None], server.encoder.embed([text])) < PARITY
    with pytest.raises(TooLargeError):
        server.engine.embed(Voice(server.model), [text + "word " * 2])


def test_trap_a_a_mixed_batch_on_the_raw_server_and_through_the_engine(server: Any) -> None:
    """Rows without an adapter in a batch with others: wrong on the raw server, so the engine never sends any."""
    (one, expected_one), (two, expected_two) = server.tuned(1), server.tuned(2)
    server.vectors(None), server.vectors(one), server.vectors(two)  # every slot for adapters is taken
    names = [str(resolve_model(server.model)), one.name, two.name]
    raw = at_once([lambda n=n, i=i: server.raw.embed(n, server.rows[i::4]) for i in range(4) for n in names])
    through = at_once([lambda v=v: server.vectors(v) for _ in range(4) for v in (None, one, two)])
    wrong = max(worst(raw[3 * i], server.base[i::4]) for i in range(4))
    print(
        f"\n{Path(server.model).name}: in mixed batches "
        f"the raw server's untuned rows are wrong by up to {wrong:.2f} (1 - cosine)"
    )
    assert wrong > 0.01, "the raw server got mixed batches right: the adapter of zeros may no longer be needed"
    for expected, served in zip([server.base, expected_one, expected_two] * 4, through, strict=True):
        assert worst(served, expected) < PARITY


def test_trap_b_a_new_adapter_is_never_answered_from_the_old_ones_cache(server: Any) -> None:
    for seed in (1, 2, 1):
        folder, expected = server.tuned(seed)
        assert worst(server.vectors(folder), expected) < PARITY
    # The case that goes wrong where prefixes are cached: other weights under the same name and path.
    same = server.settings.home / "same-path"
    for seed in (1, 2):
        folder, expected = server.tuned(seed)
        shutil.rmtree(same, ignore_errors=True)
        shutil.copytree(folder, same)
        server.raw.unload("same-name")
        server.raw.load("same-name", str(same))
        assert worst(server.raw.embed("same-name", server.rows), expected) < PARITY
    server.raw.unload("same-name")


def test_the_canary_refuses_a_wrong_adapter(server: Any, tmp_path: Path) -> None:
    (one, _), (two, _) = server.tuned(1), server.tuned(2)
    shutil.copytree(one, tmp_path / "wrong")
    shutil.copy(two / "adapter_model.safetensors", tmp_path / "wrong")
    folder = (tmp_path / "wrong").rename(tmp_path / folder_digest(tmp_path / "wrong"))
    with pytest.raises(ArtifactError, match="wrong vector for the canary"):
        server.vectors(folder)
    assert folder.name not in server.raw.adapters()
    broken = tmp_path / "broken"
    shutil.copytree(one, broken)
    (broken / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="cannot load the adapter"):
        server.vectors(broken)


def test_the_oldest_adapter_makes_room_and_a_lost_one_is_loaded_again(server: Any) -> None:
    folders = [server.tuned(seed)[0] for seed in (1, 2, 3)]
    for folder in folders:
        server.vectors(folder)
    there = server.raw.adapters()
    assert folders[0].name not in there
    assert {folder.name for folder in folders[1:]} < there.keys()
    server.raw.unload(folders[2].name)
    assert worst(server.vectors(folders[2]), server.tuned(3)[1]) < PARITY
    assert worst(server.vectors(folders[0]), server.tuned(1)[1]) < PARITY
