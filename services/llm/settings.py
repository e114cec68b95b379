"""What the LLM service can be told from outside."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from llactr_core.semantics.weights import DEFAULT_MODEL
from services.shared.settings import MEBIBYTE, ServiceSettings


class LlmSettings(ServiceSettings):
    """Settings of the LLM service's API and worker; the environment prefix is LLACTR_LLM_."""

    model_config = SettingsConfigDict(env_prefix="LLACTR_LLM_", extra="ignore", frozen=True, populate_by_name=True)

    service: ClassVar[str] = "llm"

    port: int = Field(
        default=8001,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("LLACTR_LLM_PORT", "LLM_PORT", "port"),
        description="The TCP port to listen on.",
    )
    model: str = Field(
        default=DEFAULT_MODEL,
        min_length=1,
        validation_alias=AliasChoices("LLACTR_LLM_MODEL", "LLM_MODEL", "model"),
        description="The language model where a call names none: all-MiniLM-L6-v2, or a folder with a model.",
    )
    model_roots: list[Path] = Field(
        default_factory=list,
        description="Folders whose models a call may name besides the default one (a JSON list in the environment).",
    )
    engine: Literal["transformers", "vllm"] = Field(
        default="transformers",
        description="What embeds: transformers in the service's own processes, or a vLLM server.",
    )
    engine_device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="Where transformers embeds; auto: in the worker on its GPU, if it has one; in the API on the CPU.",
    )
    vllm_url: str | None = Field(
        default=None,
        pattern="^https?://[^/]",
        description="A vLLM server that someone else runs; without it, the worker starts one on this machine.",
    )
    vllm_key: SecretStr | None = Field(default=None, description="The bearer token that this vLLM server asks for.")
    vllm_command: str = Field(
        default="vllm",
        min_length=1,
        description="The vLLM program that the worker starts, from an environment of its own: a path, as a shell "
        "would read it.",
    )
    vllm_args: str = Field(
        default="", description="More arguments for `vllm serve`, as a shell would read them; they win over ours."
    )
    vllm_port: int = Field(
        default=8002, ge=1, le=65535, description="The TCP port on which the worker's vLLM server listens (loopback)."
    )
    vllm_start_s: float = Field(
        default=600.0, gt=0, description="Seconds that a job waits for the vLLM server to be ready."
    )
    vllm_timeout_s: float = Field(default=60.0, gt=0, description="Seconds that vLLM may take for one batch of texts.")
    vllm_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="The type in which the worker's vLLM server computes; auto: that of the weights."
    )
    vllm_max_rank: int = Field(
        default=64,
        ge=1,
        le=512,
        description="The largest LoRA rank that vLLM is prepared for; refreshes may not ask for more.",
    )
    vllm_max_adapters: int = Field(
        default=4, ge=1, le=1000, description="Tuned adapters that are left on the vLLM server at a time."
    )
    vllm_sleep: bool = Field(
        default=False,
        description="For a tuning, put the vLLM server to sleep instead of ending it (with a vllm_url: instead of "
        "leaving it alone). The server must be on a GPU that can sleep.",
    )
    artifacts_url: str | None = Field(
        default=None,
        description="Where adapters and tables are kept: a folder or an fsspec URL such as s3://bucket/llactr; "
        "without it, <home>/llm/artifacts.",
    )
    max_body_bytes: int = Field(
        default=16 * MEBIBYTE,
        ge=1024,
        description="The largest request body, in bytes. A body of JSON takes many times its size in memory.",
    )
    cached_tables: int = Field(default=32, ge=1, description="Field tables kept in memory by the API process.")
    pointer_poll_s: float = Field(
        default=1.0, gt=0, le=60, description="Seconds between two looks at where the tables' aliases point."
    )
    keep_versions: int = Field(
        default=10, ge=1, description="The newest field tables of a schema, which are kept whatever their age."
    )
    keep_days: float = Field(
        default=30.0, ge=0, description="Days that a field table is kept to which no alias points."
    )
    cached_engines: int = Field(
        default=2, ge=1, description="Models that transformers keeps in memory, in each process."
    )
    remembered_vector_bytes: int = Field(
        default=64 * MEBIBYTE, ge=0, description="Bytes of embedded texts' vectors kept in memory by the API process."
    )
    redis_vector_s: int = Field(
        default=7 * 86400, ge=1, description="Seconds that Redis keeps the vector of an embedded text."
    )
    cached_embeddings: int = Field(
        default=1_000_000,
        ge=0,
        description="Embedded texts whose vectors the database keeps; those that were used longest ago are deleted.",
    )
    max_texts: int = Field(default=256, ge=1, description="The most texts in one embeddings request.")
    max_text_chars: int = Field(
        default=8192, ge=1, description="The most characters of one text to embed, or of one sample."
    )
    max_samples: int = Field(default=100_000, ge=1, description="The most sample values of one field in a request.")
