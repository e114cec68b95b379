"""Numbers of a report, where some are not defined: RelaImpr against a backbone that ranks no better than chance."""

import json
import math
from collections.abc import Mapping

from llactr_core.proof.intervals import Comparison


def percent(value: float | None) -> str:
    """A share with its sign, as percent.

    >>> percent(0.0224), percent(float("nan"))
    ('+2.24%', 'not defined')
    """
    return f"{value:+.2%}" if value is not None and math.isfinite(value) else "not defined"


def between(low: float | None, high: float | None) -> str:
    """An interval of shares, as percent."""
    known = all(end is not None and math.isfinite(end) for end in (low, high))
    return f"{low:+.2%} .. {high:+.2%}" if known else "not defined"


def gain_of(one: Comparison) -> str:
    """A difference to plain in words: RelaImpr, where it is defined, and AUC, with their intervals."""
    told = f"AUC {one.auc.value:+.4f} [{one.auc.low:+.4f}, {one.auc.high:+.4f}]"
    gain = one.relaimpr
    if not (math.isfinite(gain.value) and math.isfinite(gain.low)):
        return f"{told}; plain ranks about as chance does, so RelaImpr is not defined"
    return f"{percent(gain.value)} RelaImpr [{percent(gain.low)}, {percent(gain.high)}], {told}"


def as_json(report: Mapping[str, object]) -> str:
    """The report as JSON text, null where a number is not defined."""
    return json.dumps(defined(report), indent=1, allow_nan=False)


def defined(value: object) -> object:
    """Plain data with None in place of every number that is not finite."""
    if isinstance(value, Mapping):
        return {name: defined(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [defined(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
