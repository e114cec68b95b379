"""Scores to answers: which form the caller accepts, and JSON, NDJSON or Arrow bytes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from starlette.exceptions import HTTPException

from services.ctr.formats.decoding import ARROW, JSON, NDJSON

OFFERED = (JSON, NDJSON, ARROW)
QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)
REPORTS = ("missing", "unseen", "extra", "absent")
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True)
class RowDetail:
    """What one row lacked, held that the model has never seen, held beyond the schema, and named in vain.

    `absent` are the entities that the online store does not have ("user_id=17").
    """

    missing: Sequence[str]
    unseen: Sequence[str]
    extra: Sequence[str]
    absent: Sequence[str] = ()


@dataclass(frozen=True)
class Answer:
    """What every form of an answer is made of.

    `scores` are float64 [B]; `overlay` is the digest of the rows that the version has beyond its bundle, if any.
    """

    model: str
    version: str
    arm: str | None
    request_id: str
    scores: npt.NDArray[np.float64]
    details: Sequence[RowDetail] | None = None
    overlay: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The names that the forms without room for them carry as headers."""
        named = {"X-Model": self.model, "X-Model-Version": self.version}
        if self.overlay is not None:
            named["X-Model-Overlay"] = self.overlay
        return named if self.arm is None else {**named, "X-Arm": self.arm}


def accepted(accept: str | None) -> str:
    """The media type to answer in: the one that an Accept header likes best, JSON where it does not mind.

    The most specific range that matches a type decides on it; of types liked equally, one that is named comes before
    one that a wildcard covers.

    Raises:
        HTTPException: 406, none of `OFFERED` is accepted.
    """
    if accept is None or accept in ("*/*", JSON, ""):
        return JSON
    ranges = _ranges(accept)
    liked = [(*_liking(media, ranges), -place, media) for place, media in enumerate(OFFERED)]
    quality, _, _, media = max(liked)
    if quality <= 0:
        raise HTTPException(406, f"Accept {accept[:200]!r} leaves nothing to answer with; accept {', '.join(OFFERED)}")
    return media


def _ranges(accept: str) -> dict[str, float]:
    """Quality by media range; one that is no number from 0 to 1 counts as 0."""
    ranges = {}
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        ranges[media] = float(quality) if QUALITY.fullmatch(quality) else 0.0
    return ranges


def _liking(media: str, ranges: Mapping[str, float]) -> tuple[float, int]:
    """(quality, how specific the range is) of a media type."""
    for specific, name in ((2, media), (1, f"{media.partition('/')[0]}/*"), (0, "*/*")):
        if name in ranges:
            return ranges[name], specific
    return 0.0, 0


def encode(answer: Answer, media: str) -> bytes:
    """The body of an answer in one of the types of `OFFERED`."""
    if media == JSON:
        return _encode_json(answer)
    if media == NDJSON:
        return _encode_lines(answer)
    return _encode_arrow(answer)


def _encode_json(answer: Answer) -> bytes:
    model = {"name": answer.model, "version": answer.version}
    if answer.overlay is not None:
        model["overlay"] = answer.overlay
    content: dict[str, object] = {
        "scores": answer.scores.tolist(),
        "model": model,
        "request_id": answer.request_id,
    }
    if answer.arm is not None:
        content["arm"] = answer.arm
    if answer.details is not None:
        content["details"] = answer.details
    return _ENCODER.encode(content)


def _encode_lines(answer: Answer) -> bytes:
    lines: list[dict[str, object]] = [{"score": score} for score in answer.scores.tolist()]
    for line, detail in zip(lines, answer.details or (), strict=False):
        line.update({name: getattr(detail, name) for name in REPORTS})
    return _ENCODER.encode_lines(lines)


def _encode_arrow(answer: Answer) -> bytes:
    columns: dict[str, pa.Array] = {"score": pa.array(answer.scores, pa.float64())}
    if answer.details is not None:
        names = pa.list_(pa.string())
        columns |= {n: pa.array([list(getattr(d, n)) for d in answer.details], names) for n in REPORTS}
    about = {"model": answer.model, "version": answer.version, "request_id": answer.request_id}
    if answer.arm is not None:
        about["arm"] = answer.arm
    if answer.overlay is not None:
        about["overlay"] = answer.overlay
    table = pa.table(columns).replace_schema_metadata(about)
    sink = BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
