"""The arms of the proof: what is compared with what."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from llactr_core.proof.controls import CHANGES, changed_fields, changed_values
from llactr_core.semantics.semantics import Semantics

PLAIN, WIDENED = "plain", "plain widened"
FIELDS, VALUES, BOTH = "fields", "values", "fields + values"
_NO_FIELDS: dict[str, object] = {"fre_weight": 0.0, "fie_weight": 0.0}


@dataclass(frozen=True)
class Read:
    """What the language model said of a dataset, tuned and as it came."""

    tuned: Semantics
    untuned: Semantics


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
    """

    name: str
    about: str
    semantics: Callable[[Read], Semantics]
    llactr: dict[str, object] | None = None
    searched: tuple[str, ...] = ()
    is_widened: bool = False
    is_control: bool = False


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
        controls.append(("untuned language model", _untuned))
    return [
        Arm(name, f"{ships.name} with {name}", semantics, ships.llactr, ships.searched, is_control=True)
        for name, semantics in controls
    ]


CONTROL_SEED = 1


def _nothing(_read: Read) -> Semantics:
    return Semantics()


def _tuned(read: Read) -> Semantics:
    return read.tuned


def _untuned(read: Read) -> Semantics:
    return read.untuned


def _fields(read: Read) -> Semantics:
    return Semantics(fields=read.tuned.fields)


def _values(read: Read) -> Semantics:
    return Semantics(values=read.tuned.values)


def _with_fields(read: Read, change: str) -> Semantics:
    return changed_fields(read.tuned, change, CONTROL_SEED)


def _with_values(read: Read, change: str) -> Semantics:
    return changed_values(read.tuned, change, CONTROL_SEED)
