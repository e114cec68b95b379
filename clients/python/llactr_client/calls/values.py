"""The calls of a version's overlay: values that appeared after training."""

from collections.abc import Mapping, Sequence

from llactr_client import parsing
from llactr_client.call import JSON, Call, Reply, asked, encode, path
from llactr_client.ctr_results import AddedValues, FieldValues, LaterValue, LaterValues
from llactr_client.parsing import Content


def add_values(model: str, values: Mapping[str, Sequence[object]], *, version: str = "champion") -> Call[AddedValues]:
    """Let a version know values without training it again: the LLM service reads their texts.

    What it knows is left as it is, so the call may be sent twice.
    """
    body = encode({"version": version, "values": {name: list(some) for name, some in values.items()}})
    return Call("ctr", "POST", _path(model), _added, body, JSON)


def later_values(model: str, *, version: str = "champion", limit: int = 100, after: int = 0) -> Call[LaterValues]:
    """The values that were added to a version, in the order in which they were; `after` is the last number known."""
    params = asked({"version": version, "limit": limit, "after": after})
    return Call("ctr", "GET", _path(model), _listed, params=params)


def drop_values(model: str, *, version: str = "champion") -> Call[int]:
    """Forget the values that were added to a version; how many there were."""
    params = asked({"version": version})
    return Call("ctr", "DELETE", _path(model), lambda reply: parsing.whole(reply.object(), "dropped"), params=params)


def _path(model: str) -> str:
    return path("v1", "admin", "models", model, "values")


def _added(reply: Reply) -> AddedValues:
    content = reply.object()
    outcomes = parsing.mapping(content, "fields")
    fields = {name: _field(parsing.mapping(outcomes, name)) for name in outcomes}
    return AddedValues(
        version=parsing.text(content, "version"),
        overlay=parsing.text(content, "overlay"),
        rows=parsing.whole(content, "rows"),
        fields=fields,
    )


def _field(content: Content) -> FieldValues:
    refused = {value: str(reason) for value, reason in parsing.mapping(content, "refused").items()}
    return FieldValues(parsing.texts(content, "added"), parsing.texts(content, "known"), refused)


def _listed(reply: Reply) -> LaterValues:
    content = reply.object()
    values = tuple(
        LaterValue(
            number=parsing.whole(entry, "number"),
            field=parsing.text(entry, "field"),
            value=parsing.text(entry, "value"),
            source=parsing.text(entry, "source"),
            at=parsing.text(entry, "at"),
        )
        for entry in parsing.objects(content, "values")
    )
    return LaterValues(
        version=parsing.text(content, "version"),
        overlay=parsing.text(content, "overlay"),
        rows=parsing.whole(content, "rows"),
        values=values,
    )
