"""The end of an API process without a failed request: callers are told to go before their connections are closed.

A connection that is closed at the moment when its caller sends the next request loses that request. So a process that
has to end first answers each further request with `Connection: close`, until nobody sends any and none is at work; only
then it closes. A stream that goes on by itself asks `scope["state"]["is_ending"]`, and ends when that is true.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.shared.http.problems import RETRY_AFTER_S, answer, describe
from services.shared.http.short_way import ShortWay, short_connection

QUIET_S = 0.5
LOOK_S = 0.05
HANDOVER_S = 30.0
GRACE_S = 3
KEEP_ALIVE_S = 75  # longer than clients keep a connection that they do not use, so that it is they who close it


class Drain:
    """An ASGI app around the service's.

    `begin` is called once the process has to end. While the whole service ends with it, GET /readyz answers 503, so
    that a load balancer turns to others.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._is_on = False
        self._is_whole = False
        self._active_at = 0.0
        self._at_work = 0

    def begin(self, *, whole: bool) -> None:
        """Send callers away from here on; `whole` where no other process serves on."""
        self._is_on, self._is_whole = True, whole

    def is_on(self) -> bool:
        """Whether callers are sent away."""
        return self._is_on

    def note_answer(self) -> None:
        """A request was answered before it came here."""
        self._active_at = time.monotonic()

    def quiet_s(self) -> float:
        """Seconds since a request was at work; 0 while one is."""
        return 0.0 if self._at_work else time.monotonic() - self._active_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})["is_ending"] = self.is_on
        self._at_work += 1
        try:
            if self._is_whole and scope["path"] == "/readyz":
                problem = describe(503, "unavailable", "the service ends; ask another one")
                await answer(problem, {"Retry-After": str(RETRY_AFTER_S[503])})(scope, receive, self._ending(send))
            else:
                await self.app(scope, receive, self._ending(send))
        except asyncio.CancelledError:
            if not self._is_on:
                raise  # else the server has cancelled what took too long, and would only log that it did
        finally:
            self._at_work -= 1
            self._active_at = time.monotonic()

    def _ending(self, send: Send) -> Send:
        async def ending(message: Message) -> None:
            if self._is_on and message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message.get("headers", ()) if name != b"connection"]
                message["headers"] = [*headers, (b"connection", b"close")]
            await send(message)

        return ending


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which drains before it shuts down.

    Args:
        drain: the app that it serves.
        way: of the calls that are answered before they come there.
        drain_s: the most seconds that draining takes; requests at work then have `GRACE_S` more.
        proxies: the addresses and networks of proxies whose X-Forwarded-For is believed.
        is_whole: asked when draining begins, whether the whole service ends. If so, connections are accepted until
            the end, since nobody else would; if not, the other processes accept them.
        started_up, leaving: called when it begins to serve, and when it is told to end.
        is_free: asked from then on for `HANDOVER_S` at most; it serves as ever until that is true, and drains then.
    """

    def __init__(
        self,
        drain: Drain,
        *,
        backlog: int,
        drain_s: float,
        way: ShortWay | None = None,
        proxies: Sequence[str] = (),
        is_whole: Callable[[], bool] = lambda: True,
        started_up: Callable[[], None] = lambda: None,
        leaving: Callable[[], None] = lambda: None,
        is_free: Callable[[], bool] = lambda: True,
    ) -> None:
        config = uvicorn.Config(
            drain,
            http="auto" if way is None else short_connection(way, drain),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            backlog=backlog,
            server_header=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(proxies),
            lifespan="on",
        )
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s
        self._is_whole = is_whole
        self._started_up = started_up
        self._leaving = leaving
        self._is_free = is_free

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(self.config.backlog)  # again: uvloop has made the queue as long as what it accepts
        if self.started:
            self._started_up()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait until another process serves, drain, then close."""
        self._leaving()
        told = time.monotonic()
        while not (self._is_free() or self.force_exit or time.monotonic() > told + HANDOVER_S):
            await asyncio.sleep(LOOK_S)
        whole = self._is_whole()
        self._drain.begin(whole=whole)
        if not whole:
            for server in self.servers:
                server.close()
        began = time.monotonic()
        while not self._is_drained(whole, time.monotonic() - began):
            await asyncio.sleep(LOOK_S)
        await super().shutdown(sockets)

    def _is_drained(self, whole: bool, seconds: float) -> bool:
        if seconds >= self._drain_s or self.force_exit:
            return True
        if not self.server_state.connections:
            return not whole or self._drain.quiet_s() >= QUIET_S
        return min(seconds, self._drain.quiet_s()) >= QUIET_S
