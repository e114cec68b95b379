"""Which format answers an Accept header, and that each carries every float32 bit."""

import json

import numpy as np
import pyarrow as pa
import pytest
from starlette.exceptions import HTTPException

from llactr_core.semantics.table import FieldTable
from services.llm.tables.contents import Published
from services.llm.tables.formats import ARROW, JSON, SAFETENSORS, WRITERS, choose


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (ARROW, ARROW),
        (SAFETENSORS.upper(), SAFETENSORS),
        (f"text/html, {ARROW};q=0.5, {JSON};q=0.4", ARROW),
        (f"*/*, {SAFETENSORS}", SAFETENSORS),
        (f"*/*;q=0.9, {SAFETENSORS};q=0.1", JSON),
        (f"{JSON};q=0, {ARROW};q=0.1", ARROW),
        (f"{JSON};q=0, */*", ARROW),
        (f"{ARROW};q=nan, {SAFETENSORS};q=0.1", SAFETENSORS),
        (f"*/*;q=0.1, application/*;q=0, {ARROW};q=0.2", ARROW),
    ],
)
def test_the_best_of_what_is_accepted(accept: str | None, media: str) -> None:
    assert choose(accept) == media


@pytest.mark.parametrize("accept", ["image/png", f"{JSON};q=0", f"{JSON};q=much", "nonsense", "application/*;q=0, */*"])
def test_nothing_that_is_accepted(accept: str) -> None:
    with pytest.raises(HTTPException) as refused:
        choose(accept)
    assert refused.value.status_code == 406


def any_bits(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Random finite float32 of any size [4, 250]: subnormal ones, both zeros, the smallest and the largest."""
    bits = np.random.default_rng(seed).integers(0, 2**32, (4, 250), dtype=np.uint32)
    bits[:, 0] = [0x00000001, 0x80000000, 0x7F7FFFFF, 0x807FFFFF]
    vectors = bits.view(np.float32)
    return np.where(np.isfinite(vectors), vectors, np.float32(-0.0))


@pytest.mark.parametrize("seed", range(5))
def test_every_bit_survives_every_format(seed: int) -> None:
    table = FieldTable(("a", "b", "ü", "d e"), any_bits(seed), "tiny", "recipe")
    published = Published(table, table.to_bytes())
    sent = {media: write(published, "shop") for media, write in WRITERS.items()}
    read = {
        JSON: FieldTable.from_json(json.loads(sent[JSON])).vectors,
        ARROW: np.stack(pa.ipc.open_stream(sent[ARROW]).read_all()["vector"].to_numpy()),
        SAFETENSORS: FieldTable.from_bytes(sent[SAFETENSORS]).vectors,
    }
    for media, vectors in read.items():
        assert vectors.dtype == np.float32
        assert vectors.tobytes() == table.vectors.tobytes(), media
