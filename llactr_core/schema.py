"""The schema: which fields a row has, how each is encoded, and what the language model reads of it."""

import hashlib
import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator
from pydantic import Field as Setting

from llactr_core.errors import SchemaError

MAX_FIELDS = 256


class Kind(StrEnum):
    """How the values of a field are understood."""

    CATEGORICAL = "categorical"
    NUMERIC = "numeric"
    MULTI_VALUED = "multi-valued"


class Field(BaseModel):
    """One feature field.

    `description` is what the language model reads; where it is empty, the name in words takes its place.
    `source` names the column that the field is computed from, for a field that is a `part` of a date or time;
    otherwise the column has the field's own name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Setting(min_length=1, max_length=200)
    description: str = Setting(default="", max_length=2000)
    kind: Kind = Kind.CATEGORICAL
    separator: str = Setting(default="|", min_length=1, max_length=8, description="Between the values of a list.")
    min_count: int = Setting(default=1, ge=1, description="Values seen less often in train share the unseen id.")
    max_vocabulary: int = Setting(default=1_000_000, ge=1, description="The most frequent values kept.")
    max_values: int = Setting(default=8, ge=1, le=256, description="Multi-valued: values read per row.")
    buckets: int = Setting(default=16, ge=2, le=1024, description="Numeric: quantile knots.")
    source: str | None = None
    part: Literal["hour", "weekday", "elapsed_days"] | None = None
    side: Literal["user", "item", "context"] | None = None
    textual: bool | None = Setting(
        default=None, description="Whether a language model reads the values; by default the values decide."
    )
    scene: bool = Setting(
        default=False, description="Whether the field tells when, where or how a request comes (time, weather, device)."
    )

    @field_validator("name", "description", "source")
    @classmethod
    def _no_nul(cls, text: str | None) -> str | None:
        if text is not None and "\0" in text:
            raise ValueError(f"{text[:50]!r} holds a NUL character, which no database keeps; leave it out")
        return text

    @model_validator(mode="after")
    def _part_needs_source(self) -> Self:
        if (self.part is None) != (self.source is None):
            raise ValueError(f"field {self.name!r}: 'source' and 'part' go together; give both or neither")
        return self

    @model_validator(mode="after")
    def _scene_is_categorical(self) -> Self:
        if self.scene and (self.kind != Kind.CATEGORICAL or self.part == "elapsed_days"):
            kind = self.part or self.kind.value
            raise ValueError(
                f"field {self.name!r}: a field of the scene has one value in words, but this one is {kind}; "
                "use 'kind: categorical', or leave 'scene' out"
            )
        return self

    @property
    def column(self) -> str:
        """The column of a row that the field reads."""
        return self.source or self.name

    @property
    def text(self) -> str:
        """What the language model reads: the description, or the name in words ("UserID" -> "user id")."""
        return self.description or humanise(self.name)


class Schema(BaseModel):
    """The fields of a dataset in their fixed order, and its label. Immutable; edit the YAML and load it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Setting(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    label: str | None = None
    group: str | None = Setting(default=None, description="The column whose groups GAUC is averaged over.")
    fields: tuple[Field, ...] = Setting(min_length=1, max_length=MAX_FIELDS)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = self.names
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"field names must be unique; given more than once: {', '.join(twice)}")
        if self.label is not None and self.label in (f.column for f in self.fields):
            raise ValueError(f"the label {self.label!r} cannot be a field as well")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the K fields."""
        return tuple(f.name for f in self.fields)

    @property
    def columns(self) -> tuple[str, ...]:
        """The distinct columns that the fields read, in order."""
        return tuple(dict.fromkeys(f.column for f in self.fields))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that changes how a row is encoded or what is learned from it. The name is not part of it."""
        content = self.model_dump(mode="json", exclude={"name"})
        for field in content["fields"]:
            if field["textual"] is None:  # as in schemas that are older than this setting
                del field["textual"]
            if not field["scene"]:  # likewise
                del field["scene"]
        return _digest(content)

    @property
    def semantic_fingerprint(self) -> str:
        """SHA-256 over what the language model reads: name, description and kind of each field, in order."""
        return _digest([[f.name, f.description, f.kind.value] for f in self.fields])

    def to_yaml(self) -> str:
        """The schema as YAML for editing by hand; values equal to their defaults are left out."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)

    def save(self, path: Path) -> None:
        """Write the schema as YAML."""
        path.write_text(self.to_yaml(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Schema":
        """Read a schema from YAML.

        Raises:
            SchemaError: the file is missing, is no YAML mapping, or describes no valid schema.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SchemaError(f"cannot read the schema {path}: {error}") from error
        return cls.parse(content)

    @classmethod
    def parse(cls, content: object) -> "Schema":
        """Build a schema from plain data (parsed YAML or JSON).

        Raises:
            SchemaError: naming the first part that is not valid.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "schema"
            raise SchemaError(f"{where}: {first['msg']}") from error


def humanise(name: str) -> str:
    """A column name in words: "UserID" -> "user id", "emp_var_rate" -> "emp var rate"."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\-.\s]+", " ", name)
    return " ".join(words.lower().split()) or name


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
