"""The way of calls that are so many and so short that routing them takes longer than answering them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.shared.http.problems import response_to

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class KnownRoute:
    """What stands in a scope for the route, where the router never sees the request. `path` is the template."""

    path: str


class Shortcut:
    """An ASGI middleware within all others, which leads some calls past the router to what handles them.

    Their routes are registered all the same: they are in the OpenAPI document, and answer the other methods.

    Args:
        handlers: by (method, path).
    """

    def __init__(self, app: ASGIApp, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self.app = app
        self._handlers = {call: (handler, KnownRoute(call[1])) for call, handler in handlers.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        known = self._handlers.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if known is None:
            await self.app(scope, receive, send)
            return
        handler, scope["route"] = known
        request = Request(scope, receive, send)
        try:
            response = await handler(request)
        except Exception as error:
            known_response = response_to(request, error)
            if known_response is None:
                raise
            response = known_response
        await response(scope, receive, send)
