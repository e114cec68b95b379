"""What is tuned in the benchmark: the values of ml1m, or made-up schemas of any number of fields."""

from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

from benchmarks.tuning.plain import Texts
from llactr_core.data.splits import open_dataset
from llactr_core.schema import Field, Schema
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.sampling import Samples, draw_samples
from llactr_core.semantics.template import candidates
from llactr_core.semantics.tuning.workload import Workload, prepare
from llactr_core.semantics.weights import DEFAULT_MODEL

SCHEMA = Path(__file__).parent.parent / "schemas" / "ml1m.yaml"
_THINGS = ("user", "item", "ad", "device", "session", "store")
_FACTS = ("id", "age group", "category", "city", "brand", "language", "price", "weekday", "status", "title")


@dataclass(frozen=True)
class Subject:
    """A schema with samples of its fields."""

    schema: Schema
    samples: Samples

    def load(self, options: SsftOptions) -> tuple[TextEncoder, Workload]:
        """A fresh MiniLM, and what the product makes of the samples for it."""
        encoder = TextEncoder.load(DEFAULT_MODEL, device="cpu")
        return encoder, prepare(encoder, self.schema, self.samples, options)

    def texts(self, encoder: TextEncoder, work: Workload, options: SsftOptions) -> Texts:
        """The same as texts, for the plain loop: training prompts first, then those that are judged."""
        names, examples = candidates(self.schema), [*work.train, *work.judged]
        prompts = [encoder.template.prompt(example.value, names, options.max_chars) for example in examples]
        return Texts(prompts, [example.fields for example in examples], list(encoder.template.fields(self.schema)))


def ml1m(datasets: Path, options: SsftOptions) -> Subject:
    """The samples that the product draws from the train split, without the Timestamp."""
    schema = Schema.load(SCHEMA)
    source = open_dataset(datasets / "ml1m", schema.label).train
    return Subject(schema, draw_samples(schema, source.batches(), options.sam_num, options.seed))


def made_up(fields: int, values: int) -> Subject:
    """At most 60 fields such as "device_brand", with `values` values each such as "brand 17 of device"."""
    named = list(islice(product(_FACTS, _THINGS), fields))
    schema = Schema(
        name="made-up", fields=tuple(Field(name=f"{thing}_{fact}".replace(" ", "_")) for fact, thing in named)
    )
    samples = {
        field.name: [f"{fact} {number} of {thing}" for number in range(values)]
        for field, (fact, thing) in zip(schema.fields, named, strict=True)
    }
    return Subject(schema, samples)
