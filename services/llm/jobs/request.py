"""What a refresh is asked with, checked once when the call comes in, and what of it a job keeps."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    model_validator,
)

from llactr_core.data.canonical import canonical
from llactr_core.enhancers.larr.split import check_texts
from llactr_core.enhancers.larr.texts import LarrTuning
from llactr_core.errors import DataError, OptionError, TooLargeError
from llactr_core.schema import Schema
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.recipe import check_objective, recipe_of
from llactr_core.semantics.sampling import clean_samples
from services.llm.models import allowed_model
from services.llm.settings import LlmSettings
from services.shared.datasets import resolve_dataset

KIND = "refresh"
# Any JSON scalar; `canonical` tells a nested value apart, faster and with a plainer message than a union of types.
Value = Annotated[object, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]

EXAMPLE: dict[str, JsonValue] = {
    "samples": {"user_gender": ["F", "M"], "movie_genre": ["Comedy", "Drama", "Film-Noir"]},
    "ssft": {"epochs": 3, "seed": 1},
}


class RefreshRequest(BaseModel):
    """The body of a refresh: where the sample values come from, and how to tune."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    samples: dict[str, list[Value]] | None = Field(
        default=None, description="Sample values per field; at most ssft.sam_num distinct ones of each are used."
    )
    dataset: str | None = Field(
        default=None,
        description="A dataset that the service may read: a local path, or a URL such as s3://bucket/logs.",
    )
    model: str | None = Field(default=None, description="The language model; the service's own where it is absent.")
    ssft: SsftOptions = Field(default_factory=SsftOptions, description="How to tune; skip=true only embeds.")
    larr: LarrTuning | None = Field(
        default=None, description="Tune by stages 1 and 2 of LARR instead of SSFT, on these items and pairs."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("samples", "dataset", "larr") if getattr(self, name) is not None]
        if len(given) > 1 or (not given and not self.ssft.skip):
            what = " and ".join(map(repr, given)) if given else "none"
            raise ValueError(f"give exactly one of 'samples', 'dataset' and 'larr'; given: {what}")
        return self

    @model_validator(mode="after")
    def _larr_has_work(self) -> Self:
        if self.larr is None:
            return self
        if "ssft" in self.model_fields_set:
            raise ValueError("'larr' has options of its own; leave 'ssft' out")
        if not self.larr.options.tunes:
            raise ValueError("larr.options: both stages have 0 epochs; leave 'larr' out and give ssft.skip")
        return self


class RefreshPayload(BaseModel):
    """What a refresh job keeps: all that it needs, whatever changes around it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    content: Schema
    samples: dict[str, list[str]] | None
    dataset: str | None
    model: str
    ssft: SsftOptions
    larr: LarrTuning | None = None

    def recipe(self) -> str | None:
        """The recipe, where it is known before the dataset is read."""
        return None if self.dataset is not None else self.recipe_with(self.samples or {})

    def recipe_with(self, samples: Mapping[str, Sequence[str]]) -> str:
        """The recipe, once the samples are drawn."""
        if self.larr is not None:
            return self.larr.recipe(self.content, self.model)
        return recipe_of(self.content, samples, self.model, self.ssft)

    @property
    def rank(self) -> int:
        """LoRA's; 0 where nothing is tuned."""
        if self.larr is not None:
            return self.larr.options.rank
        return 0 if self.ssft.skip else self.ssft.rank

    def dump(self) -> dict[str, Any]:
        """Plain data for the table of jobs."""
        return self.model_dump(mode="json")

    @property
    def key(self) -> str:
        """Equal for calls that ask for the same work."""
        work = self.recipe() or hashlib.sha256(json.dumps(self.dump(), sort_keys=True).encode()).hexdigest()
        return f"{KIND}:{self.content.name}:{work}"


def payload_of(request: RefreshRequest, schema: Schema, settings: LlmSettings) -> RefreshPayload:
    """Check a request against the schema, the allowed datasets and the model.

    Raises:
        SchemaError: samples for a field that the schema does not have.
        OptionError: the model is not allowed, or cannot do the objective.
        DataError: no field has a sample, or LARR's items or pairs are too few.
        TooLargeError: more samples, items or pairs, or a longer sample, than the settings allow.
        PermissionDenied, NotFoundError: the dataset may not be read, or is not there.
    """
    model = allowed_model(request.model, settings)
    check_objective(model, request.ssft)
    dataset = str(resolve_dataset(request.dataset, settings.data_roots)) if request.dataset is not None else None
    samples = None
    if request.samples is not None:
        samples = _checked(request.samples, schema, request.ssft, settings)
    if request.larr is not None:
        _check_size(request.larr, settings)
        check_texts(request.larr.texts, request.larr.options)
    return RefreshPayload(
        content=schema, samples=samples, dataset=dataset, model=model, ssft=request.ssft, larr=request.larr
    )


def _check_size(larr: LarrTuning, settings: LlmSettings) -> None:
    for name, count in larr.counts.items():
        if count > settings.max_samples:
            raise TooLargeError(
                f"{count} {name}; at most {settings.max_samples} are allowed: lower larr.most_items or larr.most_pairs",
                field="larr.texts",
            )


def _checked(
    given: dict[str, list[Value]], schema: Schema, ssft: SsftOptions, settings: LlmSettings
) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for name, values in given.items():
        if len(values) > settings.max_samples:
            raise TooLargeError(
                f"{len(values)} samples for field {name!r}; at most {settings.max_samples} are allowed: send fewer",
                field=f"samples.{name}",
            )
        texts[name] = [
            text
            for index, value in enumerate(values)
            if (text := _text(value, name, index, settings.max_text_chars)) is not None
        ]
    samples = clean_samples(schema, texts, ssft.sam_num, ssft.seed)
    if not ssft.skip and not any(samples.values()):
        raise DataError("no field has a sample; give values of at least one field, or ssft.skip", field="samples")
    return samples


def _text(value: object, name: str, index: int, most: int) -> str | None:
    if isinstance(value, str) and len(value) > most:
        raise TooLargeError(
            f"sample {index} of field {name!r} has {len(value)} characters; at most {most} are allowed: shorten it",
            field=f"samples.{name}.{index}",
        )
    try:
        return canonical(value)
    except DataError:
        raise OptionError(
            f"sample {index} of field {name!r} is nested; give texts, numbers, booleans or null",
            field=f"samples.{name}.{index}",
        ) from None
