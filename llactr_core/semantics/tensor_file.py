"""A safetensors file that says what it is: facts in its metadata, with a digest over them."""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from llactr_core.errors import ArtifactError

Tensors = dict[str, npt.NDArray[np.generic]]


def as_json(content: object) -> str:
    """JSON with one form for equal contents."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False)


def pack(kind: str, file_format: str, facts: Mapping[str, str], tensors: Tensors) -> bytes:
    """The file of some tensors and facts; equal contents give equal bytes."""
    known = {"format": file_format, **facts}
    known["digest"] = _digest(known)
    return save(tensors, metadata={kind: as_json(known)})  # one key: safetensors keeps no order of several


def unpack(kind: str, file_format: str, content: bytes) -> tuple[dict[str, str], Tensors]:
    """(facts, tensors) of what `pack` made.

    Raises:
        ArtifactError: truncated, corrupted, or of another format.
    """
    name = kind.replace("_", " ")
    try:
        facts = _facts(kind, content)
        tensors = load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactError(f"this is no {name}, or a damaged one: {error}") from error
    if facts.get("format") != file_format:
        raise ArtifactError(f"this is no {name}: format {facts.get('format')!r}, expected {file_format!r}")
    digest = facts.pop("digest", None)
    if digest != _digest(facts):
        raise ArtifactError(f"the {name} is damaged: its digest does not fit its content; build it again")
    return facts, tensors


def _digest(facts: Mapping[str, str]) -> str:
    """Over all facts; the tensors are in it where the facts hold their digest."""
    return hashlib.sha256(as_json(dict(facts)).encode()).hexdigest()


def _facts(kind: str, content: bytes) -> dict[str, str]:
    """The facts in the header of a safetensors file: 8 bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return dict(json.loads(header.get("__metadata__", {}).get(kind, "{}")))
