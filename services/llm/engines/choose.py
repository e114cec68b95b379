"""Which engine the settings ask for."""

from services.llm.engines.engine import Engine
from services.llm.engines.transformers import TransformersEngine
from services.llm.engines.vllm.client import VllmClient
from services.llm.engines.vllm.engine import VllmEngine
from services.llm.engines.vllm.server import HOST, vllm_child
from services.llm.settings import LlmSettings


def choose_engine(settings: LlmSettings, *, worker: bool) -> Engine:
    """The engine of this process.

    The worker owns a vLLM child, where no URL names another server; the API process is a client of the same server.
    With transformers a process loads its own models; where it is left to us, the API keeps off the GPU, which is the
    worker's.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or damaged.
    """
    if settings.engine == "transformers":
        device = settings.engine_device
        if device == "auto" and not worker:
            device = "cpu"
        return TransformersEngine(settings.model, settings.cached_engines, device)
    key = settings.vllm_key.get_secret_value() if settings.vllm_key else None
    url = settings.vllm_url or f"http://{HOST}:{settings.vllm_port}"
    client = VllmClient(url, key, settings.vllm_timeout_s)
    child = vllm_child(settings) if worker and settings.vllm_url is None else None
    adapters = settings.state.absolute() / "vllm"
    return VllmEngine(settings.model, client, adapters, settings.vllm_max_adapters, child, sleeps=settings.vllm_sleep)
