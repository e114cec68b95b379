"""What can be chosen about a proof; imports no torch, so that a service can check a request at once."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, model_validator
from pydantic import Field as Setting

from llactr_core.enhancers.ctrl.options import CtrlOptions
from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.errors import OptionError
from llactr_core.training.options import TrainOptions

Backbone = Literal["fm", "deepfm", "fwfm", "fmfm", "finalmlp", "wukong", "autoint"]
Cut = Literal["none", "item-cold", "users-5", "users-20", "learning-curve"]
Method = Literal["ctrl", "larr"]

ALL: tuple[Backbone, ...] = ("deepfm", "wukong", "fm", "fwfm", "fmfm", "finalmlp")
TRIALS, LATER_TRIALS, SEEDS = 12, 4, 5
QUICK_TUNING = {"sam_num": 100, "epochs": 3}  # options of SSFT
QUICK_SCENES = {"most_items": 500, "pretrain_epochs": 1, "contrast_epochs": 1}  # options of LARR
QUICK_TRIALS, QUICK_SEEDS, QUICK_MINUTES = 3, 3, 14.0


class ProveOptions(BaseModel):
    """How much a proof does, and on which rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quick: bool = Setting(
        default=False, description="A first answer: DeepFM, fewer arms, trials, seeds and rows, within `minutes`."
    )
    minutes: float | None = Setting(
        default=None,
        gt=0,
        le=100_000,
        description="How long it may take; by default 14 with quick, and no limit else. Trials, seeds and rows that "
        "there is no time for are left out, for all arms alike, and the report says so.",
    )
    final: bool = Setting(default=False, description="Judge on test; else on a part of valid.")
    backbones: tuple[Backbone, ...] | None = Setting(
        default=None, min_length=1, description="By default deepfm with quick, else all six."
    )
    methods: tuple[Method, ...] = Setting(default=(), description="More arms: CTRL, LARR.")
    cut: Cut = Setting(
        default="none",
        description="Judge on items that train never had, train on few users, or draw AUC over the number of users.",
    )
    item: str | None = Setting(default=None, min_length=1, description="The column of items.")
    user: str | None = Setting(
        default=None, min_length=1, description="The column of users; by default the schema's group."
    )
    trials: int | None = Setting(
        default=None, ge=1, le=1000, description="Of the first backbone's searches; by default 12, with quick 3."
    )
    seeds: int | None = Setting(
        default=None, ge=1, le=100, description="Of the judged runs; by default 5, with quick 3."
    )

    epochs: int = Setting(default=30, ge=1, le=1000, description="Of each run, at most.")
    ctrl: dict[str, JsonValue] = Setting(default_factory=dict, description="CTRL's own options, as in training.")
    larr: dict[str, JsonValue] = Setting(default_factory=dict, description="LARR's own options, as in training.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.cut == "item-cold" and self.item is None:
            raise ValueError("cut 'item-cold' needs 'item', the column that names the items")
        for what, names in (("backbone", self.backbones or ()), ("method", self.methods)):
            if len(set(names)) < len(names):
                raise ValueError(f"a {what} is given twice; name each once")
        return self

    @model_validator(mode="after")
    def _own_options_fit(self) -> Self:
        unasked = [name for name in self.fixed if name not in self.methods]
        if unasked:
            raise ValueError(f"there are options of {' and '.join(unasked)}, which is none of the methods; add it")
        try:
            TrainOptions.parse(self.fixed)
        except OptionError as error:
            raise ValueError(error.detail) from error
        return self

    @classmethod
    def parse(cls, content: object) -> "ProveOptions":
        """Options from plain data.

        Raises:
            OptionError: naming the first option that is unknown or out of range.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"][:1])
            about = f"prove option {where!r}" if where else "prove options"
            raise OptionError(f"{about}: {first['msg'].removeprefix('Value error, ')}", field=where or None) from error

    @property
    def its_backbones(self) -> tuple[Backbone, ...]:
        """Those that are taken; the first one is searched longest."""
        return self.backbones or (("deepfm",) if self.quick else ALL)

    @property
    def its_trials(self) -> int:
        """Of the first backbone's searches."""
        return self.trials or (QUICK_TRIALS if self.quick else TRIALS)

    @property
    def its_seeds(self) -> tuple[int, ...]:
        """Those that are taken."""
        return tuple(range(1, 1 + (self.seeds or (QUICK_SEEDS if self.quick else SEEDS))))

    @property
    def its_larr(self) -> LarrOptions:
        """LARR's options; with quick its tuning is short where nothing else was asked for."""
        return LarrOptions.model_validate({**(QUICK_SCENES if self.quick else {}), **self.larr})

    @property
    def its_ctrl(self) -> CtrlOptions:
        """CTRL's options."""
        return CtrlOptions.model_validate(self.ctrl)

    @property
    def fixed(self) -> dict[str, object]:
        """What was given of the methods' own options, as `TrainOptions` names it: the same in every run."""
        return {name: given for name, given in (("ctrl", self.ctrl), ("larr", self.larr)) if given}

    @property
    def its_minutes(self) -> float | None:
        """How long it may take; None for any time."""
        return self.minutes or (QUICK_MINUTES if self.quick else None)
