"""What the LLM service can be told from outside."""

from pathlib import Path
from typing import ClassVar

from pydantic import AliasChoices, Field
from pydantic_settings import SettingsConfigDict

from llactr_core.semantics.weights import DEFAULT_MODEL
from services.shared.settings import ServiceSettings


class LlmSettings(ServiceSettings):
    """Settings of the LLM service's API and worker; the environment prefix is LLACTR_LLM_."""

    model_config = SettingsConfigDict(env_prefix="LLACTR_LLM_", extra="ignore", frozen=True, populate_by_name=True)

    service: ClassVar[str] = "llm"

    port: int = Field(
        default=8001,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("LLACTR_LLM_PORT", "LLM_PORT", "port"),
        description="The TCP port to listen on.",
    )
    model: str = Field(
        default=DEFAULT_MODEL,
        min_length=1,
        validation_alias=AliasChoices("LLACTR_LLM_MODEL", "LLM_MODEL", "model"),
        description="The language model where a call names none: all-MiniLM-L6-v2, or a folder with a model.",
    )
    model_roots: list[Path] = Field(
        default_factory=list,
        description="Folders whose models a call may name besides the default one (a JSON list in the environment).",
    )
    cached_tables: int = Field(default=32, ge=1, description="Field tables kept in memory by the API process.")
    cached_engines: int = Field(default=2, ge=1, description="Embedding models kept in memory by the API process.")
    max_texts: int = Field(default=256, ge=1, description="The most texts in one embeddings request.")
    max_text_chars: int = Field(default=8192, ge=1, description="The most characters of one text to embed.")
    max_samples: int = Field(default=100_000, ge=1, description="The most sample values of one field in a request.")

    @property
    def tables(self) -> Path:
        """The folder of the published field tables, one file per version."""
        return self.state / "tables"

    @property
    def adapters(self) -> Path:
        """The folder of the adapters that tables were embedded with, one folder per table version."""
        return self.state / "adapters"
