"""What a refresh is asked with, checked once when the call comes in, and what of it a job keeps."""

import hashlib
import json
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

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("samples", "dataset") if getattr(self, name) is not None]
        if len(given) == 2 or (not given and not self.ssft.skip):
            what = "both were" if given else "neither was"
            raise ValueError(f"give exactly one of 'samples' and 'dataset'; {what} given")
        return self


class RefreshPayload(BaseModel):
    """What a refresh job keeps: all that it needs, whatever changes around it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    content: Schema
    samples: dict[str, list[str]] | None
    dataset: str | None
    model: str
    ssft: SsftOptions

    def recipe(self) -> str | None:
        """The recipe, where it is known before the dataset is read."""
        if self.dataset is not None:
            return None
        return recipe_of(self.content, self.samples or {}, self.model, self.ssft)

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
        DataError: no field has a sample.
        TooLargeError: more samples, or a longer one, than the settings allow.
        PermissionDenied, NotFoundError: the dataset may not be read, or is not there.
    """
    model = allowed_model(request.model, settings)
    check_objective(model, request.ssft)
    dataset = str(resolve_dataset(request.dataset, settings.data_roots)) if request.dataset is not None else None
    samples = None
    if request.samples is not None:
        samples = _checked(request.samples, schema, request.ssft, settings)
    return RefreshPayload(content=schema, samples=samples, dataset=dataset, model=model, ssft=request.ssft)


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
