"""Tables through Redis and the artifacts: bit for bit, verified, and right whatever Redis holds or does."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from servers import Redis

from llactr_core.errors import ArtifactError
from llactr_core.semantics.table import FieldTable
from services.llm.settings import LlmSettings
from services.llm.tables.contents import TableContents
from services.shared.storage.cache import Cache


@pytest.fixture
def settings(tmp_path: Path) -> LlmSettings:
    return LlmSettings(home=tmp_path, cached_tables=1)


@pytest.fixture
def cache(redis_server: Redis) -> Iterator[Cache]:
    made = Cache(redis_server.url)
    yield made
    made.close()


def table(seed: int = 0) -> FieldTable:
    """Random finite float bits: subnormal numbers, both zeros, the largest ones."""
    bits = np.random.default_rng(seed).integers(0, 2**32, (5, 64), dtype=np.uint32)
    bits[0, :6] = [0, 0x80000000, 1, 0x807FFFFF, 0x7F7FFFFF, 0x00400000]
    vectors = bits.view(np.float32)
    return FieldTable(tuple("abcde"), np.where(np.isfinite(vectors), vectors, np.float32(-0.0)), "tiny", f"r{seed}")


def stored(settings: LlmSettings) -> Path:
    return settings.state / "artifacts" / "tables"


def test_every_bit_survives_the_artifacts_and_redis(settings: LlmSettings, cache: Cache) -> None:
    given = table()
    digest = TableContents(settings, cache).keep(given)
    from_file = TableContents(settings, cache).read(given.version, digest)
    assert from_file.table.vectors.tobytes() == given.vectors.tobytes()
    for file in stored(settings).iterdir():
        file.unlink()
    from_redis = TableContents(settings, cache).read(given.version, digest)
    assert from_redis.content == from_file.content
    assert from_redis.table.vectors.tobytes() == given.vectors.tobytes()


@pytest.mark.parametrize("damage", [b"", b"x", "other table", "cut"])
def test_what_redis_holds_is_never_trusted(
    settings: LlmSettings, cache: Cache, redis_server: Redis, damage: bytes | str
) -> None:
    given = table()
    digest = TableContents(settings, cache).keep(given)
    TableContents(settings, cache).read(given.version, digest)
    values = {"other table": table(1).to_bytes(), "cut": given.to_bytes()[:-1]}
    with redis.Redis.from_url(redis_server.url) as raw:
        [key] = raw.keys("llactr:table:*")
        raw.set(key, damage if isinstance(damage, bytes) else values[damage])
    assert TableContents(settings, cache).read(given.version, digest).table == given
    with redis.Redis.from_url(redis_server.url) as raw:
        assert raw.get(key) == given.to_bytes(), "the damaged value is replaced"


def fill(server: Redis) -> None:
    with redis.Redis.from_url(server.url) as raw:
        for number in range(1000):
            try:
                raw.set(f"filler{number}", b"x" * 10_000)
            except redis.OutOfMemoryError:
                return
    pytest.fail("it takes more than its limit")


@pytest.mark.parametrize("state", ["dead", "full"])
def test_reads_are_right_without_redis(settings: LlmSettings, cache: Cache, redis_server: Redis, state: str) -> None:
    redis_server.kill()
    if state == "full":
        redis_server.start("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
        fill(redis_server)
    contents = TableContents(settings, cache)
    tables = [table(seed) for seed in range(3)]
    digests = [contents.keep(one) for one in tables]
    for one, digest in zip(tables * 2, digests * 2, strict=True):
        assert contents.read(one.version, digest).table.vectors.tobytes() == one.vectors.tobytes()


def test_a_file_that_is_gone_is_an_error_and_not_whole(settings: LlmSettings) -> None:
    given = table()
    contents = TableContents(settings, Cache(None))
    digest = contents.keep(given)
    assert contents.is_whole(given.version, digest)
    for file in stored(settings).iterdir():
        file.unlink()
    assert not contents.is_whole(given.version, digest)
    with pytest.raises(ArtifactError, match="refresh the fields"):
        contents.read(given.version, digest)
