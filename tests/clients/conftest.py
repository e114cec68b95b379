"""A tiny HTTP service that answers from a script and keeps what it was asked, and the CTR service itself."""

import asyncio
import contextlib
import json
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from ctr_house import CtrHouse
from llactr_client import Client
from shop import QUICK, SHOP, write_shop

from llactr_core.bundle import Bundle
from llactr_core.data.splits import open_dataset
from llactr_core.progress import silent
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.pipeline import train_bundle

Message = MutableMapping[str, Any]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    content: object
    status: int
    headers: dict[str, str]
    wait_s: float = 0.0


class ScriptedService:
    """Answers a path with the next of its answers; the last one stays."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: dict[str, deque[Answer]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        config = uvicorn.Config(
            self._app, interface="asgi3", lifespan="off", log_level="error", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def answer(
        self, path: str, content: object = None, status: int = 200, *, wait_s: float = 0.0, **headers: str
    ) -> None:
        """Script one more answer; header names in lower case with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._answers.setdefault(path, deque()).append(
            Answer(content, status, {"content-type": "application/json", **named}, wait_s)
        )

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._listener.close()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listener]))

    async def _app(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        path = scope["raw_path"].decode()
        self.asked.append(Asked(scope["method"], path, scope["query_string"].decode(), headers, body))
        answer = self._next(path)
        await asyncio.sleep(answer.wait_s)
        fields = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        await send({"type": "http.response.body", "body": _bytes(answer.content)})

    def _next(self, path: str) -> Answer:
        script = self._answers.get(path)
        if not script:
            problem = {"detail": f"nothing is scripted for {path}", "code": "not-found"}
            return Answer(problem, 404, {"content-type": "application/problem+json"})
        return script.popleft() if len(script) > 1 else script[0]


def _bytes(content: object) -> bytes:
    if isinstance(content, bytes):
        return content
    return b"" if content is None else json.dumps(content).encode()


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    running = ScriptedService()
    yield running
    running.close()


class BrokenOff:
    """Answers every call with the first half of an answer, and keeps the methods."""

    def __init__(self) -> None:
        self.methods: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    self.methods.append(connection.recv(65536).split(b" ")[0].decode())
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def broken_off() -> Iterator[BrokenOff]:
    running = BrokenOff()
    yield running
    running.close()


@pytest.fixture(scope="session")
def shop_bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """Two versions of one model: the second is trained longer."""
    folder = tmp_path_factory.mktemp("shop")
    splits = open_dataset(write_shop(folder), "click")
    first, second = (
        train_bundle(
            splits, SHOP, Semantics(), options, folder / f"b{options.epochs}", folder / f"c{options.epochs}", silent
        )
        for options in (QUICK.model_copy(update={"enhancer": "none", "epochs": epochs}) for epochs in (1, 3))
    )
    return first, second


@pytest.fixture(scope="session")
def shop_house(shop_bundles: tuple[Bundle, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Iterator[CtrHouse]:
    """The CTR service on two worker processes: the champion is the first version, the challenger the second."""
    first, second = shop_bundles
    extra = {
        "LLACTR_CTR_WORKERS": "2",
        "LLACTR_CTR_LOG_SHARE": "1",
        "LLACTR_CTR_TRAFFIC_FLUSH_S": "0.1",
        "LLACTR_CTR_DATA_ROOTS": json.dumps([str(first.path.parent)]),
    }
    running = CtrHouse(tmp_path_factory.mktemp("shop-house"), extra=extra)
    running.publish(first, "shop")
    running.publish(second, "shop", "challenger")
    running.start()
    running.until_ready()
    yield running
    running.stop()


@pytest.fixture
def shop(shop_house: CtrHouse) -> Iterator[Client]:
    """The client of an admin of that service."""
    with Client(shop_house.url, key=shop_house.key) as client:
        yield client
