"""Reading the parts of an answer with their types; a part that is not there reads as empty."""

import math
from collections.abc import Mapping

from llactr_client.call import Reply, Service
from llactr_client.errors import ApiError
from llactr_client.results import Alias, Job

Content = Mapping[str, object]


def text(content: Content, key: str) -> str:
    """The string under the key, "" where there is none."""
    value = content.get(key)
    return "" if value is None else str(value)


def number(content: Content, key: str) -> float | None:
    """The number under the key, None where there is none."""
    value = content.get(key)
    return float(value) if isinstance(value, int | float) else None


def whole(content: Content, key: str) -> int:
    """The whole number under the key, 0 where there is none."""
    return int(number(content, key) or 0)


def real(content: Content, key: str) -> float:
    """The number under the key, NaN where there is none."""
    value = number(content, key)
    return math.nan if value is None else value


def mapping(content: Content, key: str) -> Content:
    """The object under the key, {} where there is none."""
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def objects(content: Content, key: str) -> tuple[Content, ...]:
    """The objects in the list under the key."""
    return tuple(entry for entry in _list(content, key) if isinstance(entry, dict))


def texts(content: Content, key: str) -> tuple[str, ...]:
    """The list under the key as strings; an object in it stands for its "version" or "name"."""
    return tuple(
        str(entry.get("version") or entry.get("name")) if isinstance(entry, dict) else str(entry)
        for entry in _list(content, key)
    )


def numbers(content: Content, key: str) -> tuple[float, ...]:
    """The list of numbers under the key.

    Raises:
        ApiError: it is no list of numbers.
    """
    return _row(_list(content, key), key)


def matrix(content: Content, key: str) -> tuple[tuple[float, ...], ...]:
    """The list of lists of numbers under the key.

    Raises:
        ApiError: it is something else.
    """
    return tuple(_row(row, key) for row in _list(content, key))


def job_of(service: Service, content: Content) -> Job:
    """The job that an answer describes.

    Raises:
        ApiError: it has no id, so it is no job.
    """
    if "id" not in content:
        raise ApiError(200, "unexpected-answer", f"expected a job, got an object with {sorted(content)}")
    return Job(
        service=service,
        id=text(content, "id"),
        state=text(content, "state"),
        kind=text(content, "kind"),
        stage=text(content, "stage"),
        progress=number(content, "progress") or 0.0,
        step=None if (step := number(content, "step")) is None else int(step),
        loss=number(content, "loss"),
        eta_s=number(content, "eta_s"),
        created_at=text(content, "created_at"),
        result=mapping(content, "result") or None,
        error=mapping(content, "error") or None,
    )


def submitted(service: Service, reply: Reply) -> Job:
    """The job of an answer {"job": {...}}, or of one that is the job itself."""
    content = reply.object()
    return job_of(service, mapping(content, "job") or content)


def alias_of(reply: Reply) -> Alias:
    """Read the answer to the move of an alias."""
    content = reply.object()
    previous = text(content, "previous") or None
    return Alias(text(content, "alias"), text(content, "version"), previous, content)


def _list(content: Content, key: str) -> list[object]:
    value = content.get(key)
    return value if isinstance(value, list) else []


def _row(row: object, key: str) -> tuple[float, ...]:
    if not isinstance(row, list) or not all(isinstance(value, int | float) for value in row):
        raise ApiError(200, "unexpected-answer", f"expected numbers under {key!r}")
    return tuple(float(value) for value in row)
