"""Errors of the Open Inference Protocol: its answers have a member "error", ours get one beside those of a problem."""

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.shared.http.problems import MEDIA_TYPE

PREFIX = "/v2"


class ProtocolErrors:
    """Copies the detail of every problem below /v2 to "error", wherever in the service it arose."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and (scope["path"] == PREFIX or scope["path"].startswith(f"{PREFIX}/")):
            await self.app(scope, receive, _Outgoing(send).send)
            return
        await self.app(scope, receive, send)


class _Outgoing:
    """Holds a problem back until it is whole."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_problem(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._release(self._start)

    async def _release(self, start: Message) -> None:
        problem = json.loads(self._body)
        body = json.dumps({**problem, "error": problem["detail"]}, ensure_ascii=False).encode()
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        await self._send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await self._send({"type": "http.response.body", "body": body})


def _is_problem(start: Message) -> bool:
    headers: dict[bytes, bytes] = {name.lower(): value for name, value in start["headers"]}
    return headers.get(b"content-type", b"").startswith(MEDIA_TYPE.encode())
