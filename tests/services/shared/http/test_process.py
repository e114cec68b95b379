"""Settings from the environment, logs, and what a process says when it cannot start."""

import asyncio
import json
import logging
import socket
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from llactr_core.errors import OptionError
from services.llm.settings import LlmSettings
from services.shared.http.serving import bind, guarded, work
from services.shared.jobs.store import JobStore
from services.shared.settings import ServiceSettings
from services.shared.telemetry import logs
from services.shared.telemetry.logs import JsonFormatter


@pytest.mark.parametrize("kind", [ServiceSettings, LlmSettings])
def test_every_setting_is_described(kind: type[ServiceSettings]) -> None:
    assert [name for name, field in kind.model_fields.items() if not field.description] == []


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLACTR_HOME", str(tmp_path))
    monkeypatch.setenv("LLM_PORT", "9001")
    monkeypatch.setenv("LLM_MODEL", "mine")
    monkeypatch.setenv("LLACTR_LLM_LEASE_S", "3.5")
    monkeypatch.setenv("LLACTR_LLM_DATA_ROOTS", '["/data"]')
    settings = LlmSettings()
    assert (settings.home, settings.port, settings.model, settings.lease_s) == (tmp_path, 9001, "mine", 3.5)
    assert settings.data_roots == [Path("/data")]
    assert settings.key_file == tmp_path / "admin.key"
    assert settings.storage_url == f"sqlite:///{tmp_path}/llm.db"
    monkeypatch.setenv("LLACTR_LLM_PORT", "9002")
    assert LlmSettings().port == 9002


@pytest.mark.parametrize(("given", "taken"), [("http://collector:4318", True), ("", True), ("collector:4318", False)])
def test_the_collectors_address_is_a_url(monkeypatch: pytest.MonkeyPatch, given: str, taken: bool) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", given)
    if taken:
        assert LlmSettings().otlp_endpoint == (given or None)
    else:
        with pytest.raises(ValidationError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
            LlmSettings()


def test_secrets_are_masked() -> None:
    settings = ServiceSettings(database_url=SecretStr("postgresql://user:hidden@db/x"))
    assert "hidden" not in repr(settings) + str(settings.model_dump())
    assert settings.storage_url == "postgresql://user:hidden@db/x"


def test_a_process_logs_its_settings_without_their_secrets(
    store: JobStore, settings: ServiceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    told = {
        "redis_url": SecretStr("redis://:hidden@cache"),
        "otlp_endpoint": "http://user:hidden@collector:4318",
        "worker_metrics_host": "192.0.2.1",
        "worker_metrics_port": 1,
    }
    with caplog.at_level("DEBUG"), pytest.raises(OptionError, match="metrics"):
        work(store, {}, settings.model_copy(update=told))
    assert "//***@collector:4318" in caplog.text
    assert "hidden" not in caplog.text


def test_a_log_line_is_one_json_object_with_its_request() -> None:
    try:
        raise ValueError("inside")
    except ValueError:
        record = logging.LogRecord("a.b", logging.ERROR, "", 1, "line\n%d", (2,), sys.exc_info())
    record.__dict__["facts"] = {"status": 500}
    token = logs.request_id.set("r-1")
    line = JsonFormatter("llm-api").format(record)
    logs.request_id.reset(token)
    content = json.loads(line)
    assert "\n" not in line
    assert (content["message"], content["level"], content["request_id"]) == ("line\n2", "ERROR", "r-1")
    assert content["status"] == 500
    assert "inside" in content["traceback"]
    assert "job_id" not in content


def test_a_taken_port_is_said_clearly() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OptionError, match=f"127.0.0.1:{port}.*in use"):
            bind("127.0.0.1", port)
    with bind("127.0.0.1", port) as free:
        assert free.getsockname()[1] == port
    with pytest.raises(OptionError, match="cannot listen on"):
        bind("no.such.host.invalid", 1)


def test_a_taken_port_of_the_workers_metrics_is_said_clearly(store: JobStore, settings: ServiceSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OptionError, match=f"metrics on 127.0.0.1:{port}.*give another port"):
            work(store, {}, settings.model_copy(update={"worker_metrics_port": port}))


def test_an_answer_in_two_packets_is_not_held_back() -> None:
    """Without TCP_NODELAY each answer on an open connection takes 40 ms: the caller's delayed acknowledgement."""

    async def option_of_a_connection() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def accepted(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = bind("127.0.0.1", 0)
        async with await asyncio.start_server(accepted, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            option = await found
            writer.close()
            return option

    assert asyncio.run(option_of_a_connection()) != 0


def test_what_is_wrong_with_a_start_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OptionError("no key")

    def misconfigured() -> None:
        ServiceSettings(lease_s=-1)

    def not_json() -> None:
        monkeypatch.setenv("LLACTR_LLM_MODEL_ROOTS", "/secret")
        LlmSettings()

    for main, said in (
        (refuse, "error: no key\n"),
        (misconfigured, "error: setting lease_s: Input should be greater"),
        (not_json, "error: setting model_roots: give a JSON list"),
    ):
        with pytest.raises(SystemExit) as stopped:
            guarded(main)
        assert stopped.value.code == 1
        error = capsys.readouterr().err
        assert error.startswith(said)
        assert error.count("\n") == 1
        assert "/secret" not in error
