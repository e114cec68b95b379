"""Which language models a caller may name: the service's own, and those in folders that the operator allowed."""

import os
from pathlib import Path

from llactr_core.errors import OptionError
from llactr_core.semantics.weights import DEFAULT_MODEL, model_label
from services.llm.settings import LlmSettings

PACKAGED = (DEFAULT_MODEL, f"sentence-transformers/{DEFAULT_MODEL}")


def allowed_model(name: str | None, settings: LlmSettings) -> str:
    """The model to load for a name that a caller gave: the service's own for None.

    Raises:
        OptionError: the service does not offer this model.
    """
    own = model_label(settings.model)
    if name is None or name in (settings.model, own):
        return settings.model
    offered: dict[str, str] = {}
    if settings.engine == "transformers":  # a vLLM server has one model
        offered = {entry.name: str(entry.resolve()) for root in settings.model_roots for entry in _models(root)}
        offered |= dict.fromkeys(PACKAGED, DEFAULT_MODEL)
    if name in offered:
        return offered[name]
    names = ", ".join(sorted({own, *offered} - {PACKAGED[1]}))
    raise OptionError(f"the model {name!r} is none that this service offers; it offers: {names}", field="model")


def stay_offline() -> None:
    """Models come from this machine; without this, a library would look for newer files on the network."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _models(root: Path) -> list[Path]:
    return [entry for entry in root.iterdir() if (entry / "config.json").is_file()] if root.is_dir() else []
