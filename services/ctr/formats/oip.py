"""Requests and answers of the Open Inference Protocol, version 2, and of its extension for binary tensor data.

https://github.com/kserve/open-inference-protocol; the extension is that of NVIDIA Triton, which its clients use unless
they are told not to: the JSON is followed by the tensors' bytes, and a header tells where it ends.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from llactr_core.data.values.json_rows import JsonReader
from llactr_core.errors import InputError, LlactrError, MalformedError
from llactr_core.schema import Schema
from services.ctr.formats.arrow import check_rows
from services.ctr.formats.decoding import Batch, Scalar, check_values
from services.ctr.formats.tensors import (
    check_datatype,
    datatype_of,
    row_count,
    values_of_bytes,
    values_of_json,
)
from services.ctr.serving.hooks import Scored

HEADER = "Inference-Header-Content-Length"
OCTETS = "application/octet-stream"
OUTPUT, OUTPUT_TYPE = "score", "FP32"
PLATFORM = "llactr_onnx"
EXTENSIONS = ("binary_tensor_data",)
MOST_INPUTS = 4096


class Input(msgspec.Struct):
    """A tensor of a request; with binary data, `parameters` hold binary_data_size instead."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class Output(msgspec.Struct):
    """A tensor that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(msgspec.Struct):
    """The JSON part of a request; members that the protocol does not know are ignored."""

    inputs: list[Input]
    id: str | None = None
    outputs: list[Output] | None = None
    parameters: dict[str, Any] | None = None

    @property
    def routing_key(self) -> str | None:
        """What an experiment tells callers apart by: the parameter routing_key."""
        key = (self.parameters or {}).get("routing_key")
        return None if key is None else str(key)[:1000]

    @property
    def wants_binary(self) -> bool:
        """Whether the scores are asked for as bytes."""
        if self.outputs:
            return any((output.parameters or {}).get("binary_data") is True for output in self.outputs)
        return (self.parameters or {}).get("binary_data_output") is True


_REQUEST = msgspec.json.Decoder(InferRequest)
_ENCODER = msgspec.json.Encoder()


class InferBody:
    """A body that is read when `decode` is called; `request` is its JSON part from then on."""

    def __init__(self, body: bytes, header_length: str | None, max_rows: int) -> None:
        self._body = body
        self._header_length = header_length
        self._max_rows = max_rows
        self.request = InferRequest([])

    def decode(self, _reader: JsonReader | None = None) -> Batch:
        """The columns of the request.

        Raises:
            MalformedError: the body cannot be parsed.
            InputError: it can, but is not what the protocol allows; names the tensor, and the row if one is to blame.
            TooLargeError: more rows or values than allowed.
        """
        end = _json_end(self._body, self._header_length)
        head = self._body if end == len(self._body) else self._body[:end]
        check_values(head, self._max_rows)
        try:
            self.request = _REQUEST.decode(head)
        except msgspec.ValidationError as error:
            raise InputError(f"the request is not one of the Open Inference Protocol: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedError(f"the body cannot be parsed as JSON: {error}") from error
        _check_outputs(self.request.outputs)
        rows = self._rows()
        check_rows(rows, self._max_rows)
        return Batch(self._columns(end, rows), rows, self.request.routing_key)

    def _rows(self) -> int:
        """B, the same for every tensor."""
        inputs = self.request.inputs
        if not 0 < len(inputs) <= MOST_INPUTS:
            raise InputError(
                f"the request has {len(inputs)} inputs; give one tensor per field, at most {MOST_INPUTS:,}"
            )
        names = [tensor.name for tensor in inputs]
        if len(set(names)) != len(names):
            raise InputError("two inputs have the same name; give one tensor per field", field="inputs")
        first, *others = inputs
        rows = row_count(first.name, first.shape)
        for tensor in others:
            if row_count(tensor.name, tensor.shape) != rows:
                raise InputError(
                    f"input {tensor.name!r} has {tensor.shape[0]} rows and {first.name!r} has {rows}; give as many",
                    field=tensor.name,
                )
        return rows

    def _columns(self, end: int, rows: int) -> dict[str, list[Scalar]]:
        """The values of every tensor; bytes follow the JSON in the order of the tensors that have them."""
        columns: dict[str, list[Scalar]] = {}
        place = end
        for tensor in self.request.inputs:
            check_datatype(tensor.name, tensor.datatype)
            size = _binary_size(tensor)
            if size is None:
                columns[tensor.name] = values_of_json(tensor.name, tensor.datatype, tensor.data or (), rows)
                continue
            if place + size > len(self._body):
                raise InputError(f"input {tensor.name!r}: its binary data end beyond the body", field=tensor.name)
            data = self._body[place : place + size]
            columns[tensor.name] = values_of_bytes(tensor.name, tensor.datatype, data, rows)
            place += size
        if place != len(self._body):
            raise InputError(f"the body goes on for {len(self._body) - place} bytes behind the data of all inputs")
        return columns


def encode_infer(request: InferRequest, scored: Scored) -> tuple[bytes, int | None]:
    """The body of an answer, and where its JSON ends if bytes follow."""
    output: dict[str, Any] = {"name": OUTPUT, "datatype": OUTPUT_TYPE, "shape": [len(scored.scores)]}
    about = {"request_id": scored.request_id, **({} if scored.arm is None else {"arm": scored.arm})}
    content: dict[str, Any] = {
        "model_name": scored.loaded.name,
        "model_version": scored.loaded.version,
        **({} if request.id is None else {"id": request.id}),
        "parameters": about,
        "outputs": [output],
    }
    if not request.wants_binary:
        output["data"] = scored.scores.tolist()
        return _ENCODER.encode(content), None
    data = scored.scores.astype(np.dtype("<f4")).tobytes()
    output["parameters"] = {"binary_data_size": len(data)}
    head = _ENCODER.encode(content)
    return head + data, len(head)


def metadata_of(name: str, schema: Schema, versions: Sequence[str]) -> dict[str, Any]:
    """What the protocol tells of a model: one input per column, all of B rows."""
    inputs = [{"name": c, "datatype": datatype_of(schema, c), "shape": [-1]} for c in schema.columns]
    return {
        "name": name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": inputs,
        "outputs": [{"name": OUTPUT, "datatype": OUTPUT_TYPE, "shape": [-1]}],
    }


def _json_end(body: bytes, given: str | None) -> int:
    """How many bytes of the body are JSON: all, where the header does not say less."""
    if given is None:
        return len(body)
    if given.isascii() and given.isdigit() and len(given) <= 12 and int(given) <= len(body):
        return int(given)
    raise MalformedError(
        f"{HEADER} is {given[:40]!r}; give the bytes of JSON at the start of the body, which has {len(body)}"
    )


def _binary_size(tensor: Input) -> int | None:
    """The bytes that belong to a tensor; None where its data are JSON."""
    parameters = tensor.parameters or {}
    if "shared_memory_region" in parameters:
        raise _refused(tensor, "shared memory is not read here; send the data with the request")
    size = parameters.get("binary_data_size")
    if size is None:
        if tensor.data is None:
            raise _refused(tensor, "it has no data; give data, or binary_data_size and bytes behind the JSON")
        return None
    if tensor.data is not None:
        raise _refused(tensor, "it has both data and binary_data_size; give one of them")
    if type(size) is not int or size < 0:
        raise _refused(tensor, "binary_data_size has to be a number of bytes")
    return size


def _refused(tensor: Input, reason: str) -> LlactrError:
    return InputError(f"input {tensor.name!r}: {reason}", field=tensor.name)


def _check_outputs(outputs: Sequence[Output] | None) -> None:
    for output in outputs or ():
        if output.name != OUTPUT:
            raise InputError(f"there is no output {output.name[:50]!r}; ask for {OUTPUT!r}", field="outputs")
        asked = output.parameters or {}
        if asked.get("classification") or "shared_memory_region" in asked:
            raise InputError("classification and shared memory are not offered; leave them out", field="outputs")
