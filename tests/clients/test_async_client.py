import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from llactr_client import ApiError, AsyncClient, Client, ConnectionFailed, JobFailed, Retry

QUICK = Retry(attempts=3, first_s=0.01, most_s=0.2)


def with_client(service: Any, work: Callable[[AsyncClient], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        async with AsyncClient(service.url, service.url, "secret", retry=QUICK) as client:
            return await work(client)

    return asyncio.run(run())


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        public = {n: m for n, m in vars(kind).items() if not n.startswith("_") and callable(m)}
        return {name: list(inspect.signature(method).parameters) for name, method in public.items()}

    assert methods(Client) == methods(AsyncClient)
    assert {"score", "wait_for_job", "job_events", "fields", "promote"} <= set(methods(Client))


def test_both_clients_send_and_read_the_same(service: Any) -> None:
    service.answer("/v1/score", {"scores": [0.5], "model": {"name": "m", "version": "v"}, "request_id": "r"})
    service.answer("/v1/fields/s", {"schema": "s", "version": "v", "fields": ["a"], "vectors": [[1]], "model": "m"})
    service.answer("/v1/models", {"models": []})

    async def work(client: AsyncClient) -> list[object]:
        return [await client.score([{"a": 1}], details=True), await client.fields("s"), await client.models()]

    asynchronous = with_client(service, work)
    with Client(service.url, service.url, "secret", retry=QUICK) as client:
        synchronous = [client.score([{"a": 1}], details=True), client.fields("s"), client.models()]
    assert asynchronous == synchronous
    first, second = service.asked[:3], service.asked[3:]
    assert [(a.method, a.path, a.query, a.body) for a in first] == [(a.method, a.path, a.query, a.body) for a in second]
    assert [a.headers["authorization"] for a in service.asked] == ["Bearer secret"] * 6


def test_retries_and_errors(service: Any) -> None:
    service.answer("/v1/models", {"detail": "busy"}, 503)
    service.answer("/v1/models", {"models": [{"name": "m", "aliases": {}, "versions": []}]})
    service.answer("/v1/schemas", {"detail": "no", "code": "forbidden"}, 403)

    async def work(client: AsyncClient) -> None:
        assert (await client.models())[0].name == "m"
        with pytest.raises(ApiError, match="forbidden"):
            await client.schemas()

    with_client(service, work)
    assert [a.path for a in service.asked] == ["/v1/models", "/v1/models", "/v1/schemas"]


def test_etag(service: Any) -> None:
    content = {"schema": "s", "version": "v", "fields": ["a"], "vectors": [[1]], "model": "m"}
    service.answer("/v1/fields/s", content, etag='"v"')
    service.answer("/v1/fields/s", None, 304)

    async def work(client: AsyncClient) -> bool:
        return await client.fields("s") == await client.fields("s")

    assert with_client(service, work)
    assert service.asked[1].headers["if-none-match"] == '"v"'


def test_jobs(service: Any) -> None:
    service.answer("/v1/jobs/j", {"id": "j", "state": "queued"})
    service.answer("/v1/jobs/j", {"id": "j", "state": "failed", "error": {"code": "internal", "detail": "broken"}})
    event = b'event: progress\ndata: {"id": "j", "state": "succeeded"}\n\n'
    service.answer("/v1/jobs/j/events", b"", content_type="text/event-stream")
    service.answer("/v1/jobs/j/events", event, content_type="text/event-stream")

    async def work(client: AsyncClient) -> None:
        with pytest.raises(JobFailed, match="broken"):
            await client.wait_for_job(await client.job("j"))
        assert [job.state async for job in client.job_events("j")] == ["succeeded"]

    with_client(service, work)


def test_nobody_answers() -> None:
    async def run() -> None:
        async with AsyncClient("http://127.0.0.1:9", "http://127.0.0.1:9", retry=QUICK) as client:
            with pytest.raises(ConnectionFailed):
                await client.models()
            assert not (await client.ready("llm")).ok

    asyncio.run(run())
