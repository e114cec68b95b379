"""What every service can be told from outside: one settings class, every setting with a description."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.shared.datasets import DataRoot, data_root

MEBIBYTE = 1024 * 1024


def _working_folder() -> list[DataRoot]:
    return [Path.cwd()]


class ServiceSettings(BaseSettings):
    """Settings that both services share; each service subclasses it with its own name, prefix and port."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    service: ClassVar[str] = "service"

    home: Path = Field(
        default=Path(".llactr"),
        validation_alias=AliasChoices("LLACTR_HOME", "home"),
        description="The folder that keeps all state: databases, field tables, bundles, job folders, the admin key.",
    )
    host: str = Field(default="127.0.0.1", description="The address to listen on. Beyond loopback, a key is demanded.")
    port: int = Field(default=8000, ge=0, le=65535, description="The TCP port to listen on.")
    database_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL of the database; without it, an SQLite file <home>/<service>.db.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="URL of a Redis that caches, redis://host:6379/0; without it, only memory and the database do.",
    )
    admin_key_file: Path | None = Field(
        default=None, description="The file that holds the admin key; without it, <home>/admin.key."
    )
    require_key_to_read: bool = Field(
        default=False, description="Demand a key for reading and scoring too, also on loopback."
    )
    key_cache_s: float = Field(
        default=5.0,
        ge=0,
        le=60,
        description="Seconds that a looked-up key is remembered: so long one that another process revokes may work on.",
    )
    audit_days: int = Field(default=400, ge=1, le=36_500, description="Days that entries of the audit are kept.")
    data_roots: list[Annotated[DataRoot, BeforeValidator(data_root)]] = Field(
        default_factory=_working_folder,
        description="The folders and URL prefixes, such as s3://bucket/logs, that datasets may be read from "
        "(a JSON list in the environment).",
    )
    max_body_bytes: int = Field(default=64 * MEBIBYTE, ge=1024, description="The largest request body, in bytes.")
    max_queued: int = Field(default=1000, ge=1, description="The most jobs that may wait; more are refused with 429.")
    max_attempts: int = Field(
        default=20, ge=1, description="Attempts after which a job that kills its workers and gets no further is failed."
    )
    keep_jobs_days: float = Field(
        default=90.0, gt=0, le=36_500, description="Days that a job which ended, and the keys of its calls, are kept."
    )
    lease_s: float = Field(
        default=10.0, gt=0, description="Seconds after which a job whose worker went silent is taken over by another."
    )
    poll_s: float = Field(default=0.2, gt=0, le=60, description="Seconds between two looks at the database.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The lowest level that is logged."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^(https?://\S+)?$",
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint"),
        description="Where spans are sent by OTLP over HTTP, as http://collector:4318; without it none are recorded.",
    )
    worker_metrics_port: int = Field(
        default=0, ge=0, le=65535, description="The TCP port on which the worker shows its metrics; 0: it does not."
    )
    worker_metrics_host: str = Field(
        default="127.0.0.1", description="The address for that; no key is asked for there, so keep it private."
    )

    @property
    def storage_url(self) -> str:
        """The SQLAlchemy URL in use."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{(self.home / f'{self.service}.db').absolute()}"

    @property
    def key_file(self) -> Path:
        """The admin key file in use."""
        return self.admin_key_file or self.home / "admin.key"

    @property
    def state(self) -> Path:
        """The service's own folder under the home."""
        return self.home / self.service

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False
