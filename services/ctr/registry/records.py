"""What the registry holds, as the API shows it."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting


class Lineage(BaseModel):
    """Where a version comes from: enough to train it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Setting(description="The URI of the dataset.")
    data_digest: dict[str, str] = Setting(description="SHA-256 of each file or part that was read.")
    data_schema: dict[str, Any] = Setting(description="The schema, label and group included.")
    schema_fingerprint: str
    backbone: str
    enhancer: str
    field_schema: str | None = Setting(default=None, description="The schema's name at the LLM service.")
    table_version: str | None = Setting(default=None, description="The field table that it was trained with.")
    options: dict[str, Any] = Setting(description="The training options, defaults included.")
    code_version: str
    job: str | None = None
    parent: str | None = Setting(default=None, description="The version that a refresh started from.")
    start_from: str | None = Setting(default=None, description="The version whose weights the training began with.")

    @property
    def has_semantics(self) -> bool:
        """Whether a field table is behind it, which a refresh can renew."""
        return self.enhancer == "llactr" or (self.enhancer != "none" and self.table_version is not None)


class ModelVersion(BaseModel):
    """One registered version as the API shows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    created_at: str = Setting(description="ISO 8601, UTC.")
    lineage: Lineage
    metrics: dict[str, Any]
    aliases: list[str]


class ModelSummary(BaseModel):
    """A model with its aliases and its versions, the newest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    aliases: dict[str, str]
    versions: list[str]


class Move(BaseModel):
    """One decision about an alias."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Setting(description="Grows with time; give the last one as `before` to see older decisions.")
    alias: str
    version: str = Setting(description="Where the alias was to point.")
    previous: str | None = Setting(description="Where it pointed before.")
    outcome: str = Setting(description="moved, refused, rolled-back or removed.")
    reason: str
    gate: dict[str, Any] | None = Setting(description="The gate's numbers, where it was asked.")
    by: str | None = Setting(description="The name of the key or schedule behind it.")
    job: str | None = Setting(description="The job behind it.")
    at: str = Setting(description="ISO 8601, UTC.")
