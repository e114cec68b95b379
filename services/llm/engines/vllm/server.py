"""How a vLLM server is started: its command line and its environment.

`python -m services.llm.engines.vllm.server` prints both for the settings of the environment, to start one by hand.
"""

import json
import os
import shlex
from collections.abc import Mapping

from llactr_core.semantics.template import Pooling, default_template
from llactr_core.semantics.weights import resolve_model
from services.llm.engines.vllm.child import Child
from services.llm.settings import LlmSettings

HOST = "127.0.0.1"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM can be prepared for
_POOLING: Mapping[Pooling, str] = {"mean": "MEAN", "cls": "CLS", "last": "LAST"}


def vllm_child(settings: LlmSettings) -> Child:
    """The server of the service's own model, not started yet; its output goes to <home>/llm/vllm.log.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or damaged.
    """
    return Child(serve_command(settings), serve_environment(settings), settings.vllm_port, settings.state / "vllm.log")


def serve_command(settings: LlmSettings) -> list[str]:
    """`vllm serve` so that it pools as the model's template says, normalises nothing and takes adapters at any time."""
    path = resolve_model(settings.model)
    template = default_template(path)
    pooler = {"seq_pooling_type": _POOLING[template.pooling], "use_activation": False}
    slots = str(settings.vllm_max_adapters + 1)  # one for the adapter of zeros
    return [
        *shlex.split(settings.vllm_command),
        "serve",
        str(path),
        *("--host", HOST),
        *("--port", str(settings.vllm_port)),
        *("--runner", "pooling"),
        *("--convert", "embed"),
        *("--pooler-config", json.dumps(pooler)),
        *("--dtype", settings.vllm_dtype),
        *("--max-model-len", str(template.max_tokens)),
        "--enable-lora",
        *("--max-lora-rank", str(next(rank for rank in RANKS if rank >= settings.vllm_max_rank))),
        *("--max-loras", slots),
        *("--max-cpu-loras", slots),
        "--no-enable-prefix-caching",
        *(["--enable-sleep-mode"] if settings.vllm_sleep else []),
        *shlex.split(settings.vllm_args),
    ]


def serve_environment(settings: LlmSettings) -> dict[str, str]:
    """This process's variables without the service's own, which may hold secrets, and what the server needs."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("LLACTR_")}
    return own | needed_environment(settings)


def needed_environment(settings: LlmSettings) -> dict[str, str]:
    """The variables without which the server would not do."""
    needed = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        # Prompts are cut at what the model's positions hold, which may be more than its tokenizer recommends.
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    return needed | ({"VLLM_SERVER_DEV_MODE": "1"} if settings.vllm_sleep else {})


def main() -> None:
    """Print the command as a shell would read it."""
    settings = LlmSettings()
    variables = [f"{name}={value}" for name, value in needed_environment(settings).items()]
    print(shlex.join([*variables, *serve_command(settings)]))


if __name__ == "__main__":
    main()
