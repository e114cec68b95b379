"""The routes that read a JSON body: a caller is refused by the head of the call alone, before the body is read."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from llactr_core.errors import InputError

# Only such bytes can bring half a surrogate pair: its escape, its own bytes, or another encoding than UTF-8.
SUSPICIOUS = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]|\x00")
HALF = re.compile("[\ud800-\udfff]")


class Gate(ABC):
    """A dependency that decides on a call by its head."""

    @abstractmethod
    async def check(self, request: Request) -> None:
        """Let the call pass, or raise what refuses it."""


class CheckedRoute(APIRoute):
    """A route whose gates are asked before the body is read, and whose body is text that UTF-8 can carry."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What FastAPI calls with each request."""
        handler = super().get_route_handler()
        asked: list[object] = [given.dependency for given in self.dependencies]
        gates = [one for one in asked if isinstance(one, Gate)]
        reads_body = self.body_field is not None

        async def handle(request: Request) -> Response:
            for gate in gates:
                await gate.check(request)
            if reads_body:
                check_text(await request.body())
            return await handler(request)

        return handle


def check_text(body: bytes) -> None:
    """Let a JSON body pass whose texts are whole characters; one that is no JSON is for others to refuse.

    Raises:
        InputError: a text holds half a surrogate pair, which JSON can spell and UTF-8 cannot carry.
    """
    if SUSPICIOUS.search(body) is None:
        return
    try:
        place = _place_of_half(json.loads(body))
    except (ValueError, RecursionError):
        return
    if place is not None:
        field = ".".join(place) or None
        raise InputError(
            f"{field or 'the body'}: the text holds half a surrogate pair; send whole characters", field=field
        )


def _place_of_half(value: Any) -> tuple[str, ...] | None:
    parts: Iterable[tuple[object, Any]] = ()
    if isinstance(value, str):
        return () if HALF.search(value) else None
    if isinstance(value, dict):
        for name in value:
            if HALF.search(name):
                return (name,)
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    for name, part in parts:
        place = _place_of_half(part)
        if place is not None:
            return (str(name), *place)
    return None
