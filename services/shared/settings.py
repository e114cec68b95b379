"""What every service can be told from outside: one settings class, every setting with a description."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, BeforeValidator, Field, IPvAnyNetwork, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from llactr_core.errors import OptionError
from services.shared.datasets import DataRoot, data_root

MEBIBYTE = 1024 * 1024
# A folder with one file per setting, named as its variable in lower case; the variables themselves win.
SECRETS_DIR = os.environ.get("LLACTR_SECRETS_DIR") or None


def _working_folder() -> list[DataRoot]:
    return [Path.cwd()]


class ServiceSettings(BaseSettings):
    """Settings that both services share; each service subclasses it with its own name, prefix and port."""

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True, secrets_dir=SECRETS_DIR
    )

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
    storage_wait_s: float = Field(
        default=60.0, ge=0, description="Seconds that a process which starts waits for its database to answer."
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
    default_rate_per_s: float | None = Field(
        default=None, ge=0.001, le=1e6, description="The most calls a second of each key that has no rate of its own."
    )
    anonymous_rate_per_s: float | None = Field(
        default=None, ge=0.001, le=1e6, description="The most calls a second without a key, of each address."
    )
    unknown_key_rate_per_s: float = Field(
        default=100.0,
        ge=0.001,
        le=1e6,
        description="The most calls a second with keys that are not known, of each address, in each process; beyond, "
        "calls with a key that was not seen lately are refused with 429 before the database is asked.",
    )
    trusted_proxies: list[IPvAnyNetwork] = Field(
        default_factory=list,
        description="The addresses or networks of proxies whose X-Forwarded-For is believed (a JSON list); without "
        "it, a caller's address is that of the connection.",
    )
    audit_days: int = Field(default=400, ge=1, le=36_500, description="Days that entries of the audit are kept.")
    data_roots: list[Annotated[DataRoot, BeforeValidator(data_root)]] = Field(
        default_factory=_working_folder,
        description="The folders and URL prefixes, such as s3://bucket/logs, that datasets may be read from "
        "(a JSON list in the environment).",
    )
    max_body_bytes: int = Field(default=64 * MEBIBYTE, ge=1024, description="The largest request body, in bytes.")
    max_queued: int = Field(default=1000, ge=1, description="The most jobs that may wait; more are refused with 429.")
    max_event_streams: int = Field(
        default=100,
        ge=1,
        description="The most streams of events (GET /v1/jobs/{id}/events) in each API process; more are refused with "
        "429.",
    )
    max_wait_hours: float = Field(
        default=72.0,
        gt=0,
        le=8760,
        description="Hours that a job waits, in all, for another service that does not answer; then it fails.",
    )
    max_attempts: int = Field(
        default=20, ge=1, description="Attempts after which a job that kills its workers and gets no further is failed."
    )
    keep_jobs_days: float = Field(
        default=90.0, gt=0, le=36_500, description="Days that a job which ended, and the keys of its calls, are kept."
    )
    lease_s: float = Field(
        default=10.0, gt=0, description="Seconds after which a job whose worker went silent is taken over by another."
    )
    workers: int = Field(default=1, ge=1, le=64, description="Processes of the API, all on one port.")
    drain_s: float = Field(
        default=8.0,
        ge=0,
        le=600,
        description="The most seconds that an API process which has to end sends its callers away and finishes what is "
        "at work, before it closes their connections.",
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
        default=0,
        ge=0,
        le=65535,
        description="The TCP port on which the worker shows its metrics and health; 0: it does not.",
    )
    worker_metrics_host: str = Field(
        default="127.0.0.1", description="The address for that; no key is asked for there, so keep it private."
    )

    @model_validator(mode="before")
    @classmethod
    def _check_secrets_dir(cls, given: Any) -> Any:
        # Without this, a folder that is not there yet would mean other settings, such as another database.
        if SECRETS_DIR is not None and not Path(SECRETS_DIR).is_dir():
            raise OptionError(f"LLACTR_SECRETS_DIR is {SECRETS_DIR}, which is no folder; make it, or leave it unset")
        return given

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
