"""What a tuning works on: examples with their prompts, and the batches of each epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llactr_core.errors import DataError
from llactr_core.schema import Schema
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.template import candidates
from llactr_core.semantics.tokens import Tokens
from llactr_core.semantics.tuning.examples import (
    Example,
    build_examples,
    epoch_batches,
    epoch_order,
    split_examples,
)
from llactr_core.semantics.tuning.loss import Task

_LEAST_BATCHES = 4  # an epoch over a handful of values still takes this many steps


@dataclass(frozen=True)
class Workload:
    """The task over the K fields, and the examples that are trained on and judged, with their prompts as token rows.

    `held_out` is 0 where the training values themselves are judged; `values` are the distinct values per field.
    """

    task: Task
    train: list[Example]
    train_rows: list[Tokens]
    judged: list[Example]
    judged_rows: list[Tokens]
    held_out: int
    values: list[int]

    def batches(self, options: SsftOptions, epoch: int) -> list[list[int]]:
        """The batches of an epoch, as indices of `train`; every epoch has as many."""
        size = max(len(self.train), _LEAST_BATCHES * options.batch_size)
        order = epoch_order(self.train, len(self.values), size, options.seed, epoch)
        lengths = [len(row) for row in self.train_rows]
        return epoch_batches(order, lengths, options.batch_size, options.seed, epoch)


def prepare(
    encoder: TextEncoder, schema: Schema, samples: Mapping[str, Sequence[str]], options: SsftOptions
) -> Workload:
    """Everything that a tuning reads, from samples per field; the same whatever their order.

    Raises:
        DataError: no field has a sample.
    """
    names = candidates(schema)
    examples = build_examples(samples, schema.names, options.max_chars)
    if not examples:
        raise DataError(f"no field of the schema {schema.name!r} has a sample; give samples, or a dataset with values")
    train, held_out = split_examples(examples, len(names), options.held_out, options.seed)
    # With so few values that none can be spared, the epoch is chosen on the training values.
    judged = held_out or train
    prompts = [encoder.template.prompt(one.value, names, options.max_chars) for one in (*train, *judged)]
    rows = encoder.tokenize(prompts)
    answers = encoder.answers(names) if options.objective != "contrastive" else []
    fields = encoder.tokenize(encoder.template.fields(schema))
    task = Task(encoder, options.objective, options.temperature, fields, answers)
    values = [sum(index in example.fields for example in examples) for index in range(len(names))]
    return Workload(task, train, rows[: len(train)], judged, rows[len(train) :], len(held_out), values)
