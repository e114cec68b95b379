"""`llactr train --auto`: what to train, chosen by a small proof."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.console import CommandError, say
from services.cli.display import Display
from services.cli.reading import semantics_of

if TYPE_CHECKING:
    from llactr_core.data.splits import Splits
    from llactr_core.schema import Schema
    from llactr_core.semantics.semantics import Semantics
    from llactr_core.training.options import TrainOptions


@dataclass(frozen=True)
class Auto:
    """What was asked for.

    Args:
        minutes: for everything.
        backbone: its name, or "auto".
        language_model: what reads fields and values; None for the usual one.
        fixed: training options that are not searched.
    """

    minutes: float
    backbone: str
    language_model: str | None
    fixed: Mapping[str, object]

    def choose(
        self, splits: "Splits", schema: "Schema", work: Path, display: Display
    ) -> "tuple[Semantics, TrainOptions, Mapping[str, object]]":
        """What the winner reads, its options, and how it was chosen."""
        import optuna

        from llactr_core.proof.auto import AUTO_BACKBONES, choose
        from llactr_core.proof.work import Place
        from llactr_core.semantics.options import SsftOptions
        from llactr_core.training.options import TrainOptions

        began = time.monotonic()
        backbones = AUTO_BACKBONES if self.backbone == "auto" else (self.backbone,)
        TrainOptions.parse({**self.fixed, "backbone": backbones[0]})
        read = semantics_of(splits, schema, self.language_model, SsftOptions(), work, display, with_values=True)
        left = self.minutes - (time.monotonic() - began) / 60
        storage = optuna.storages.RDBStorage(f"sqlite:///{work / 'searches.sqlite'}")
        place = Place(work, storage, display.progress("choosing"))
        choice = choose(splits, schema, read, self.fixed, backbones, left, place)
        say(f"chosen: {choice.reason}")
        return choice.semantics(read), choice.options, choice.lineage


def check(options: Mapping[str, object], enhancer: str, *, table: bool, values: bool, warm_start: bool) -> None:
    """Refuse what `--auto` decides itself.

    Raises:
        CommandError: something of it is given.
    """
    named = enhancer != "llactr" or not {"enhancer", "backbone"}.isdisjoint(options)
    given = {"--enhancer": named, "--table": table, "--values": values, "--warm-start": warm_start}
    names = [name for name, is_given in given.items() if is_given]
    if names:
        raise CommandError(f"--auto decides what is read and trains anew; leave {', '.join(names)} out")
