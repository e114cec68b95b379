"""Explanations as JSON."""

from collections.abc import Sequence
from typing import Any

import msgspec

from llactr_core.explainer import Explainer, Explanation

_ENCODER = msgspec.json.Encoder()
DEEP = (
    "the deep part: Shapley values against the row whose fields are all unseen, averaged over sampled orders of the "
    "fields; they sum to the deep part exactly, deep_error is the standard error of each"
)


def method_of(explainer: Explainer) -> dict[str, Any]:
    """Which parts of an explanation are exact, and how the others were approximated."""
    exact = ["bias", "first_order", "fm", "fie"]
    return {
        "exact": exact if explainer.is_deep else [*exact, "deep_baseline", "deep"],
        "approximate": {"deep": DEEP} if explainer.is_deep else {},
        "permutations": explainer.permutations,
    }


def encode_explanation(about: dict[str, Any], explanation: Explanation, fields: Sequence[str]) -> bytes:
    """The body of an answer: what it is about, and its rows."""
    rows = [_row(explanation, number, fields) for number in range(len(explanation.logits))]
    return _ENCODER.encode({**about, "rows": rows})


def _row(explanation: Explanation, row: int, fields: Sequence[str]) -> dict[str, Any]:
    return {
        "logit": explanation.logits[row].item(),
        "probability": explanation.probabilities[row].item(),
        "raw_probability": explanation.raw_probabilities[row].item(),
        "bias": explanation.bias[row].item(),
        "deep_baseline": explanation.deep_baseline,
        "fields": _fields(explanation, row, fields),
        "pairs": _pairs(explanation, row, fields),
    }


def _fields(explanation: Explanation, row: int, fields: Sequence[str]) -> list[dict[str, Any]]:
    error = None if explanation.deep_error is None else explanation.deep_error[row].tolist()
    kinds = zip(explanation.missing[row].tolist(), explanation.unseen[row].tolist(), strict=True)
    first, deep, share = (part[row].tolist() for part in (explanation.first, explanation.deep, explanation.shares))
    return [
        {
            "field": name,
            "value": "missing" if missing else "unseen" if unseen else "known",
            "contribution": first[k] + deep[k],
            "first_order": first[k],
            "deep": deep[k],
            "deep_error": None if error is None else error[k],
            "share": share[k],
        }
        for k, (name, (missing, unseen)) in enumerate(zip(fields, kinds, strict=True))
    ]


def _pairs(explanation: Explanation, row: int, fields: Sequence[str]) -> list[dict[str, Any]]:
    fm, fie = explanation.fm[row].tolist(), explanation.fie[row].tolist()
    return [
        {"fields": [fields[i], fields[j]], "contribution": fm[i][j] + fie[i][j], "fm": fm[i][j], "fie": fie[i][j]}
        for i in range(len(fields))
        for j in range(i + 1, len(fields))
    ]
