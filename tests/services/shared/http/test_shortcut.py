import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient
from starlette.middleware import Middleware

from llactr_core.errors import InputError
from services.shared.http.problems import install_problems
from services.shared.http.shortcut import Shortcut


async def handle(request: Request) -> Response:
    if request.query_params.get("fail") == "known":
        raise InputError("not so", field="fail")
    if request.query_params.get("fail") == "unknown":
        raise ZeroDivisionError
    return Response(b"short " + request.scope["route"].path.encode())


@pytest.fixture
def client() -> TestClient:
    app = FastAPI(middleware=[Middleware(Shortcut, handlers={("POST", "/hot"): handle})])
    install_problems(app)

    @app.post("/hot")
    async def hot() -> str:
        return "long"

    @app.get("/cold")
    async def cold() -> str:
        return "cold"

    return TestClient(app, raise_server_exceptions=False)


def test_a_call_takes_the_short_way_and_others_the_long_one(client: TestClient) -> None:
    assert client.post("/hot").content == b"short /hot"
    assert client.get("/cold").json() == "cold"
    assert client.get("/hot").status_code == 405
    assert client.post("/hot/", follow_redirects=False).status_code == 307


def test_errors_are_answered_as_on_the_long_way(client: TestClient) -> None:
    refused = client.post("/hot?fail=known")
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert refused.json()["field"] == "fail"
    assert client.post("/hot?fail=unknown").status_code == 500
