"""No secret reaches a log: not a key, not a password, whatever is asked of the service, however it fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from servers import Postgres, Redis
from sqlalchemy.engine import make_url

from services.llm.app import build_app
from services.llm.settings import LlmSettings
from services.shared.http.serving import guarded

PASSWORD = "pw-of-a-server"
GUESS = "a-key-that-nobody-made"
JSON = {"Content-Type": "application/json"}


def with_password(url: str) -> str:
    return make_url(url).set(password=PASSWORD).render_as_string(hide_password=False)


def calls(house: Any) -> str:
    """Calls that succeed and calls that are refused, with a key in every place where a caller may put one."""
    made = house.admin.post("/v1/admin/keys", json={"name": "ci", "role": "trainer"}).raise_for_status().json()["key"]
    for sent in (made, GUESS):
        headers = {"Authorization": f"Bearer {sent}", "X-Request-Id": "r-1"}
        house.anyone.get("/v1/schemas", headers=headers)
        house.anyone.get(f"/v1/schemas?key={sent}", headers=headers)
        house.anyone.post("/v1/schemas", headers={**headers, **JSON}, content=f'{{"name": "{sent}')
        house.anyone.post("/v1/schemas", headers=headers, json={"name": 1, "fields": sent})
        house.anyone.post("/v1/admin/keys", headers=headers, json={"name": "x", "role": "admin", "digest": sent})
        house.anyone.get("/v1/schemas", headers={"Authorization": f"Basic {sent}"})
    return str(made)


def test_no_secret_is_logged(
    new_house: Callable[..., Any],
    postgres: Postgres,
    redis_server: Redis,
    wait_for: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLACTR_LLM_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("LLACTR_LLM_KEY_CACHE_S", "0")
    with redis.Redis.from_url(redis_server.url) as cache:
        cache.config_set("requirepass", PASSWORD)
    house = new_house(with_password(postgres.new_database()), redis_server.url.replace("//", f"//:{PASSWORD}@"))
    house.start("api")
    house.start("worker")
    house.until_ready()
    made = calls(house)
    redis_server.kill()
    postgres.kill()
    try:
        assert house.admin.post("/v1/schemas", json={"name": "s", "fields": [{"name": "a"}]}).status_code == 503
        failed = new_house(house.database_url)
        monkeypatch.setenv("LLACTR_LLM_STORAGE_WAIT_S", "1")
        process = failed.start("api")
        assert process.wait(60) == 1
        failed.processes.clear()
    finally:
        postgres.start()
    wait_for(lambda: house.admin.get("/v1/admin/keys").status_code == 200, 20, "PostgreSQL to be found again")
    logs = [path.read_text() for home in (house.home, failed.home) for path in home.glob("*.log")]
    assert [len(log) > 0 for log in logs] == [True] * 3
    assert any('"level": "DEBUG"' in log for log in logs)
    for secret in (house.key, failed.key, made, GUESS, PASSWORD):
        assert [log for log in logs if secret in log] == []


@pytest.mark.parametrize(
    "change",
    [
        {"database_url": f"postgresql//user:{PASSWORD}@host/x"},
        {"database_url": f"postgresql://user:{PASSWORD}@host:port/x"},
        {"database_url": f"postgresql://user:{PASSWORD}@127.0.0.1:1/x"},
        {"database_url": f"mysql://user:{PASSWORD}@host/x"},
        {"database_url": f"postgresql://user:{PASSWORD}/more@host/x"},
        {"redis_url": f"redis//:{PASSWORD}@host"},
        {"redis_url": f"redis://:{PASSWORD}@host:port/0"},
        {"redis_url": f"redis://:{PASSWORD}@host/0?db={PASSWORD}"},
    ],
    ids=lambda change: next(iter(change.values())).replace(PASSWORD, "..."),
)
def test_a_failing_start_shows_no_password(
    change: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = LlmSettings(home=tmp_path, storage_wait_s=0).model_copy(
        update={name: SecretStr(url) for name, url in change.items()}
    )
    with pytest.raises(SystemExit) as stopped:
        guarded(lambda: build_app(settings) and None)
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert PASSWORD not in error + caplog.text
