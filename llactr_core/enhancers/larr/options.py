"""What can be chosen about LARR; imports no torch, so that a service can check a request at once."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic import Field as Setting

from llactr_core.semantics.options import SsftOptions


class LarrOptions(BaseModel):
    """The three stages: continual pre-training, contrastive tuning, and the aggregation of scenes.

    Stages 1 and 2 change the language model that reads the scenes; with 0 epochs a stage is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    pretrain_epochs: int = Setting(default=2, ge=0, le=1000, description="Of stage 1, over the items; 0 leaves it out.")
    mask_rate: float = Setting(
        default=0.5, gt=0, le=1, description="Share of a description's tokens that an encoder has to guess."
    )
    contrast_epochs: int = Setting(default=2, ge=0, le=1000, description="Of stage 2, over pairs; 0 leaves it out.")
    user_user: float = Setting(default=1.0, ge=0, description="Weight of the loss of users who clicked the same.")
    item_item: float = Setting(default=1.0, ge=0, description="Weight of that of items clicked by the same user.")
    user_item: float = Setting(default=1.0, ge=0, description="Weight of that of users and what they clicked.")
    text_temperature: float = Setting(default=0.05, gt=0, le=10, description="tau of the three losses of stage 2.")
    most_items: int = Setting(default=2000, ge=2, le=1_000_000, description="Items that stage 1 reads, at most.")
    most_pairs: int = Setting(default=256, ge=2, le=1_000_000, description="Pairs of each kind in stage 2, at most.")
    batch_size: int = Setting(default=16, ge=2, le=4096, description="Texts, or pairs of each kind, per step.")
    learning_rate: float = Setting(default=5e-4, gt=0, le=1, description="Peak of stages 1 and 2; warm-up, then decay.")
    rank: int = Setting(default=8, ge=1, le=512, description="LoRA rank of stages 1 and 2.")
    alpha: int = Setting(default=16, ge=1, le=4096, description="LoRA scale; the update is multiplied by alpha / r.")
    seed: int = Setting(default=0, ge=0, lt=2**31, description="Of stages 1 and 2.")
    width: int = Setting(default=32, ge=4, le=1024, description="D', the width of the aggregation encoder.")
    layers: int = Setting(default=1, ge=1, le=8, description="Of the aggregation encoder.")
    heads: int = Setting(default=4, ge=1, le=64, description="Of its attention; they divide the width.")
    align_weight: float = Setting(default=0.1, ge=0, description="Factor of the alignment of stage 3.")
    align_temperature: float = Setting(default=0.1, gt=0, le=10, description="tau of the alignment.")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads: {self.heads} does not divide the width {self.width}; give a divisor of it")
        if self.contrast_epochs and not self.user_user + self.item_item + self.user_item:
            raise ValueError("one of user_user, item_item and user_item must be above 0, or contrast_epochs 0")
        return self

    @property
    def tunes(self) -> bool:
        """Whether the language model is changed at all."""
        return self.pretrain_epochs + self.contrast_epochs > 0

    def tuning(self, epochs: int) -> SsftOptions:
        """The options of one stage's tuning, as the tuner reads them."""
        return SsftOptions(
            epochs=max(1, epochs),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            rank=self.rank,
            alpha=self.alpha,
            seed=self.seed,
        )
