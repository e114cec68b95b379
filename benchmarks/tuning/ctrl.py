"""What CTRL's preparation costs (arXiv 2306.02841): the language model reads one sentence per training row.

The sentences and the steps are the product's (`llactr_core.enhancers.ctrl`): all weights of the language model are
trained, in bfloat16, and batches of like length are read once, which gradient caching would do twice. The time is that
of a step with an FM of a single value, whose cost is not the point.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from llactr_core.data.encoding import Encoder
from llactr_core.data.splits import open_dataset
from llactr_core.enhancers.base import Enhancer
from llactr_core.enhancers.ctrl.aligner import Aligner, Distinct
from llactr_core.enhancers.ctrl.options import CtrlOptions, Nouns
from llactr_core.enhancers.ctrl.sentences import Sentences, SentenceTemplate
from llactr_core.enhancers.model import CTRModel
from llactr_core.models.base import Shape
from llactr_core.models.embedding import FeatureEmbedding
from llactr_core.models.registry import build_backbone
from llactr_core.schema import Schema
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.weights import DEFAULT_MODEL

BATCH = 32
ML1M = Path(__file__).parent.parent / "schemas" / "ml1m.yaml"
_OPTIONS = CtrlOptions(tokens_at_once=BATCH * 512, device="cpu")


@dataclass(frozen=True)
class RowCost:
    """CPU seconds per row in the language model: forward and backward, and forward alone; tokens per row."""

    train_s: float
    forward_s: float
    tokens: float


def ml1m_sentences(datasets: Path, count: int) -> tuple[list[str], int]:
    """Sentences of `count` rows spread evenly over ml1m's train split, and how many rows it has."""
    schema = Schema.load(ML1M)
    source = open_dataset(datasets / "ml1m", schema.label).train
    encoder = Encoder.fit(schema, source.batches(schema.columns))
    sentences = Sentences(SentenceTemplate.of(encoder, Nouns(item="a movie")), source.batches(schema.columns))
    return sentences.of(np.linspace(0, len(sentences) - 1, count).astype(np.int64)), len(sentences)


def made_up_sentence(schema: Schema, samples: Mapping[str, Sequence[str]], number: int) -> str:
    """The sentence of a row with a value of every field."""
    row = pa.table({name: [values[number % len(values)]] for name, values in samples.items()})
    template = SentenceTemplate.of(Encoder.fit(schema, row.to_batches()), Nouns())
    return Sentences(template, row.to_batches()).of(np.zeros(1, np.int64))[0]


def row_cost(sentences: Sequence[str]) -> RowCost:
    """Read and align the sentences once, in batches of like length; the first batch warms up and does not count."""
    encoder = TextEncoder.load(DEFAULT_MODEL, device="cpu")
    by_length = sorted(sentences, key=len)
    batches = [Distinct.of(encoder, by_length[first : first + BATCH]) for first in range(0, len(by_length), BATCH)]
    aligner = _aligner(encoder)
    optimizer = torch.optim.AdamW(aligner.trained.values(), lr=_OPTIONS.first_rate)
    train = forward = 0.0
    with encoder.in_bfloat16():
        _align(aligner, optimizer, batches[0])
        for batch in batches:
            began = time.process_time()
            _align(aligner, optimizer, batch)
            train += time.process_time() - began
            began = time.process_time()
            with torch.inference_mode():
                encoder.states(batch.tokens)
            forward += time.process_time() - began
    tokens = sum(len(batch.tokens[i]) for batch in batches for i in batch.text_of.tolist())
    return RowCost(train / len(by_length), forward / len(by_length), tokens / len(by_length))


def _aligner(encoder: TextEncoder) -> Aligner:
    embedding = FeatureEmbedding(BATCH, 8, torch.zeros(1, dtype=torch.int64), first_order=True)
    model = CTRModel(embedding, build_backbone("fm", Shape(1, 8, (None,)), {}), Enhancer())
    return Aligner(model, encoder, _OPTIONS)


def _align(aligner: Aligner, optimizer: torch.optim.Optimizer, batch: Distinct) -> None:
    optimizer.zero_grad()
    aligner.backward(torch.arange(len(batch.text_of)).unsqueeze(1), None, batch)
    optimizer.step()
