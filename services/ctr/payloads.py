"""The bodies of the calls that start jobs; as JSON they are the payloads that the worker reads."""

from typing import Any, Literal, Self, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, JsonValue, model_validator
from pydantic import Field as Setting

from llactr_core.errors import SchemaError
from llactr_core.schema import Schema
from services.ctr.registry.store import NAME_PATTERN

Backbone: TypeAlias = Literal["fm", "deepfm", "fwfm", "fmfm", "finalmlp", "wukong"]
_DATASET = "A local path or s3:// URL: a folder of train, valid and test files, or one file that is split 8:1:1."


class TrainRequest(BaseModel):
    """What to train a version of a model from."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "dataset": "data/bank-marketing.parquet",
                "label": "y",
                "backbone": "deepfm",
                "enhancer": "llactr",
                "options": {"epochs": 10, "seed": 1},
            }
        },
    )

    dataset: str = Setting(min_length=1, max_length=4096, description=_DATASET)
    data_schema: dict[str, Any] | None = Setting(
        default=None, alias="schema", description="The schema as JSON; null to infer it from the data."
    )
    label: str | None = Setting(default=None, description="The column of 0 and 1; needed where the schema has none.")
    backbone: Backbone = "deepfm"
    enhancer: Literal["llactr", "none"] = "llactr"
    field_schema: str | None = Setting(
        default=None, description="The schema's name at the LLM service; by default the schema's own name."
    )
    table_version: str = Setting(default="current", description="A version or alias of the field table.")
    promote: bool = Setting(default=False, description="Make it champion even if the model has one already.")
    read_test: bool = Setting(default=False, description="Measure the test split too; no choice may rest on it.")
    options: dict[str, JsonValue] = Setting(default_factory=dict, description="Training options.")

    @model_validator(mode="after")
    def _options_do_not_contradict(self) -> Self:
        twice = sorted({"backbone", "enhancer"} & set(self.options))
        if twice:
            raise ValueError(f"give {' and '.join(twice)} beside 'options', not within")
        return self

    def schema_given(self) -> Schema | None:
        """The schema with its label, or None where it is to be inferred.

        Raises:
            SchemaError: it is not valid, names no label, or another one than `label`.
        """
        if self.data_schema is None:
            if self.label is None:
                raise SchemaError("neither a schema nor a label was given; name the column of 0 and 1 in 'label'")
            return None
        schema = Schema.parse(self.data_schema)
        if self.label is not None and schema.label not in (None, self.label):
            raise SchemaError(f"the schema's label is {schema.label!r} and 'label' says {self.label!r}; give one")
        label = schema.label or self.label
        if label is None:
            raise SchemaError(f"schema {schema.name!r} has no label; name the column of 0 and 1 in 'label'")
        return Schema.parse({**schema.model_dump(mode="json"), "label": label})


class RefreshRequest(BaseModel):
    """Tune the field semantics anew, train the champion's recipe on them, and promote the result."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"example": {"model": "bank-marketing"}})

    model: str | None = Setting(default=None, pattern=NAME_PATTERN, description="By default the one that scores.")
    dataset: str | None = Setting(
        default=None, min_length=1, max_length=4096, description=_DATASET + " By default the champion's."
    )
    llm: str | None = Setting(default=None, description="The language model; by default the LLM service's.")
    ssft: dict[str, JsonValue] = Setting(
        default_factory=dict, description="Tuning options over those of the present table; without a seed a fresh one."
    )
    options: dict[str, JsonValue] = Setting(
        default_factory=dict, description="Training options over those of the champion."
    )

    @model_validator(mode="after")
    def _can_be_trained(self) -> Self:
        if self.options.get("enhancer", "llactr") == "none":
            raise ValueError("a refresh trains with field semantics; enhancer 'none' is a train call")
        known = get_args(Backbone)
        if self.options.get("backbone", known[0]) not in known:
            raise ValueError(f"there is no backbone {self.options['backbone']!r}; choose one of {', '.join(known)}")
        return self
