"""How many calls a second a key, or an address without a key, may make: a token bucket for each.

A bucket is one number, the time at which it will be full again. A call moves that time on by 1 / rate seconds, and is
refused where it would come to lie further ahead than an empty bucket's, burst / rate seconds (the generic cell rate
algorithm, ITU-T I.371). The burst is one second's worth, but at least 1 call, so that a rate of 0.1 is one call in
every 10 seconds.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address, ip_address

from anyio import CapacityLimiter, to_thread

from llactr_core.errors import RateError
from services.shared.lru import Lru
from services.shared.storage.cache import Cache
from services.shared.telemetry import metrics

BUCKETS = 10_000
IPV6_NETWORK_BITS = 64
ASKING = 16

# KEYS[1]: the bucket; ARGV: rate, burst. Returns the seconds to wait as text, "0" where the call is let in.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + 1 / rate
local wait = full - burst / rate - now
if wait > 1e-6 then return string.format('%.6f', wait) end
redis.call('SET', KEYS[1], string.format('%.6f', full), 'PX', math.ceil((full - now) * 1000) + 1000)
return '0'
"""


def burst_of(rate: float) -> float:
    """How many calls may come at once."""
    return max(1.0, rate)


class LocalBuckets:
    """The buckets of one process, of the callers seen last; who is forgotten has a full one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: Lru[str, float] = Lru(BUCKETS)

    def take(self, who: str, rate: float) -> float:
        """Take a call at `rate` calls a second out of the bucket; the seconds to wait, 0 where it is let in.

        To be called from one thread.
        """
        wait = self.wait(who, rate)
        if wait == 0.0:
            self._full_at.put(who, self._full_with_one_more(who, rate))
        return wait

    def wait(self, who: str, rate: float) -> float:
        """What `take` would return, with nothing taken."""
        wait = self._full_with_one_more(who, rate) - burst_of(rate) / rate - self._clock()
        return wait if wait > 1e-6 else 0.0

    def _full_with_one_more(self, who: str, rate: float) -> float:
        return max(self._full_at.get(who) or 0.0, self._clock()) + 1 / rate


@dataclass(frozen=True)
class Limits:
    """Calls a second: of a key without a rate of its own, and of an address without a key; None is any number."""

    default: float | None = None
    anonymous: float | None = None


class Rates:
    """Lets calls in at their rate.

    With Redis, the processes of all hosts share the buckets. Without it, and while it does not answer, each process
    has its own, at its share of the rate: with keep-alive connections that is about right for many callers, and
    strict for one with a single connection.

    Args:
        limits: what holds where a key has no rate.
        workers: how many processes serve on this host.
    """

    def __init__(self, limits: Limits, workers: int, cache: Cache, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._workers = workers
        self._cache = cache
        self._local = LocalBuckets(clock)
        self._threads = CapacityLimiter(ASKING)  # its own: those of the routes may all wait for the database

    async def check(self, who: str, rate: float) -> None:
        """Let a call in.

        Raises:
            RateError: the bucket is empty; the error says how many seconds to wait.
        """
        wait = await self._shared(who, rate) if self._cache.is_there else None
        if wait is None:
            wait = self._local.take(who, rate / self._workers)
        if wait > 0:
            raise _too_many(f"more than {rate:g} calls a second", wait)

    def takes(self, who: str, rate: float) -> bool:
        """Let a call in without waiting; False, and nothing taken, where only `check` can tell, or would refuse it."""
        return not self._cache.is_there and self._local.take(who, rate / self._workers) == 0.0

    def close(self) -> None:
        """Close the connections to Redis."""
        self._cache.close()

    async def _shared(self, who: str, rate: float) -> float | None:
        arguments = [repr(rate), repr(burst_of(rate))]
        ask = partial(self._cache.run, SCRIPT, [f"rate:{who}"], arguments)
        answer = await to_thread.run_sync(ask, limiter=self._threads)
        return None if answer is None else float(answer)


class Guesses:
    """Calls with keys that are not known: how many come from an address, in this process."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._buckets = LocalBuckets(clock)

    def check(self, address: str) -> None:
        """Let the key of a call be looked up.

        Raises:
            RateError: too many keys that came from the address were not known.
        """
        wait = self._buckets.wait(address, self._rate)
        if wait > 0:
            raise _too_many(f"more than {self._rate:g} calls a second with keys that are not known", wait)

    def note(self, address: str) -> None:
        """A key was not known."""
        self._buckets.take(address, self._rate)


def _too_many(what: str, wait: float) -> RateError:
    metrics.KEYS_REFUSED.labels("rate").inc()
    seconds = math.ceil(wait)
    return RateError(f"{what}; send the call again in {seconds} s", retry_after_s=seconds)


def network_of(address: str | None) -> str:
    """Whom an anonymous call is counted for: an IPv4 address, or an IPv6 network of 64 bits, which is one customer."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "unknown"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS))
