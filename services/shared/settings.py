"""What every service can be told from outside: one settings class, every setting with a description."""

from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

MEBIBYTE = 1024 * 1024


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
    admin_key_file: Path | None = Field(
        default=None, description="The file that holds the admin key; without it, <home>/admin.key."
    )
    require_key_to_read: bool = Field(
        default=False, description="Demand a key for reading and scoring too, also on loopback."
    )
    data_roots: list[Path] = Field(
        default_factory=lambda: [Path.cwd()],
        description="The folders that datasets may be read from (a JSON list in the environment).",
    )
    max_body_bytes: int = Field(default=64 * MEBIBYTE, ge=1024, description="The largest request body, in bytes.")
    lease_s: float = Field(
        default=10.0, gt=0, description="Seconds after which a job whose worker went silent is taken over by another."
    )
    poll_s: float = Field(default=0.2, gt=0, le=60, description="Seconds between two looks at the database.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The lowest level that is logged."
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
