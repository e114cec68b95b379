"""Which language models a caller may name: the service's own, and those that the operator put into its model folders."""

from pathlib import Path

from llactr_core.errors import NotFoundError, OptionError
from llactr_core.semantics.weights import model_label, resolve_model
from services.llm.settings import LlmSettings


def allowed_model(name: str | None, settings: LlmSettings) -> str:
    """The model to use for a name that a caller gave: the service's default for None, else an allowed one.

    Raises:
        OptionError: the model is unknown, or lies outside the folders that the operator allowed.
        ArtifactError: its weights are not the official ones.
    """
    if name is None or name in (settings.model, model_label(settings.model)):
        return settings.model
    for root in settings.model_roots:
        path = (root / name).resolve()
        if path.is_relative_to(root.resolve()) and path.is_dir():
            return str(path)
    if not _is_path(name):
        try:
            resolve_model(name)
            return name
        except NotFoundError:
            pass
    own = ", ".join(sorted({model_label(settings.model), *_names(settings.model_roots)}))
    raise OptionError(f"the model {name!r} is none that this service offers; it offers: {own}", field="model")


def _is_path(name: str) -> bool:
    return not name or name.startswith((".", "~")) or "\\" in name or Path(name).exists()


def _names(roots: list[Path]) -> list[str]:
    return [
        entry.name for root in roots if root.is_dir() for entry in root.iterdir() if (entry / "config.json").is_file()
    ]
