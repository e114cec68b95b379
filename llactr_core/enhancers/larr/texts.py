"""All that stages 1 and 2 of LARR read, bounded whatever the size of the data; services pass it on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic import Field as Setting

from llactr_core import __version__
from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.errors import OptionError
from llactr_core.schema import Schema
from llactr_core.semantics.template import default_template
from llactr_core.semantics.tensor_file import as_json
from llactr_core.semantics.weights import model_digest, resolve_model

Kind = Literal["user_user", "item_item", "user_item"]
KINDS: tuple[Kind, ...] = ("user_user", "item_item", "user_item")
Mark = Annotated[str, StringConstraints(pattern=r"^<\|.+\|>$", max_length=300)]
MOST_MARKS = 1000
LONGEST = 300  # characters of an attribute beside others
STAGE_3 = frozenset({"width", "layers", "heads", "align_weight", "align_temperature"})


@dataclass(frozen=True)
class Thing:
    """An item or a user: its textual attributes in the schema's order, (name of the field, value)."""

    attributes: tuple[tuple[str, str], ...]

    def text(self, without: str | None = None) -> str:
        """The attributes behind their marks, all of them but one."""
        return " ".join(f"{mark(name)} {plain(value[:LONGEST])}" for name, value in self.attributes if name != without)


@dataclass(frozen=True)
class Pair:
    """Two texts that belong together, and what each is of: no two texts of one thing are negatives of each other."""

    left: str
    right: str
    left_key: str
    right_key: str


def mark(name: str) -> str:
    """The special token before an attribute's value.

    >>> mark("category")
    '<|category|>'
    """
    return f"<|{name}|>"


def plain(value: str) -> str:
    """A value of the data as it is read: what looks like a special token in it is none.

    >>> plain("spicy <|category|> soup")
    'spicy < |category|> soup'
    """
    return value.replace("<|", "< |")


class LarrTexts(BaseModel):
    """Items for stage 1, and pairs of texts for stage 2."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    marks: tuple[Mark, ...] = Setting(
        min_length=1, max_length=MOST_MARKS, description='The special tokens of all attributes, such as "<|category|>".'
    )
    described: str = Setting(description="The items' attribute that the others have to predict.")
    items: tuple[Thing, ...] = Setting(description="At most larr.most_items of them; none without stage 1.")
    pairs: Mapping[Kind, tuple[Pair, ...]] = Setting(description="At most larr.most_pairs of each kind.")


class LarrTuning(BaseModel):
    """What tunes a language model by stages 1 and 2: the texts, and the options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: LarrTexts
    options: LarrOptions

    @classmethod
    def parse(cls, content: object) -> Self:
        """Build from plain data.

        Raises:
            OptionError: naming the first entry that is unknown or out of range.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, ("larr", *first["loc"])))
            raise OptionError(f"{where}: {first['msg']}", field=where) from error

    def recipe(self, schema: Schema, model: str) -> str:
        """SHA-256, as hex, over all that the tuned model's vectors of the schema's fields and values follow from.

        Raises:
            NotFoundError, ArtifactError: the model is not here, or damaged.
        """
        path = resolve_model(model)
        content = [
            "larr",
            schema.semantic_fingerprint,
            model_digest(path),
            default_template(path).to_json(),
            self.options.model_dump(mode="json", exclude=set(STAGE_3)),
            self.texts.model_dump(mode="json"),
            __version__,
        ]
        return hashlib.sha256(as_json(content).encode()).hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        """How many items there are, and pairs of each kind."""
        counts: dict[str, int] = {"items": len(self.texts.items)}
        return counts | {str(kind): len(pairs) for kind, pairs in self.texts.pairs.items()}

    def facts(self) -> dict[str, object]:
        """What a field table says of the tuning that it was made with."""
        return {"larr": self.options.model_dump(mode="json", exclude=set(STAGE_3)), "larr_texts": self.counts}
