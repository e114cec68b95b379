"""vLLM itself: its CPU build in an environment of its own (`make test-vllm`); without it these tests are left out."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from adapters import random_adapter
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from llactr_core.errors import UnavailableError
from llactr_core.semantics.encoder import TextEncoder
from services.llm.engines.choose import choose_engine
from services.llm.engines.engine import Engine, Voice
from services.llm.engines.vllm.client import VllmClient
from services.llm.settings import LlmSettings

ENVIRONMENT = "LLACTR_VLLM_ENV"
collect_ignore_glob = [] if os.environ.get(ENVIRONMENT) else ["test_*.py"]
TEXTS = tuple(f"the value number {i} of a field {'with more words ' * (i % 9)}" for i in range(48))


@pytest.fixture(scope="session")
def vllm_variables() -> dict[str, str]:
    """What the service is told so that its vLLM runs on a small machine without a GPU."""
    return {
        "LLACTR_LLM_ENGINE": "vllm",
        "LLACTR_LLM_VLLM_COMMAND": str(Path(os.environ[ENVIRONMENT]).absolute() / "bin" / "vllm"),
        "LLACTR_LLM_VLLM_DTYPE": "float32",
        "LLACTR_LLM_VLLM_MAX_RANK": "16",
        "LLACTR_LLM_VLLM_MAX_ADAPTERS": "2",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 that reads bytes after a begin-of-text token."""
    path = tmp_path_factory.mktemp("models") / "tiny-qwen"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(path)
    shape = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 64}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512}
    config = Qwen3Config(vocab_size=len(vocabulary), **shape, **heads, bos_token_id=0, eos_token_id=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        Qwen3ForCausalLM(config).save_pretrained(path)
    return path


@dataclass
class Server:
    """An engine with a vLLM server of its own, and what transformers makes of the same texts."""

    engine: Engine
    settings: LlmSettings
    made: dict[int, tuple[Path, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = self.settings.model
        self.raw = VllmClient(f"http://127.0.0.1:{self.settings.vllm_port}", None, 60)
        self.encoder = TextEncoder.load(self.model, device="cpu")
        self.rows = self.encoder.tokenize(TEXTS)
        self.base = self.encoder.embed(TEXTS)

    def tuned(self, seed: int) -> tuple[Path, np.ndarray]:
        """The folder of an adapter with random weights, and the vectors of TEXTS that transformers and PEFT give."""
        if seed not in self.made:
            self.made[seed] = random_adapter(self.model, seed, self.settings.home, TEXTS)
        return self.made[seed]

    def vectors(self, adapter: Path | None) -> np.ndarray:
        return self.engine.embed(Voice(self.model, adapter), TEXTS).vectors


@pytest.fixture(scope="session")
def start_server(
    vllm_variables: dict[str, str], free_port: Callable[[], int], wait_for: Callable[..., None]
) -> Iterator[Callable[[Path, str], Server]]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in vllm_variables.items():
            patch.setenv(name, value)
        started: list[Server] = []

        def start(home: Path, model: str) -> Server:
            settings = LlmSettings(home=home, model=model, vllm_port=free_port())
            engine = choose_engine(settings, worker=True)
            engine.resume()
            started.append(Server(engine, settings))
            wait_for(lambda: answers(engine), 300, "vLLM to start")
            return started[-1]

        yield start
        for server in started:
            server.raw.close()
            server.engine.close()


def answers(engine: Engine) -> bool:
    try:
        engine.check()
    except UnavailableError:
        return False
    return True


@pytest.fixture(scope="session", params=["all-MiniLM-L6-v2", "tiny-qwen"])
def server(
    request: pytest.FixtureRequest,
    start_server: Callable[[Path, str], Server],
    tiny_qwen: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Server:
    """An encoder (mean of the tokens) and a causal model (last token)."""
    model = str(tiny_qwen) if request.param == "tiny-qwen" else request.param
    return start_server(tmp_path_factory.mktemp("home"), model)
