"""The backbones by name."""

from collections.abc import Mapping

from pydantic import ValidationError

from llactr_core.errors import OptionError
from llactr_core.models.autoint import AutoInt
from llactr_core.models.base import Backbone, BackboneOptions, Shape
from llactr_core.models.deepfm import DeepFM
from llactr_core.models.finalmlp import FinalMLP
from llactr_core.models.fm import FM
from llactr_core.models.fmfm import FmFM
from llactr_core.models.fwfm import FwFM
from llactr_core.models.wukong import Wukong

BACKBONES: dict[str, type[Backbone]] = {
    "fm": FM,
    "deepfm": DeepFM,
    "fwfm": FwFM,
    "fmfm": FmFM,
    "finalmlp": FinalMLP,
    "wukong": Wukong,
    "autoint": AutoInt,
}


def find_backbone(name: str) -> type[Backbone]:
    """The class of the backbone `name`.

    Raises:
        OptionError: there is none of that name.
    """
    if name not in BACKBONES:
        raise OptionError(f"there is no backbone {name!r}; choose one of {', '.join(BACKBONES)}")
    return BACKBONES[name]


def backbone_options(name: str, options: Mapping[str, object]) -> BackboneOptions:
    """The checked options of the backbone `name`, defaults filled in; `.model_dump(mode="json")` is their JSON form.

    Raises:
        OptionError: there is no such backbone, or an option is unknown or out of range.
    """
    allowed = find_backbone(name).Options
    try:
        return allowed.model_validate(dict(options))
    except ValidationError as error:
        raise OptionError(_explain(name, allowed, error)) from error


def build_backbone(name: str, shape: Shape, options: Mapping[str, object]) -> Backbone:
    """A freshly initialised backbone; `torch.manual_seed` decides its weights.

    Raises:
        OptionError: there is no such backbone, or an option is unknown, out of range, or does not fit the shape.
    """
    checked = backbone_options(name, options)
    return find_backbone(name)(shape, checked)


def _explain(name: str, allowed: type[BackboneOptions], error: ValidationError) -> str:
    """What the first error of the options is, in words."""
    first = error.errors()[0]
    option = ".".join(str(part) for part in first["loc"])
    names = ", ".join(allowed.model_fields) or "none"
    if first["type"] == "extra_forbidden":
        return f"backbone {name!r} has no option {option!r}; allowed: {names}"
    if not option:
        return f"backbone {name!r}: {first['msg'].removeprefix('Value error, ')}"
    return f"backbone {name!r}, option {option!r}: {first['msg']}; given {first['input']!r}"
