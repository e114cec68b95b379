"""Stages 1 and 2 of LARR with a causal model (tests/llactr_core/enhancers/larr has the encoder's)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from takeaway import takeaway

from llactr_core.data.encoding import Encoder
from llactr_core.enhancers.larr.build import build_scene_table
from llactr_core.enhancers.larr.corpus import Corpus
from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.enhancers.larr.pretrain import Pretraining
from llactr_core.enhancers.larr.read import texts_of
from llactr_core.enhancers.larr.reader import TOKENS, Reader

OPTIONS = LarrOptions(pretrain_epochs=1, contrast_epochs=1, most_items=8, most_pairs=8, batch_size=4)


def test_it_predicts_the_description_token_by_token(tiny_llama: Path, tmp_path: Path) -> None:
    splits, schema = takeaway(tmp_path / "log", 400)
    encoder = Encoder.fit(schema, splits.train.batches(schema.columns))
    corpus = Corpus.read(schema, encoder, splits.train)
    reader = Reader.load(str(tiny_llama), corpus.marks, OPTIONS, "cpu")
    work = Pretraining.of(reader, texts_of(corpus, OPTIONS), OPTIONS)
    total, count = 0.0, 0
    for one in work.sentences[:3]:
        assert "We serve" in reader.encoder.tokenizer.decode(one.tokens[one.start : one.end])
        with torch.no_grad():
            logits = reader.encoder.model(input_ids=torch.tensor([one.tokens[: one.end]])).logits[0].double().numpy()
        for at in range(one.start, one.end):
            row = logits[at - 1]
            total += np.log(np.exp(row - row.max()).sum()) + row.max() - row[one.tokens[at]]
            count += 1
    loss = work.loss([0, 1, 2], 0)
    assert loss.item() == pytest.approx(total / count, rel=1e-4)
    loss.backward()  # type: ignore[no-untyped-call]
    rows = reader.parameters[TOKENS].grad
    assert rows is not None
    assert rows.any()
    made = build_scene_table(encoder, splits.train, str(tiny_llama), OPTIONS, tmp_path / "work", device="cpu")
    assert made.vectors.shape[1] == 32
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
