"""What the vLLM engine does with a server: see tests/vllm_stand_in.py for what answers it here."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from adapters import random_adapter
from vllm_stand_in import StandIn

from llactr_core.errors import ArtifactError, OptionError, TooLargeError, UnavailableError
from llactr_core.semantics.encoder import TextEncoder
from services.llm.engines.choose import choose_engine
from services.llm.engines.engine import Engine, Voice
from services.llm.engines.vllm import server as vllm_server
from services.llm.settings import LlmSettings

TEXTS = ("colour", "a measured number", "c", "a longer text than the others")


@pytest.fixture
def server(tiny_model: Path) -> Iterator[StandIn]:
    made = StandIn(tiny_model)
    yield made
    made.close()


@pytest.fixture
def make(server: StandIn, tiny_model: Path, tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    engines = []

    def engine(url: str = server.url, sleep: bool = False, model: Path = tiny_model) -> Engine:
        settings = LlmSettings(
            home=tmp_path,
            model=str(model),
            engine="vllm",
            vllm_url=url,
            vllm_max_adapters=2,
            vllm_timeout_s=5,
            vllm_sleep=sleep,
        )
        engines.append(choose_engine(settings, worker=True))
        return engines[-1]

    yield engine
    for made in engines:
        made.close()


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture(scope="module")
def tuned(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, np.ndarray]]:
    """Three adapters, and the vectors of TEXTS with each."""
    parent = tmp_path_factory.mktemp("tuned")
    return [random_adapter(str(tiny_model), seed, parent, TEXTS) for seed in (1, 2, 3)]


def test_vectors_and_tokens_are_ours_and_no_text_goes_out_without_an_adapter(
    make: Callable[..., Engine], server: StandIn, tuned: list[tuple[Path, np.ndarray]], tiny_model: Path
) -> None:
    engine, encoder = make(), TextEncoder.load(str(tiny_model), device="cpu")
    untuned = engine.embed(Voice(str(tiny_model)), TEXTS)
    np.testing.assert_allclose(untuned.vectors, encoder.embed(TEXTS), atol=1e-6)  # in order, and normalised
    assert untuned.tokens == tuple(len(row) for row in encoder.tokenize(TEXTS))
    for folder, expected in tuned:
        np.testing.assert_allclose(engine.embed(Voice(str(tiny_model), folder), TEXTS).vectors, expected, atol=1e-6)
    assert {name for name, _ in server.asked} <= {folder.name for folder, _ in tuned} | {_untuned(server)}
    assert (_untuned(server), encoder.tokenize(TEXTS)) in server.asked


def test_many_texts_are_sent_in_parts(make: Callable[..., Engine], server: StandIn, tiny_model: Path) -> None:
    texts = [f"text {i}" for i in range(600)]
    vectors = make().embed(Voice(str(tiny_model)), texts).vectors
    np.testing.assert_allclose(vectors, TextEncoder.load(str(tiny_model), device="cpu").embed(texts), atol=1e-6)
    assert max(len(rows) for _, rows in server.asked) == 256


def test_the_adapter_used_longest_ago_makes_room(
    make: Callable[..., Engine], server: StandIn, tuned: list[tuple[Path, np.ndarray]], tiny_model: Path
) -> None:
    engine = make()
    names = [folder.name for folder, _ in tuned]
    for index in (0, 1, 0, 2):
        engine.embed(Voice(str(tiny_model), tuned[index][0]), TEXTS)
    assert set(server.adapters) == {_untuned(server), names[0], names[2]}
    assert server.calls["/v1/load_lora_adapter"] == 4


def test_what_the_server_lost_is_loaded_and_checked_again(
    make: Callable[..., Engine], server: StandIn, tuned: list[tuple[Path, np.ndarray]], tiny_model: Path, tmp_path: Path
) -> None:
    engine, (folder, expected) = make(), tuned[0]
    engine.embed(Voice(str(tiny_model), folder), TEXTS)
    server.adapters.clear()  # as after a restart
    np.testing.assert_allclose(engine.embed(Voice(str(tiny_model), folder), TEXTS).vectors, expected, atol=1e-6)
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere" / folder.name))
    engine.embed(Voice(str(tiny_model), moved), TEXTS)
    assert server.adapters[folder.name] == str(moved)  # the old folder may be gone when the server reads it next


def test_a_wrong_adapter_is_refused_and_does_not_stay(
    make: Callable[..., Engine], server: StandIn, tuned: list[tuple[Path, np.ndarray]], tiny_model: Path, tmp_path: Path
) -> None:
    wrong = Path(shutil.copytree(tuned[0][0], tmp_path / "wrong"))
    shutil.copy(tuned[1][0] / "adapter_model.safetensors", wrong)
    for _ in range(2):
        with pytest.raises(ArtifactError, match="wrong vector for the canary"):
            make().embed(Voice(str(tiny_model), wrong), TEXTS)
    assert "wrong" not in server.adapters
    (wrong / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="cannot load the adapter 'wrong'"):
        make().embed(Voice(str(tiny_model), wrong), TEXTS)


def test_a_busy_server_is_asked_again_and_a_missing_one_is_unavailable(
    make: Callable[..., Engine], server: StandIn, tiny_model: Path, free_port: Callable[[], int]
) -> None:
    engine = make()
    engine.embed(Voice(str(tiny_model)), ["a"])
    server.busy = 2
    engine.embed(Voice(str(tiny_model)), ["a"])
    server.busy = 3
    with pytest.raises(UnavailableError, match="busy"):
        engine.embed(Voice(str(tiny_model)), ["a"])
    nobody = make(f"http://127.0.0.1:{free_port()}")
    for call in (nobody.check, lambda: nobody.embed(Voice(str(tiny_model)), ["a"])):
        with pytest.raises(UnavailableError, match="does not answer"):
            call()


def test_another_model_than_the_servers_is_refused(make: Callable[..., Engine]) -> None:
    with pytest.raises(OptionError, match="serves 'tiny' only"):
        make().embed(Voice("all-MiniLM-L6-v2"), ["a"])


def test_a_server_that_may_hold_other_files_than_there_are_is_asked_for_nothing(
    make: Callable[..., Engine], server: StandIn, model: Path
) -> None:
    engine = make(model=model)
    engine.embed(Voice(str(model)), ["a"])
    asked = len(server.asked)
    config = model / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(ArtifactError, match="restart the vLLM server"):
        engine.embed(Voice(str(model)), ["a"])
    with pytest.raises(UnavailableError, match="restart the vLLM server"):
        engine.check()
    assert len(server.asked) == asked


def test_no_text_is_cut(make: Callable[..., Engine], tiny_model: Path) -> None:
    with pytest.raises(TooLargeError, match="at most 254") as refused:
        make().embed(Voice(str(tiny_model)), ["a", "a " * 253])
    assert refused.value.row == 1


@pytest.mark.parametrize("sleep", [False, True])
def test_a_pause_is_heard_and_ends(make: Callable[..., Engine], server: StandIn, tiny_model: Path, sleep: bool) -> None:
    worker, api, voice = make(sleep=sleep), make(sleep=sleep), Voice(str(tiny_model))
    worker.embed(voice, ["a"])
    worker.pause()
    assert server.asleep is sleep
    for engine in [worker, *([api] if sleep else [])]:  # a server that goes on serving may go on answering others
        with pytest.raises(UnavailableError, match="makes room for a tuning"):
            engine.embed(voice, ["a"])
        with pytest.raises(UnavailableError, match="makes room for a tuning"):
            engine.check()
    worker.resume()
    assert not server.asleep
    for engine in (worker, api):
        engine.check()
        engine.embed(voice, ["a"])


def test_a_server_that_was_left_asleep_is_woken_and_a_missing_one_is_no_reason_to_end(
    make: Callable[..., Engine], server: StandIn, free_port: Callable[[], int]
) -> None:
    server.asleep = True
    make(sleep=True).resume()
    assert not server.asleep
    make(f"http://127.0.0.1:{free_port()}", sleep=True).resume()


def test_the_servers_command_follows_from_the_template_and_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLM_MODEL", str(tiny_model))
    monkeypatch.setenv("LLACTR_LLM_VLLM_MAX_RANK", "10")
    monkeypatch.setenv("LLACTR_LLM_VLLM_ARGS", "--tensor-parallel-size 2")
    monkeypatch.setenv("LLACTR_LLM_VLLM_KEY", "hidden")
    vllm_server.main()
    line = capsys.readouterr().out
    assert f"vllm serve {tiny_model} --host 127.0.0.1 --port 8002" in line
    assert """--pooler-config '{"seq_pooling_type": "MEAN", "use_activation": false}'""" in line
    assert "--max-model-len 254" in line  # the model's 256 positions, less two
    assert "--max-lora-rank 16" in line
    assert "--no-enable-prefix-caching" in line
    assert line.endswith("--tensor-parallel-size 2\n")
    environment = vllm_server.serve_environment(LlmSettings())
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert "PATH" in environment
    assert not any("hidden" in value for value in environment.values())


def _untuned(server: StandIn) -> str:
    [name] = [name for name in server.adapters if name.startswith("untuned-")]
    return name
