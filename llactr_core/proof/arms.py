"""The arms of the proof: what is compared with what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from llactr_core.proof.controls import CHANGES, changed_fields, changed_values
from llactr_core.semantics.semantics import Semantics

PLAIN, WIDENED = "plain", "plain widened"
UNTUNED = "untuned language model"
FIELDS, VALUES, BOTH = "fields", "values", "fields + values"
_NO_FIELDS: dict[str, object] = {"fre_weight": 0.0, "fie_weight": 0.0}


@dataclass(frozen=True)
class Read:
    """What the language model said of a dataset, tuned and as it came; and of its scenes, where LARR is an arm.

    `left_out` says in sentences what it did not read for lack of time.
    """

    tuned: Semantics
    untuned: Semantics
    scenes: Semantics = field(default_factory=Semantics)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arm:
    """One way to train, which is tuned with the same budget as every other one.

    Args:
        name: in the reports.
        about: in a few words.
        semantics: what it reads.
        llactr: fixed options of the enhancer; None for the enhancer "none".
        searched: which groups of the search space it has besides the common one.
        is_widened: whether the embeddings are widened to the parameters of the arm that ships.
        is_control: whether what ships must be better than it for its gain to be the semantics'.
        method: an enhancer of another method; None for LLaCTR or none.
    """

    name: str
    about: str
    semantics: Callable[[Read], Semantics]
    llactr: dict[str, object] | None = None
    searched: tuple[str, ...] = ()
    is_widened: bool = False
    is_control: bool = False
    method: str | None = None

    @property
    def enhancer(self) -> str:
        """What the model is trained with, as `TrainOptions` names it."""
        return self.method or ("none" if self.llactr is None else "llactr")


def arms_of(has_values: bool, quick: bool) -> list[Arm]:
    """The arms for a dataset with textual fields or without; the arm that ships is `shipped`."""
    arms = [
        Arm(PLAIN, "the backbone alone", _nothing),
        Arm(WIDENED, "the backbone with as many parameters as what ships", _nothing, is_widened=True),
        Arm(FIELDS, "FRE and FIE", _fields, {"value_dims": 0}, ("fre", "fie")),
    ]
    if not quick:
        arms += [
            Arm("FRE", "FRE alone", _fields, {"value_dims": 0, "fie_weight": 0.0}, ("fre",)),
            Arm("FIE", "FIE alone", _fields, {"value_dims": 0, "fre_weight": 0.0}, ("fie",)),
        ]
    if has_values:
        arms += [
            Arm(VALUES, "texts of values", _values, dict(_NO_FIELDS), ("values",)),
            Arm(BOTH, "FRE, FIE and texts of values", _tuned, {}, ("fre", "fie", "values")),
        ]
    return arms + _controls(arms[-1] if has_values else arms[2], has_values, quick)


def shipped(has_values: bool) -> str:
    """The name of the arm that ships as LLaCTR."""
    return BOTH if has_values else FIELDS


def _controls(ships: Arm, has_values: bool, quick: bool) -> list[Arm]:
    """What ships, with the field vectors or the value vectors replaced by what has no meaning or was not tuned."""
    changes = ["random", "shuffled"] if quick else list(CHANGES)
    controls: list[tuple[str, Callable[[Read], Semantics]]] = []
    for change in changes:
        controls.append((f"{change} field vectors", partial(_with_fields, change=change)))
        if has_values:
            controls.append((f"{change} value vectors", partial(_with_values, change=change)))
    if not quick:
        controls.append((UNTUNED, _untuned))
    return [
        Arm(name, f"{ships.name} with {name}", semantics, ships.llactr, ships.searched, is_control=True)
        for name, semantics in controls
    ]


def method_arms(methods: Sequence[str]) -> list[Arm]:
    """The arms of other papers' methods: "ctrl", "larr"."""
    known = {
        "ctrl": Arm("CTRL", "the backbone, aligned with sentences of its rows", _nothing, method="ctrl"),
        "larr": Arm("LARR", "the scene's values, aggregated", _scenes, searched=("larr",), method="larr"),
    }
    return [known[name] for name in methods]


CONTROL_SEED = 1


def _nothing(_read: Read) -> Semantics:
    return Semantics()


def _tuned(read: Read) -> Semantics:
    return read.tuned


def _untuned(read: Read) -> Semantics:
    return read.untuned


def _scenes(read: Read) -> Semantics:
    return read.scenes


def _fields(read: Read) -> Semantics:
    return Semantics(fields=read.tuned.fields)


def _values(read: Read) -> Semantics:
    return Semantics(values=read.tuned.values)


def _with_fields(read: Read, change: str) -> Semantics:
    return changed_fields(read.tuned, change, CONTROL_SEED)


def _with_values(read: Read, change: str) -> Semantics:
    return changed_values(read.tuned, change, CONTROL_SEED)
