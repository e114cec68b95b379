"""The options of SSFT."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic import Field as Setting

from llactr_core.errors import OptionError

Objective = Literal["contrastive", "generative", "both"]
# How the work is done, not what comes out of it (up to rounding): these are no part of the recipe.
EXECUTION = frozenset({"checkpointing", "processes"})


class SsftOptions(BaseModel):
    """How the language model is tuned to the fields (LLaCTR, arXiv 2505.14057); all but EXECUTION is in the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Objective = Setting(default="contrastive", description="generative needs a language-model head.")
    skip: bool = Setting(default=False, description="Embed the fields with the untuned model.")
    sam_num: int = Setting(default=200, ge=1, le=100_000, description="Distinct values sampled per field.")
    epochs: int = Setting(default=5, ge=1, le=1000, description="An epoch draws as many values as there are in train.")
    batch_size: int = Setting(default=16, ge=1, le=4096, description="Prompts per step.")
    learning_rate: float = Setting(default=2e-3, gt=0, le=1.0, description="Peak; warm-up, then linear decay.")
    temperature: float = Setting(default=0.02, gt=0, le=10.0, description="tau of the contrastive softmax.")
    rank: int = Setting(default=8, ge=1, le=512, description="LoRA rank r.")
    alpha: int = Setting(default=16, ge=1, le=4096, description="LoRA scale; the update is multiplied by alpha / r.")
    targets: tuple[str, ...] = Setting(default=(), description="LoRA modules; empty: query and value projections.")
    held_out: float = Setting(default=0.2, ge=0.0, le=0.5, description="Share of the values that choose the epoch.")
    max_chars: int = Setting(default=100, ge=1, le=2000, description="Characters of a value that a prompt shows.")
    precision: Literal["auto", "float32", "bfloat16"] = Setting(
        default="auto", description="Of tuning; auto: bfloat16 where the hardware has it. Vectors are float32."
    )
    device: Literal["auto", "cpu", "cuda"] = Setting(default="auto", description="auto: a GPU where there is one.")
    checkpointing: Literal["auto", "on", "off"] = Setting(
        default="auto", description="Compute activations again in the backward pass, to save memory; auto: on a GPU."
    )
    processes: int = Setting(default=1, ge=1, le=64, description="That share every step; on GPUs one process each.")
    seed: int = Setting(default=0, ge=0, lt=2**31, description="Of the sample, the split, the order and LoRA.")

    @field_validator("targets")
    @classmethod
    def _targets_are_names(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(targets)) < len(targets) or not all(targets):
            raise ValueError("give each module's name once, and no empty name")
        return targets

    @field_validator("processes")
    @classmethod
    def _every_process_has_work(cls, processes: int, info: ValidationInfo) -> int:
        prompts = info.data.get("batch_size", processes)
        if processes > prompts:
            raise ValueError(f"a step has {prompts} prompts (batch_size), so at most {prompts} processes can share it")
        return processes

    @classmethod
    def parse(cls, content: object) -> Self:
        """Build options from plain data.

        Raises:
            OptionError: naming the first option that is unknown or out of range.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "ssft"
            allowed = ", ".join(cls.model_fields)
            hint = f"; allowed: {allowed}" if first["type"] == "extra_forbidden" else f"; given: {first['input']!r}"
            raise OptionError(f"{where}: {first['msg']}{hint}", field=where) from error
