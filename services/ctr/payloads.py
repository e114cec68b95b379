"""The bodies of the calls that start jobs; as JSON they are the payloads that the worker reads."""

from collections.abc import Mapping
from typing import Any, Literal, Self, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, JsonValue, model_validator
from pydantic import Field as Setting

from llactr_core.errors import OptionError, SchemaError
from llactr_core.proof.options import ProveOptions
from llactr_core.schema import Schema
from llactr_core.training.options import TrainOptions
from services.ctr.registry.store import NAME_PATTERN

Backbone: TypeAlias = Literal["fm", "deepfm", "fwfm", "fmfm", "finalmlp", "wukong", "autoint"]
_DATASET = "A local path or s3:// URL: a folder of train, valid and test files, or one file that is split 8:1:1."

_FORCE = "Promote against the gate's refusal; needs a key with the role admin."
CURRENT = "current"
FEW_EPOCHS = 3
CLEANED = ("refresh", "train", "prove")  # the kinds of jobs that start a tuning at the LLM service
KEPT = ("backbone", "backbone_options", "width")


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
    backbone: Backbone | None = Setting(default=None, description="By default deepfm; that of a warm start.")
    enhancer: Literal["llactr", "larr", "ctrl", "none"] | None = Setting(
        default=None, description="By default llactr; that of a warm start."
    )
    field_schema: str | None = Setting(
        default=None, description="The schema's name at the LLM service; by default the schema's own name."
    )
    table_version: str = Setting(default=CURRENT, description="A version or alias of the field table.")
    values: bool = Setting(
        default=False, description="Let the model read the values of textual fields too; needs the enhancer llactr."
    )
    auto: bool = Setting(
        default=False,
        description="Let a small proof on validation choose between plain, fields and values; `options` hold for all.",
    )
    minutes: float = Setting(default=15.0, gt=0, le=100_000, description="How long `auto` may take, training included.")
    warm_start: str | None = Setting(
        default=None,
        min_length=1,
        max_length=128,
        description="A version or alias of the model whose weights the training begins with: with a dataset of new "
        "rows, incremental training. Schema, backbone, enhancer and options are that version's, where none are given.",
    )
    promote: bool = Setting(
        default=False, description="Make it champion, if the gate lets it pass; a model without one gets it anyway."
    )
    force: bool = Setting(default=False, description=_FORCE)
    read_test: bool = Setting(default=False, description="Measure the test split too; no choice may rest on it.")
    options: dict[str, JsonValue] = Setting(default_factory=dict, description="Training options.")

    @model_validator(mode="after")
    def _options_do_not_contradict(self) -> Self:
        twice = sorted({"backbone", "enhancer"} & set(self.options))
        if twice:
            raise ValueError(f"give {' and '.join(twice)} beside 'options', not within")
        if self.values and self.enhancer in ("none", "ctrl"):
            raise ValueError(f"the enhancer {self.enhancer!r} reads no values; choose 'llactr', or leave 'values' out")
        if self.values and self.enhancer == "larr":
            raise ValueError("the enhancer 'larr' reads the scene's values anyway and no others; leave 'values' out")
        return self

    @model_validator(mode="after")
    def _auto_decides(self) -> Self:
        given = [name for name in ("enhancer", "values", "warm_start") if getattr(self, name)]
        if self.auto and given:
            raise ValueError(f"'auto' decides what is read and trains anew; leave {' and '.join(given)} out")
        return self

    def options_over(self, start: Mapping[str, Any] | None) -> TrainOptions:
        """The training options, given those of the version to start from, where there is one.

        Raises:
            OptionError: one is unknown or out of range, or has to stay what it was at a warm start; or a field table is
                named where LARR makes its own.
        """
        named = {"backbone": self.backbone, "enhancer": self.enhancer}
        chosen = {name: value for name, value in named.items() if value is not None}
        options = TrainOptions.parse({**(start or {}), **self.options, **chosen})
        if options.tunes_scenes and self.table_version != CURRENT:
            raise OptionError(
                f"table_version is {self.table_version!r}, but the enhancer 'larr' tunes a model and reads the scenes "
                "with that one; leave it out, or set larr.pretrain_epochs and larr.contrast_epochs to 0 in 'options'",
                field="table_version",
            )
        before = options if start is None else TrainOptions.parse(start)
        for name in KEPT:
            given, kept = getattr(options, name), getattr(before, name)
            if given != kept:
                raise OptionError(
                    f"{name} is {given!r}, and {self.warm_start!r} was trained with {kept!r}; a warm start keeps it",
                    field=name,
                )
        return options

    def schema_over(self, start: Schema | None) -> Schema | None:
        """The schema with its label, or None where it is to be inferred; by default that of the version to start from.

        Raises:
            SchemaError: it is not valid, names no label, or another one than `label`, or has other fields than the
                version to start from.
        """
        schema = start if self.data_schema is None else Schema.parse(self.data_schema)
        if schema is None:
            if self.label is None:
                raise SchemaError("neither a schema nor a label was given; name the column of 0 and 1 in 'label'")
            return None
        if start is not None and schema.fields != start.fields:
            raise SchemaError(
                f"a warm start keeps the fields of {self.warm_start!r}; leave the schema out, or train anew"
            )
        if self.label is not None and schema.label not in (None, self.label):
            raise SchemaError(f"the schema's label is {schema.label!r} and 'label' says {self.label!r}; give one")
        label = schema.label or self.label
        if label is None:
            raise SchemaError(f"schema {schema.name!r} has no label; name the column of 0 and 1 in 'label'")
        return Schema.parse({**schema.model_dump(mode="json"), "label": label})


