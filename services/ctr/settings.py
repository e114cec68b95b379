"""What the CTR service can be told from outside."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from llactr_core.semantics.weights import DEFAULT_MODEL
from services.shared.settings import ServiceSettings


class CtrSettings(ServiceSettings):
    """Settings of the CTR service's API and worker; the environment prefix is LLACTR_CTR_."""

    model_config = SettingsConfigDict(env_prefix="LLACTR_CTR_", extra="ignore", frozen=True, populate_by_name=True)

    service: ClassVar[str] = "ctr"

    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("LLACTR_CTR_PORT", "CTR_PORT", "port"),
        description="The TCP port to listen on.",
    )
    llm_url: str = Field(default="http://127.0.0.1:8001", description="Where the LLM service answers.")
    llm_key: SecretStr | None = Field(
        default=None, description="The worker's key at the LLM service; without it, the one in the admin key file."
    )
    llm_timeout_s: float = Field(default=30.0, gt=0, description="Seconds to wait for an answer of the LLM service.")
    language_model: str = Field(
        default=DEFAULT_MODEL,
        description="The name or folder of the language model that CTRL aligns a backbone with in a train job.",
    )
    schedule_poll_s: float = Field(
        default=5.0, gt=0, le=3600, description="Seconds between two looks of a worker at the schedules of refreshes."
    )
    max_rows: int = Field(default=20_000, ge=1, description="The most rows in one scoring request.")
    explain_rows: int = Field(default=16, ge=1, le=1_000, description="The most rows in one request to explain.")
    inline_rows: int = Field(
        default=128,
        ge=0,
        description="Requests of up to so many rows are scored on the event loop, larger in a thread.",
    )
    bulk_rows: int = Field(
        default=2_000,
        ge=1,
        description="Requests of more rows are scored in a thread of their own; none waits for them.",
    )
    score_threads: int = Field(
        default=2, ge=1, le=64, description="Threads for requests of more than inline_rows rows, in each process."
    )
    queue_ms: float = Field(
        default=100.0,
        gt=0,
        description="Scoring requests that have to expect a longer wait are refused with 503, in milliseconds.",
    )
    bulk_queue_ms: float = Field(
        default=5_000.0, gt=0, description="The same for requests of more than bulk_rows rows, in milliseconds."
    )
    queue_requests: int = Field(
        default=1_000, ge=1, description="The most scoring requests at a time in a process; more are refused with 503."
    )
    queue_mb: int = Field(
        default=256, ge=1, description="The most mebibytes of their bodies at a time in a process; likewise."
    )
    lookups: Path | None = Field(
        default=None, description="A YAML file that says which features are looked up online, and where."
    )
    default_model: str | None = Field(
        default=None,
        description="The model that scores when a request names none; without it, `default`, or the only one.",
    )
    memory_mb: int = Field(
        default=4096,
        ge=1,
        description="The most mebibytes of loaded models in each API process; who was used longest ago makes room.",
    )
    overlay_values: int = Field(
        default=100_000, ge=1, description="The most values of a field that a version's overlay takes."
    )
    overlay_poll_s: float = Field(
        default=2.0, gt=0, le=8, description="Seconds between two looks of an API process at the overlays."
    )
    newcomers: bool = Field(
        default=False,
        description="Whether values that scored rows bring and no model has seen are read by the LLM service and added "
        "to the overlay without being asked for.",
    )
    newcomer_sightings: int = Field(
        default=3, ge=1, description="How often an API process must see such a value before it is added."
    )
    newcomers_per_minute: int = Field(
        default=60, ge=1, description="The most values of a field that an API process adds so within a minute."
    )
    log_share: float = Field(
        default=0.0, ge=0, le=1, description="Share of the requests whose scores are logged, where a plan does not say."
    )
    traffic_rows: int = Field(
        default=20_000,
        ge=1,
        description="The most rows that wait to be logged or compared, in each process; beyond, they are dropped.",
    )
    traffic_mb: int = Field(
        default=64, ge=1, description="The most mebibytes of request bodies whose rows wait for that."
    )
    traffic_flush_s: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="Seconds between two batches of logged scores; a killed process loses one.",
    )
    keep_scores_days: float = Field(
        default=30.0, gt=0, le=36_500, description="Days that logged scores, labels, drift and shadow counts are kept."
    )
    quality_rows: int = Field(
        default=100_000, ge=100, description="The most labelled rows, the newest, that live metrics are computed from."
    )
    live_every_s: float = Field(
        default=60.0, gt=0, description="Seconds between two computations of the live metrics by a worker."
    )
    live_window_hours: float = Field(default=24.0, gt=0, le=8760, description="Hours that the live metrics look back.")
    gate_rule: Literal["harm", "proof"] = Field(
        default="harm",
        description="What the gate before a promotion refuses: harm: a version that is shown to be worse; proof: one "
        "that is not shown to be no worse.",
    )
    gate_margin: float = Field(default=0.002, ge=0, le=1, description="The loss of AUC that the gate allows.")
    gate_confidence: float = Field(default=0.95, gt=0, lt=1, description="Of the gate's two-sided intervals.")
    gate_ratio_low: float = Field(
        default=0.9, ge=0, description="The least ratio of predicted to true clicks that the gate allows."
    )
    gate_ratio_high: float = Field(default=1.1, gt=0, description="The largest such ratio.")
    gate_timeout_s: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="Seconds that an API process waits for the gate, or for a bundle to be verified.",
    )
    keep_versions: int = Field(
        default=20,
        ge=1,
        description="Versions of each model that are kept; older ones are deleted, but for those that an alias or a "
        "job names and the last 5 champions.",
    )
    keep_hours: float = Field(default=24.0, ge=0, description="A version younger than this is not deleted.")

    @model_validator(mode="after")
    def _gate_leaves_room(self) -> Self:
        if self.gate_ratio_low > self.gate_ratio_high:
            raise ValueError(f"gate_ratio_low {self.gate_ratio_low} is above gate_ratio_high {self.gate_ratio_high}")
        return self

    @property
    def bundles(self) -> Path:
        """The folder of the registered bundles, one directory per version."""
        return self.state / "bundles"

    @property
    def proofs(self) -> Path:
        """The folder of the reports of proofs, one directory per job."""
        return self.state / "proofs"
