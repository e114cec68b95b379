"""How much a language model can read in the time that a proof has, by its measured pace on this machine."""

import hashlib
import json
import sys
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from llactr_core.data.splits import Splits
from llactr_core.enhancers.ctrl.options import Nouns
from llactr_core.enhancers.ctrl.sentences import Sentences, SentenceTemplate
from llactr_core.files import write_atomic
from llactr_core.schema import Schema
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.sampling import draw_samples
from llactr_core.semantics.template import candidates
from llactr_core.semantics.values.gather import text_of
from llactr_core.training.prepared import Prepared

TUNING, VALUES = 0.2, 0.25  # shares of the time
TIMED = 32  # texts
PASSES = 4  # what a text costs where a model is tuned on it, in readings: forward and backward, and the judgement
FEWEST_SAMPLES, FEWEST_VALUES = 8, 500


@dataclass(frozen=True)
class Pace:
    """What fits into the time.

    Args:
        samples: values of each field that SSFT draws, at most.
        wanted: of them, where time is no matter.
        values: texts of values that are read, at most.
    """

    samples: int
    wanted: int
    values: int

    @classmethod
    def unhurried(cls, options: SsftOptions) -> "Pace":
        """All that is wanted, where time is no matter."""
        return cls(options.sam_num, options.sam_num, sys.maxsize)

    @classmethod
    def of(
        cls,
        splits: Splits,
        schema: Schema,
        model: str,
        options: SsftOptions,
        minutes: float,
        readings: int,
        folder: Path,
    ) -> "Pace":
        """Read a few prompts and values of train by the clock. What was decided lies in the folder and holds.

        Args:
            splits: the dataset.
            schema: its fields.
            model: a language model's name or folder.
            options: of SSFT.
            minutes: that the proof has.
            readings: how often all values are read.
            folder: where the decision lies, for a run that was killed and goes on.

        Raises:
            NotFoundError, ArtifactError: the model is not here, or damaged.
        """
        asked = [splits.train.digest(), schema.fingerprint, model, options.model_dump(mode="json"), minutes, readings]
        file = folder / f"pace-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]}.json"
        if file.exists():
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        samples = draw_samples(schema, splits.train.batches(), options.sam_num, options.seed)
        encoder, names = TextEncoder.load(model), candidates(schema)
        drawn = [(field, value) for field in schema.fields for value in samples[field.name]]
        some = drawn[:: -(-len(drawn) // TIMED) or 1]
        prompt = seconds_of_one(
            encoder, [encoder.template.prompt(value, names, options.max_chars) for _, value in some]
        )
        value = seconds_of_one(encoder, [text_of(field, value) for field, value in some])
        prompts = int(60 * minutes * TUNING / max(PASSES * options.epochs * prompt, 1e-9))
        values = int(60 * minutes * VALUES / max(readings * value, 1e-9))
        sizes = [len(values) for values in samples.values()]
        fitting = options.sam_num if sum(sizes) <= prompts else max(depth_of(sizes, prompts), FEWEST_SAMPLES)
        found = cls(min(fitting, options.sam_num), options.sam_num, max(values, FEWEST_VALUES))
        write_atomic(file, json.dumps(asdict(found)).encode())
        return found

    def most_frequent(self, texts: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """The first values of each field, of all fields alike, until there are as many as can be read.

        Args:
            texts: values by field, the most frequent first.
        """
        depth = depth_of([len(values) for values in texts.values()], self.values)
        return {name: list(values[:depth]) for name, values in texts.items()}

    def left_out(self, texts: Mapping[str, Sequence[str]]) -> list[str]:
        """What is not read of these values, and how many samples fewer are drawn, in sentences."""
        told = []
        if self.samples < self.wanted:
            told.append(f"the language model was tuned on {self.samples} values of a field in place of {self.wanted}")
        count = sum(map(len, texts.values()))
        rest = count - sum(map(len, self.most_frequent(texts).values()))
        if rest:
            told.append(f"the texts of the {rest:,} rarest of {count:,} values were not read")
        return [f"{one}, for lack of time" for one in told]


def seconds_of_alignment(data: Prepared, model: str, device: str = "auto") -> float:
    """About how long CTRL's stage 1 takes on the train rows, by the pace of the first ones.

    Raises:
        SchemaError: no field can be told in a sentence.
        NotFoundError, ArtifactError: the model is not here, or damaged.
    """
    template = SentenceTemplate.of(data.encoder, Nouns())
    columns = list(dict.fromkeys(clause.field.column for clause in template.clauses))
    first = next(iter(data.splits.train.batches(columns))).slice(0, TIMED)
    sentences = Sentences(template, [first])
    some = sentences.of(np.arange(len(sentences)))
    return PASSES * len(data.train) * seconds_of_one(TextEncoder.load(model, device=device), some)


def depth_of(sizes: Sequence[int], most: int) -> int:
    """How many of each list can be taken, so that there are not more than `most` in all.

    >>> depth_of([2, 10, 10], 12)
    5
    """
    return bisect_right(range(max(sizes, default=0) + 1), most, key=lambda n: sum(min(n, size) for size in sizes)) - 1


def seconds_of_one(encoder: TextEncoder, texts: Sequence[str]) -> float:
    """How long it takes to read a text, the mean over some; 0 where there are none."""
    rows = encoder.tokenize(texts) if texts else []
    if not rows:
        return 0.0
    encoder.embed_tokens(rows[:1])  # the first call is slower
    began = time.perf_counter()
    encoder.embed_tokens(rows)
    return (time.perf_counter() - began) / len(rows)
