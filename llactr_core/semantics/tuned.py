"""What a tuning leaves. No torch: whoever only passes it on does not need it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TunedModel:
    """What a tuning leaves: the folder of its adapter, and what was measured.

    Without a folder the untuned model is meant: none was tuned (`options.skip`), or no epoch was better than the
    untuned model (`metrics["best_epoch"]` is 0).
    """

    adapter: Path | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
