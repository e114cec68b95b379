"""Graphs from elsewhere: what they say of other files is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from llactr_core.session import open_session


def graph_with(location: str | None) -> bytes:
    """A graph that gives back its one weight, which lies in a file where a location is given."""
    weight = numpy_helper.from_array(np.arange(16, dtype=np.uint8), "weight")
    if location is not None:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
        weight.external_data.add(key="length", value="16")
    out = helper.make_tensor_value_info("out", TensorProto.UINT8, [16])
    graph = helper.make_graph([helper.make_node("Identity", ["weight"], ["out"])], "g", [], [out], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return bytes(onnx.ModelProto.SerializeToString(model))


def test_a_graph_with_its_weights_runs() -> None:
    (out,) = open_session(graph_with(None)).run(None, {})
    assert out.tolist() == list(range(16))


@pytest.mark.parametrize("form", ["{name}", "./{name}", "{folder}/{name}", "../{parent}/{name}"])
def test_a_graph_cannot_read_a_file(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "admin.key").write_bytes(b"llactr_secretkey")
    monkeypatch.chdir(tmp_path)
    location = form.format(name="admin.key", folder=tmp_path, parent=tmp_path.name)
    with pytest.raises(Exception, match=r"(?i)external|path|load"):
        open_session(graph_with(location)).run(None, {})
