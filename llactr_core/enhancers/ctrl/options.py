"""What can be chosen about CTRL; imports no torch, so that a service can check a request at once."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic import Field as Setting

LARGEST_BATCH = 6400  # the paper's


class Nouns(BaseModel):
    """What each side of a row is called in its sentence: "This is a user, ... This is a movie, ..."."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str = Setting(default="a user", min_length=1, max_length=200)
    item: str = Setting(default="an item", min_length=1, max_length=200)
    context: str = Setting(default="a request", min_length=1, max_length=200)
    row: str = Setting(default="a row", min_length=1, max_length=200, description="Fields without a side.")


class CtrlOptions(BaseModel):
    """Stage 1, the alignment of the backbone with the language model; stage 2 is the training that follows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nouns: Nouns = Nouns()
    epochs: int = Setting(default=1, ge=1, le=1000, description="Of the alignment.")
    batch_size: int | None = Setting(
        default=None,
        ge=2,
        le=100_000,
        description="Rows whose sentences are told apart in a step; by default N / 64 within 256..6400.",
    )
    temperature: float = Setting(default=0.7, gt=0, le=10, description="tau of the contrastive softmax.")
    width: int = Setting(default=128, ge=1, le=4096, description="Of the space in which both sides meet.")
    subspaces: int = Setting(default=4, ge=1, le=64, description="M, the parts of that space; they divide the width.")
    learning_rate: float = Setting(default=5e-4, gt=0, le=1, description="After the warm-up.")
    first_rate: float = Setting(default=1e-5, gt=0, le=1, description="That of the first step.")
    warm_up: float = Setting(default=0.1, ge=0, le=1, description="Share of the steps in which the rate rises.")
    weight_decay: float = Setting(default=0.01, ge=0, le=1, description="AdamW's.")
    tokens_at_once: int = Setting(
        default=4096,
        ge=64,
        le=10_000_000,
        description="Tokens whose activations are in memory; the batch may be larger.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Setting(
        default="auto", description="Of the language model; auto: bfloat16 where the hardware has it."
    )
    device: Literal["auto", "cpu", "cuda"] = Setting(default="auto", description="auto: a GPU where there is one.")
    seed: int = Setting(default=0, ge=0, lt=2**31, description="Of the alignment: first weights, and order of rows.")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.width % self.subspaces:
            raise ValueError(
                f"subspaces: {self.subspaces} does not divide the width {self.width}; give a divisor of it"
            )
        return self

    def batch_for(self, rows: int) -> int:
        """The rows of a step when train has `rows`."""
        return self.batch_size or min(LARGEST_BATCH, max(256, rows // 64))
