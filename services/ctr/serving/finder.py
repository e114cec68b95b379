"""The model that a request is about, within what its key is for; nobody waits long for a database that hangs."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from fastapi import Request

from llactr_core.errors import DeadlineError, LlactrError
from services.ctr import metrics
from services.ctr.serving.admission import Ticket
from services.ctr.serving.names import name_of
from services.ctr.serving.pool import Loaded, ModelPool
from services.shared.access.auth import Caller, Guard, caller_of
from services.shared.http.patience import Patience

T = TypeVar("T")
PATIENCE_S = 1.0
LOOK_UPS = 8
LOADING_THREADS = 16  # one loads, the others wait for it

_log = logging.getLogger(__name__)


class Finder:
    """Finds loaded models; what is neither in memory nor seen by the last look at the aliases is looked up in SQL."""

    def __init__(self, pool: ModelPool, guard: Guard) -> None:
        self._pool = pool
        self._guard = guard
        self._patience = Patience(PATIENCE_S, LOOK_UPS)
        self._threads = ThreadPoolExecutor(LOADING_THREADS, thread_name_prefix="model-loading")

    def close(self) -> None:
        """Wait for no model any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def model(self, request: Request, reference: str | None, ticket: Ticket | None = None) -> Loaded:
        """The model that the request names, or the default model's champion.

        Raises:
            PermissionDenied: the key is limited to others.
            NotFoundError, NoModelError, InputError: as `ModelPool.find`.
            UnavailableError: it is not known here, and the database does not answer in time.
            LlactrError: it cannot be loaded.
            DeadlineError: the ticket's time passed.
        """
        if reference is None:
            reference = self._pool.default_champion(caller_of(request).sees)
        else:
            self._guard.allow(request, name_of(reference))
        found = self._pool.in_memory(reference)
        if found is not None:
            return found
        key = self._pool.known(reference)
        if key is None:
            key = await self._patience.wait(partial(self._pool.find, reference))
        return await within(ticket, self._threads, partial(self._pool.take, key))

    def in_memory(self, caller: Caller, reference: str | None) -> Loaded | None:
        """What `model` returns, where the caller sees it and it is in memory; None else. Never waits.

        Raises:
            LlactrError: as `model`.
        """
        if reference is None:
            reference = self._pool.default_champion(caller.sees)
        return self._pool.in_memory(reference) if caller.sees(name_of(reference)) else None

    async def arm(self, champion: Loaded, alias: str, ticket: Ticket) -> Loaded | None:
        """The version that an experiment's alias points at; None, which is counted, where it cannot be used.

        Raises:
            DeadlineError: the ticket's time passed.
        """
        try:
            reference = f"{champion.name}@{alias}"
            found = self._pool.in_memory(reference)
            if found is not None:
                return found
            key = self._pool.known(reference)
            if key is not None:
                return await within(ticket, self._threads, partial(self._pool.take, key))
        except DeadlineError:
            raise
        except LlactrError as error:
            _log.debug("the arm %r of %r cannot be used: %s", alias, champion.name, error)
        metrics.ARM_FALLBACKS.labels(champion.name, alias).inc()
        return None


async def within(ticket: Ticket | None, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Do the work in one of the threads, and wait for it as long as the caller does.

    Raises:
        DeadlineError: the caller's time passed; work that had not begun is dropped.
    """
    left_s = None if ticket is None else ticket.left_s()
    try:
        async with asyncio.timeout(left_s) as time:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
    except TimeoutError:
        if ticket is not None and time.expired():
            raise ticket.missed() from None
        raise