class ProveRequest(ProveOptions):
    """What to prove, on which dataset."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"dataset": "data/ml1m", "label": "label", "model": "movies", "quick": True}}
    )

    dataset: str = Setting(min_length=1, max_length=4096, description=_DATASET)
    data_schema: dict[str, Any] | None = Setting(
        default=None, alias="schema", description="The schema as JSON; null to infer it from the data."
    )
    label: str | None = Setting(default=None, description="The column of 0 and 1; needed where the schema has none.")
    field_schema: str | None = Setting(
        default=None, description="The schema's name at the LLM service; by default the schema's own name."
    )
    table_version: str = Setting(default=CURRENT, description="A version or alias of the field table.")
    model: str = Setting(
        default="proof",
        pattern=NAME_PATTERN,
        description="Whose keys may see the report: a key that is limited to models names one of them.",
    )

    @property
    def options(self) -> ProveOptions:
        """How much is done."""
        return ProveOptions.model_validate(self.model_dump(include=set(ProveOptions.model_fields)))

    def schema_with_label(self) -> Schema | None:
        """The schema with its label, or None where it is to be inferred.

        Raises:
            SchemaError: it is not valid, names no label, or another one than `label`.
        """
        content = {"dataset": self.dataset, "schema": self.data_schema, "label": self.label}
        return TrainRequest.model_validate(content).schema_over(None)


class RefreshPlan(BaseModel):
    """Take a new field table, train the champion's recipe on it, and promote the result if the gate lets it pass."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"example": {"mode": "re-enhance"}})

    mode: Literal["retrain", "re-enhance"] = Setting(
        default="retrain",
        description="retrain: train anew. re-enhance: go on from the champion's weights with the new table, "
        f"{FEW_EPOCHS} epochs unless 'options' says otherwise.",
    )
    table_version: str | None = Setting(
        default=None,
        min_length=1,
        max_length=128,
        description="Tune nothing: take this version or alias of the field table.",
    )
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
    force: bool = Setting(default=False, description=_FORCE)

    @model_validator(mode="after")
    def _can_be_trained(self) -> Self:
        if self.options.get("enhancer") in ("none", "ctrl"):
            raise ValueError(
                f"a refresh trains with field semantics; enhancer {self.options['enhancer']!r} is a train call"
            )
        known = get_args(Backbone)
        if self.options.get("backbone", known[0]) not in known:
            raise ValueError(f"there is no backbone {self.options['backbone']!r}; choose one of {', '.join(known)}")
        return self

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Self:
        given = [name for name in ("llm", "ssft") if getattr(self, name)]
        if self.table_version is not None and given:
            raise ValueError(f"with 'table_version' nothing is tuned; leave {' and '.join(given)} out")
        changed = [name for name in KEPT if name in self.options]
        if self.mode == "re-enhance" and changed:
            raise ValueError(f"re-enhance keeps the champion's {', '.join(changed)}; leave it out, or choose retrain")
        return self

    def options_over(self, champion: Mapping[str, Any]) -> TrainOptions:
        """The training options of the new version, given those of the champion.

        Raises:
            OptionError: one of them is unknown or out of range, or SSFT has options where LARR tunes the model.
        """
        few = {"epochs": FEW_EPOCHS} if self.mode == "re-enhance" else {}
        options = TrainOptions.parse({**champion, **few, **self.options})
        if options.tunes_scenes and self.ssft:
            raise OptionError(
                f"'ssft' has {', '.join(self.ssft)}, but the enhancer 'larr' tunes the model by its own stages; give "
                "their options as 'larr' in 'options'",
                field="ssft",
            )
        return options


class RefreshRequest(RefreshPlan):
    """A refresh of one model."""

    model_config = ConfigDict(json_schema_extra={"example": {"model": "bank-marketing", "mode": "retrain"}})

    model: str | None = Setting(default=None, pattern=NAME_PATTERN, description="By default the one that scores.")
