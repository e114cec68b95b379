"""What is looked up where, as the YAML file says that the setting `lookups` names.

    timeout_ms: 50
    schemas:
      movies:                          # the schema's name
        - entity: user_id              # the column of a row that names the entity
          fields: [gender, age]        # the columns to fill in; left out: all other columns of the schema
          redis: {url_env: FEATURES_REDIS_URL, prefix: "user:"}         # a hash per entity, user:17
        - entity: movie_id
          sql: {url_env: FEATURES_DATABASE_URL, table: movies, key: movie_id}    # a row per entity

A URL stands in the file (`url`) or, where it holds a password, in an environment variable (`url_env`).
"""

import os
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llactr_core.errors import OptionError


class Address(BaseModel):
    """Where a store answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str | None = Field(default=None, repr=False)
    url_env: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("give exactly one of url and url_env")
        return self

    def resolved(self) -> str:
        """The URL.

        Raises:
            OptionError: the environment variable is not set.
        """
        found = self.url if self.url_env is None else os.environ.get(self.url_env)
        if not found:
            raise OptionError(f"the lookup's URL is to come from the environment variable {self.url_env}; set it")
        return found


class RedisSource(Address):
    """A Redis with a hash per entity, under the prefix and the entity's key."""

    prefix: str = ""


class SqlSource(Address):
    """An SQL table or view with a row per entity."""

    table: str = Field(min_length=1)
    key: str = Field(min_length=1, description="The column that holds the entity's key.")


class Entity(BaseModel):
    """One kind of entity: which column names it, and where what is known of it lies."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    entity: str = Field(min_length=1)
    fields: tuple[str, ...] | None = None
    redis: RedisSource | None = None
    sql: SqlSource | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.redis is None) == (self.sql is None):
            raise ValueError("give exactly one of redis and sql")
        return self


class LookupFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    timeout_ms: int = Field(default=50, ge=1, le=10_000)
    schemas: dict[str, tuple[Entity, ...]]

    @classmethod
    def read(cls, path: Path) -> "LookupFile":
        """The file's content.

        Raises:
            OptionError: it cannot be read, or says something else than it may.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls.model_validate(content)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise OptionError(f"the lookup file {path} cannot be read: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise OptionError(f"the lookup file {path}: {place}: {first['msg']}") from error
