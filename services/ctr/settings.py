"""What the CTR service can be told from outside."""

from pathlib import Path
from typing import ClassVar

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.shared.settings import ServiceSettings


class CtrSettings(ServiceSettings):
    """Settings of the CTR service's API and worker; the environment prefix is LLACTR_CTR_."""

    model_config = SettingsConfigDict(env_prefix="LLACTR_CTR_", extra="ignore", frozen=True, populate_by_name=True)

    service: ClassVar[str] = "ctr"

    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("LLACTR_CTR_PORT", "CTR_PORT", "port"),
        description="The TCP port to listen on.",
    )
    llm_url: str = Field(default="http://127.0.0.1:8001", description="Where the LLM service answers.")
    llm_key: SecretStr | None = Field(
        default=None, description="The worker's key at the LLM service; without it, the one in the admin key file."
    )
    llm_timeout_s: float = Field(default=30.0, gt=0, description="Seconds to wait for an answer of the LLM service.")
    max_rows: int = Field(default=20_000, ge=1, description="The most rows in one scoring request.")
    inline_rows: int = Field(
        default=64, ge=0, description="Requests of up to so many rows are scored on the event loop, larger in a thread."
    )
    default_model: str | None = Field(
        default=None,
        description="The model that scores when a request names none; without it, `default`, or the only one.",
    )
    max_loaded: int = Field(
        default=8, ge=1, description="Versions kept in memory besides the champions, the last used of them."
    )

    @property
    def bundles(self) -> Path:
        """The folder of the registered bundles, one directory per version."""
        return self.state / "bundles"
