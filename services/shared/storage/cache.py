"""Redis as a cache, never the truth: what it does not answer within 50 ms is a miss; nothing fails because of it."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import redis
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from llactr_core.errors import OptionError
from services.shared.storage.breaker import REST_S, Breaker
from services.shared.telemetry.metrics import CACHE_CALLS

PREFIX = "llactr:"
TIMEOUT_S = 0.05
LISTEN_S = 0.5

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Cache:
    """Bytes by key, and messages by channel. Without a URL nothing is ever found, and nothing is heard.

    After a failure the server is left alone for a second, so that a dead one costs at most 50 ms now and then. Keys and
    channels begin with "llactr:" on the server. Safe to use from several threads.

    Raises (on construction):
        OptionError: the URL is none of Redis.
    """

    def __init__(self, url: str | None) -> None:
        self._client = _client(url) if url else None
        self._breaker = Breaker("Redis")
        self._closed = threading.Event()
        self._listeners: list[threading.Thread] = []

    @property
    def is_there(self) -> bool:
        """Whether there is a server at all, which may be away."""
        return self._client is not None

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of every key, None where there is none; who reads checks what it reads."""
        names = [PREFIX + key for key in keys]
        nothing: list[bytes | None] = [None] * len(keys)
        if not names:
            return nothing
        answer = self._try("get", lambda client: client.mget(names))
        if answer is None:
            return nothing
        found = [value if isinstance(value, bytes) else None for value in answer]
        hits = sum(value is not None for value in found)
        CACHE_CALLS.labels("get", "hit").inc(hits)
        CACHE_CALLS.labels("get", "miss").inc(len(found) - hits)
        return found

    def put_many(self, entries: Mapping[str, bytes], ttl_s: int | None = None) -> None:
        """Keep the entries, for `ttl_s` seconds or until the server needs their space."""

        def put(client: redis.Redis) -> int:
            with client.pipeline(transaction=False) as pipeline:
                for key, value in entries.items():
                    pipeline.set(PREFIX + key, value, ex=ttl_s)
                return len(pipeline.execute())

        if entries and self._try("put", put) is not None:
            CACHE_CALLS.labels("put", "done").inc(len(entries))

    def publish(self, channel: str, message: str) -> None:
        """Tell everyone who listens; who does not listen at this moment never hears it."""
        if self._try("publish", lambda client: client.publish(PREFIX + channel, message)) is not None:
            CACHE_CALLS.labels("publish", "done").inc()

    def run(self, script: str, keys: Sequence[str], arguments: Sequence[str]) -> bytes | None:
        """What a Lua script, which runs as one step, answers; None where the server does not."""
        names = [PREFIX + key for key in keys]
        answer = self._try("script", lambda client: client.eval(script, len(names), *names, *arguments))
        if not isinstance(answer, bytes):
            return None
        CACHE_CALLS.labels("script", "done").inc()
        return answer

    def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Call `heard` with every message, from a thread that lives until `close` and connects again by itself."""
        if self._client is None:
            return
        thread = threading.Thread(target=self._listen, args=(channel, heard), name=f"listen-{channel}", daemon=True)
        self._listeners.append(thread)
        thread.start()

    def close(self) -> None:
        """End the listeners and close the connections."""
        self._closed.set()
        for thread in self._listeners:
            thread.join(2 * LISTEN_S)
        if self._client is not None:
            self._client.close()

    def _try(self, operation: str, call: Callable[[redis.Redis], T]) -> T | None:
        """The answer of the server, or None where it rests, fails, or is full."""
        if self._client is None:
            return None
        if not self._breaker.may_try():
            CACHE_CALLS.labels(operation, "skipped").inc()
            return None
        try:
            answer = call(self._client)
        except redis.ResponseError as error:  # it lives, and refuses: full, for one
            self._breaker.answered()
            logger.debug("Redis refused to %s: %s", operation, error)
        except (redis.RedisError, OSError) as error:
            self._breaker.failed(error)
        else:
            self._breaker.answered()
            return answer
        CACHE_CALLS.labels(operation, "failed").inc()
        return None

    def _listen(self, channel: str, heard: Callable[[str], None]) -> None:
        while not self._closed.is_set():
            try:
                self._hear(channel, heard)
            except (redis.RedisError, OSError):
                self._closed.wait(REST_S)

    def _hear(self, channel: str, heard: Callable[[str], None]) -> None:
        if self._client is None:
            return
        with PubSub(self._client.connection_pool, ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(PREFIX + channel)
            while not self._closed.is_set():
                message = subscription.get_message(timeout=LISTEN_S)
                if message is None:
                    continue
                try:
                    heard(message["data"].decode("utf-8", "replace"))
                except Exception:
                    logger.exception("a message on %s could not be handled", channel)


def _client(url: str) -> redis.Redis:
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=5,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    except ValueError:  # whose messages quote parts of the URL, such as a piece of its password
        raise OptionError(
            "the Redis URL cannot be read; give one like redis://host:6379/0, with special characters of a password "
            "escaped as %40"
        ) from None
