"""What published tables are made of: immutable files named by their digest, from memory, Redis or the artifacts."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from llactr_core.errors import ArtifactError
from llactr_core.semantics.table import FieldTable
from services.llm.settings import LlmSettings
from services.shared.lru import Lru
from services.shared.storage.artifacts import Artifacts, folder_digest
from services.shared.storage.cache import Cache
from services.shared.telemetry.metrics import TABLE_READS

TABLES = "tables"
ADAPTERS = "adapters"
REDIS_TTL_S = 7 * 24 * 3600


@dataclass(frozen=True)
class Published:
    """A field table as it is served: the parsed content, and the very bytes of its file."""

    table: FieldTable
    content: bytes


class TableContents:
    """Tables and adapters by digest. Whatever was read is what was published: every digest is verified.

    Redis is never trusted: what it gives is verified like a file, and read from the artifacts where it is another.
    """

    def __init__(self, settings: LlmSettings, cache: Cache) -> None:
        self.artifacts = Artifacts(
            settings.artifacts_url or str(settings.state / "artifacts"), settings.state / "spool"
        )
        self._cache = cache
        self._memory: Lru[str, Published] = Lru(settings.cached_tables)

    def keep(self, table: FieldTable) -> str:
        """Store a table's file; its digest."""
        content = table.to_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self.artifacts.put(table_name(table.version, digest), content)
        return digest

    def keep_adapter(self, folder: Path) -> str:
        """Store an adapter's folder; its digest."""
        return self.artifacts.put_folder(adapter_name(folder_digest(folder)), folder)

    def read(self, version: str, digest: str) -> Published:
        """The content of a table.

        Raises:
            ArtifactError: its file is missing, damaged, or another one than was published.
            UnavailableError: the store of the artifacts does not answer.
        """
        held = self._memory.get(digest)
        if held is not None:
            TABLE_READS.labels("memory").inc()
            return held
        fresh = self._cached(version, digest) or self._stored(version, digest)
        self._memory.put(digest, fresh)
        return fresh

    def is_whole(self, version: str, digest: str) -> bool:
        """Whether the file is there and as it was published; memory and Redis do not count."""
        try:
            self._stored(version, digest)
        except ArtifactError:
            return False
        return True

    def adapter(self, version: str, digest: str) -> Path:
        """A local folder with an adapter's files.

        Raises:
            ArtifactError: its files are not those that were published.
            UnavailableError: the store of the artifacts does not answer.
        """
        try:
            return self.artifacts.folder(adapter_name(digest), digest)
        except ArtifactError as error:
            raise ArtifactError(
                f"the adapter of field table {version[:12]}: {error.detail}; refresh the fields"
            ) from error

    def _cached(self, version: str, digest: str) -> Published | None:
        [content] = self._cache.get_many([_cache_key(version, digest)])
        if content is None or hashlib.sha256(content).hexdigest() != digest:
            return None
        TABLE_READS.labels("redis").inc()
        return _parsed(content, version)

    def _stored(self, version: str, digest: str) -> Published:
        try:
            content = self.artifacts.get(table_name(version, digest), digest)
        except ArtifactError as error:
            raise ArtifactError(
                f"the file of field table {version[:12]}: {error.detail}; refresh the fields"
            ) from error
        TABLE_READS.labels("storage").inc()
        published = _parsed(content, version)
        self._cache.put_many({_cache_key(version, digest): content}, REDIS_TTL_S)
        return published


def table_name(version: str, digest: str) -> str:
    """Where a table's file lies among the artifacts."""
    return f"{TABLES}/{version}.{digest}.safetensors"


def adapter_name(digest: str) -> str:
    """Where an adapter's folder lies among the artifacts."""
    return f"{ADAPTERS}/{digest}"


def _cache_key(version: str, digest: str) -> str:
    return f"table:{version}:{digest}"


def _parsed(content: bytes, version: str) -> Published:
    table = FieldTable.from_bytes(content)
    if table.version != version:
        raise ArtifactError(f"the file of field table {version[:12]} holds {table.version[:12]}; refresh the fields")
    return Published(table, content)
