"""What can be chosen about a training run."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic import Field as Setting

from llactr_core.enhancers.ctrl.options import CtrlOptions
from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.enhancers.options import LlactrOptions
from llactr_core.errors import OptionError


class TrainOptions(BaseModel):
    """Hyper-parameters of one run; equal options, data, table and thread count give an equal model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = "deepfm"
    backbone_options: dict[str, object] = {}
    enhancer: Literal["none", "llactr", "larr", "ctrl"] = "llactr"
    llactr: LlactrOptions = LlactrOptions()
    larr: LarrOptions = LarrOptions()
    ctrl: CtrlOptions = CtrlOptions()
    width: int = Setting(default=16, ge=1, le=512, description="d, the width of a feature embedding.")
    batch_size: int | None = Setting(
        default=None, ge=1, description="Rows a step; by default N / 128 within 256..4096."
    )
    learning_rate: float = Setting(default=1e-3, gt=0, le=1)
    rate_decay: float = Setting(
        default=1.0, gt=0, le=1, description="Factor of the learning rate after an evaluation without a better AUC."
    )
    embedding_l2: float = Setting(default=1e-4, ge=0, description="Factor of the squared embeddings of a batch.")
    l2_by: Literal["occurrence", "row"] = Setting(
        default="occurrence",
        description="Whether a value counts in the squares as often as the batch has it, or once: then rare values are "
        "shrunk more than frequent ones, and what texts add is not shrunk at all.",
    )
    rare: int = Setting(
        default=1, ge=1, description="Values that train has fewer times than this share the row of the unseen id."
    )
    precision: Literal["fp32", "bf16"] = Setting(
        default="fp32",
        description="bf16 rounds the inputs of matrix products while training; weights stay fp32.",
    )
    served_precision: Literal["fp32", "int8"] = Setting(
        default="fp32",
        description="int8 rounds the matrix products of the served graph, which scores large requests up to twice as "
        "fast, if that loses no more than 0.0005 of AUC on valid; else the graph stays fp32. Scores move by up to some "
        "hundredths.",
    )
    epochs: int = Setting(default=30, ge=1, le=1000)
    patience: int = Setting(default=3, ge=1, description="Evaluations without a better validation AUC before the end.")
    evaluations: int = Setting(default=1, ge=1, le=100, description="Evaluations per epoch.")
    unseen_rate: float = Setting(
        default=0.25, ge=0, description="z: a value seen c times is replaced by the unseen id with z / (z + c)."
    )
    cold_rate: float = Setting(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the rows that training reads as if it did not know the things that fields name together "
        "(a film by its number and its title): by the unseen ids, and by the texts where values are read.",
    )
    held_out: float = Setting(
        default=0.5,
        ge=0,
        le=0.9,
        description="Share of valid that early stopping does not see; half of it calibrates, half is the gate's.",
    )
    calibration: Literal["auto", "platt", "beta", "isotonic", "none"] = Setting(
        default="auto", description="How scores are calibrated; auto chooses by cross-validation."
    )
    seed: int = Setting(default=2026, ge=0, lt=2**31)

    def batch_for(self, rows: int) -> int:
        """The number of rows in a step when train has `rows`."""
        return self.batch_size or min(4096, max(256, rows // 128))

    @property
    def tunes_scenes(self) -> bool:
        """Whether a language model is changed for LARR's scenes."""
        return self.enhancer == "larr" and self.larr.tunes

    @classmethod
    def parse(cls, content: object) -> "TrainOptions":
        """Options from plain data.

        Raises:
            OptionError: naming the first option that is unknown or out of range.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise OptionError(f"training option {where!r}: {first['msg']}", field=where) from error
