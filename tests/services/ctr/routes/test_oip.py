"""The Open Inference Protocol: by hand, against its schemas, and with NVIDIA's public client over real HTTP."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ctr_house import CtrHouse
from jsonschema_rs import validator_for

from llactr_core.bundle import Bundle
from llactr_core.data.splits import open_dataset
from llactr_core.progress import silent
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings

ROWS: list[dict[str, Any]] = [
    {"job": "student", "age": 22, "tags": "a|b", "city": "c1"},
    {"job": "retired", "age": 70.5, "tags": "c|a", "city": "c2"},
    {"job": "astronaut", "age": 41.0, "tags": "", "city": "c3"},
]
INFER = "/v2/models/tiny/infer"
# What open_inference_rest.yaml of github.com/kserve/open-inference-protocol demands of answers, in its names.
_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
    },
}
PROTOCOL: dict[str, dict[str, Any]] = {
    "metadata_server_response": {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": {"type": "string"},
            "version": {"type": "string"},
            "extensions": {"type": "array", "items": {"type": "string"}},
        },
    },
    "metadata_model_response": {
        "type": "object",
        "required": ["name", "platform"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            "inputs": {"type": "array", "items": _TENSOR},
            "outputs": {"type": "array", "items": _TENSOR},
        },
    },
    "inference_response": {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": {
                "type": "array",
                "items": {
                    **_TENSOR,
                    "required": ["name", "shape", "datatype", "data"],
                    "properties": {
                        **_TENSOR["properties"],  # type: ignore[dict-item]
                        "parameters": {"type": "object"},
                        "data": {"type": "array", "items": {"type": ["number", "string", "boolean", "array"]}},
                    },
                },
            },
        },
    },
    "inference_error_response": {"type": "object", "properties": {"error": {"type": "string"}}},
}


def holds(name: str, content: Any) -> None:
    validator_for(PROTOCOL[name]).validate(content)


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def inputs(rows: list[dict[str, Any]] = ROWS) -> list[dict[str, Any]]:
    return [
        tensor("job", "BYTES", [row["job"] for row in rows]),
        tensor("age", "FP64", [row["age"] for row in rows]),
        tensor("tags", "BYTES", [row["tags"] for row in rows]),
        tensor("city", "BYTES", [row["city"] for row in rows]),
    ]


def expected(service: Any, name: str = "llactr", rows: list[dict[str, Any]] = ROWS) -> np.ndarray[Any, Any]:
    scores: np.ndarray[Any, Any] = service.scorers[name].score(rows)
    return scores


def scores_of(answer: Any) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    holds("inference_response", answer.json())
    (output,) = answer.json()["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("score", "FP32", [len(output["data"])])
    return np.array(output["data"])


@pytest.fixture
def decimals(scoring: Any, tiny: Any, settings: CtrSettings, registry: Registry, tmp_path: Path) -> str:
    """A model whose cities are decimals; its version."""
    folder = tiny.write_dataset(tmp_path / "decimals")
    for file in folder.iterdir():
        table = pq.read_table(file)
        cities = [0.1 if job == "student" else 0.7 for job in table["job"].to_pylist()]
        pq.write_table(table.set_column(table.schema.get_field_index("city"), "city", pa.array(cities)), file)
    options = TrainOptions.parse({**tiny.options, "backbone": "fm", "enhancer": "none"})
    splits = open_dataset(folder, "click")
    made = train_bundle(splits, tiny.schema, Semantics(), options, tmp_path / "made", tmp_path / "ck", silent)
    made.path.rename(settings.bundles / made.version)
    registry.register("decimals", made.version, tiny.lineage_of(made), made.metrics)
    return str(made.version)


@pytest.mark.parametrize(("datatype", "kind"), [("FP16", "<f2"), ("FP32", "<f4"), ("FP64", "<f8")])
def test_narrow_floats_are_the_decimals_that_they_stand_for(
    scoring: Any, decimals: str, datatype: str, kind: str
) -> None:
    numbers = np.array([0.1, 0.7, np.nan], kind)
    row = scoring.client.post(
        f"/v1/score?model=decimals:{decimals}", json={"rows": [{"city": "0.1"}, {"city": "0.7"}, {}, {"city": "9"}]}
    )
    *expected, unseen = row.json()["scores"]
    assert min(abs(unseen - score) for score in expected[:2]) > 1e-3
    head = {"name": "city", "shape": [3], "datatype": datatype}
    json_tensor = {**head, "data": [*numbers[:2].tolist(), None]}  # a float32 as Python writes it: 0.10000000149011612
    path = f"/v2/models/decimals/versions/{decimals}/infer"
    np.testing.assert_allclose(
        scores_of(scoring.client.post(path, json={"inputs": [json_tensor]})), expected, rtol=0, atol=1e-9
    )
    text = json.dumps({"inputs": [{**head, "parameters": {"binary_data_size": numbers.nbytes}}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    answer = scoring.client.post(path, content=text + numbers.tobytes(), headers=headers)
    np.testing.assert_allclose(scores_of(answer), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("datatype", "value"), [("FP16", 70_000), ("FP32", -1e300)])
def test_a_number_beyond_the_range_of_its_type_is_422(scoring: Any, datatype: str, value: float) -> None:
    answer = scoring.client.post(INFER, json={"inputs": [tensor("age", datatype, [1, None, value])]})
    assert (answer.status_code, answer.json()["row"], answer.json()["field"]) == (422, 2, "age")


def test_tensors_score_as_rows_do(scoring: Any) -> None:
    answer = scoring.client.post(INFER, json={"id": "42", "inputs": inputs(), "outputs": [{"name": "score"}]})
    np.testing.assert_allclose(scores_of(answer), expected(scoring), rtol=0, atol=1e-6)
    content = answer.json()
    assert (content["id"], content["model_name"]) == ("42", "tiny")
    assert content["model_version"] == scoring.scorers["llactr"].version
    assert content["parameters"]["request_id"] == answer.headers["x-request-id"]
    column = [{**one, "shape": [3, 1], "data": [[value] for value in one["data"]]} for one in inputs()]
    np.testing.assert_allclose(
        scores_of(scoring.client.post(INFER, json={"inputs": column})), expected(scoring), atol=1e-6
    )
    flat = [{**one, "shape": [3, 1]} for one in inputs()]
    np.testing.assert_allclose(
        scores_of(scoring.client.post(INFER, json={"inputs": flat})), expected(scoring), atol=1e-6
    )


def test_missing_extra_and_null_are_as_in_rows(scoring: Any) -> None:
    given = [tensor("age", "INT32", [22, 70]), tensor("colour", "BYTES", ["red", "blue"])]
    wanted = expected(scoring, rows=[{"age": 22}, {"age": 70}])
    np.testing.assert_allclose(scores_of(scoring.client.post(INFER, json={"inputs": given})), wanted, atol=1e-6)
    given = [tensor("job", "BYTES", ["", None]), tensor("city", "BOOL", [True, False])]
    wanted = expected(scoring, rows=[{"city": "true"}, {"city": "false"}])
    np.testing.assert_allclose(scores_of(scoring.client.post(INFER, json={"inputs": given})), wanted, atol=1e-6)
    assert scores_of(scoring.client.post(INFER, json={"inputs": [tensor("job", "BYTES", [])]})).tolist() == []


def test_versions_and_aliases(scoring: Any, publish: Callable[..., str]) -> None:
    version = publish("none")
    for path, name in (
        (f"/v2/models/tiny/versions/{version}/infer", "none"),
        (f"/v2/models/tiny:{version}/infer", "none"),
        ("/v2/models/tiny@champion/infer", "llactr"),
    ):
        answer = scoring.client.post(path, json={"inputs": inputs()})
        np.testing.assert_allclose(scores_of(answer), expected(scoring, name), rtol=0, atol=1e-6)
    for path, status in (
        ("/v2/models/nobody/infer", 404),
        ("/v2/models/tiny/versions/nothing/infer", 404),
        ("/v2/models/tiny@nothing/infer", 404),
        (f"/v2/models/tiny@champion/versions/{version}/infer", 422),
    ):
        answer = scoring.client.post(path, json={"inputs": inputs()})
        assert answer.status_code == status, path
        assert answer.json()["error"] == answer.json()["detail"]


def test_metadata_and_health_are_what_the_protocol_says(scoring: Any, publish: Callable[..., str]) -> None:
    version = scoring.scorers["llactr"].version
    assert scoring.client.get("/v2/health/live").json() == {"live": True}
    assert scoring.client.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2", "/v2/"):
        holds("metadata_server_response", scoring.client.get(path).json())
    for path in ("/v2/models/tiny", f"/v2/models/tiny/versions/{version}"):
        metadata = scoring.client.get(path).json()
        holds("metadata_model_response", metadata)
        assert metadata["versions"] == [version]
        assert {(one["name"], one["datatype"]) for one in metadata["inputs"]} == {
            ("job", "BYTES"),
            ("age", "FP64"),
            ("tags", "BYTES"),
            ("city", "BYTES"),
        }
        assert metadata["outputs"] == [{"name": "score", "datatype": "FP32", "shape": [-1]}]
        assert scoring.client.get(f"{path}/ready").json() == {"name": "tiny", "ready": True}
    assert scoring.client.get("/v2/models/nobody/ready").status_code == 404
    assert scoring.client.get("/v2/models/tiny/versions/nothing").status_code == 404


def test_without_a_champion_it_lives_and_is_not_ready(service: Any) -> None:
    assert service.client.get("/v2/health/live").status_code == 200
    answer = service.client.get("/v2/health/ready")
    assert answer.status_code == 503
    assert answer.json()["error"]
    assert service.client.post(INFER, json={"inputs": inputs()}).status_code in (404, 409)


def changed(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**tensor("job", "BYTES", ["a", "b"]), **changes}]}


BAD: dict[str, Any] = {
    "no inputs": {"inputs": []},
    "no list": {"inputs": 3},
    "no request": [],
    "too few values": changed(shape=[3]),
    "too many values": changed(shape=[1]),
    "negative rows": changed(shape=[-1]),
    "no shape": changed(shape=[]),
    "two values a row": changed(shape=[1, 2]),
    "three dimensions": changed(shape=[2, 1, 1]),
    "a huge shape": changed(shape=[2**62]),
    "a shape of texts": changed(shape=["2"]),
    "an unknown type": changed(datatype="BF16"),
    "a number as text": changed(data=["a", 3]),
    "a text as number": changed(datatype="INT8"),
    "beyond the type": changed(datatype="INT8", data=[1, 128]),
    "a negative unsigned": changed(datatype="UINT64", data=[1, -1]),
    "a fraction as integer": changed(datatype="INT64", data=[1, 1.5]),
    "a boolean as number": changed(datatype="FP32", data=[1, True]),
    "nested too deeply": changed(shape=[2, 1], data=[["a"], [["b"]]]),
    "an object": changed(data=["a", {"b": 1}]),
    "no data": changed(data=None),
    "shared memory": changed(data=None, parameters={"shared_memory_region": "r"}),
    "data twice": changed(parameters={"binary_data_size": 4}),
    "bytes that are not there": changed(data=None, parameters={"binary_data_size": 4}),
    "bytes of a strange size": changed(data=None, parameters={"binary_data_size": True}),
    "a name twice": {"inputs": [tensor("job", "BYTES", ["a"]), tensor("job", "BYTES", ["a"])]},
    "other rows": {"inputs": [tensor("job", "BYTES", ["a"]), tensor("age", "FP32", [1, 2])]},
    "an unknown output": {"inputs": inputs(), "outputs": [{"name": "logit"}]},
    "classes": {"inputs": inputs(), "outputs": [{"name": "score", "parameters": {"classification": 2}}]},
}


def test_bad_requests_are_422_and_say_why(scoring: Any) -> None:
    for name, body in BAD.items():
        answer = scoring.client.post(INFER, json=body)
        assert answer.status_code == (413 if name == "a huge shape" else 422), (name, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        holds("inference_error_response", answer.json())
        assert answer.json()["error"] == answer.json()["detail"]


def test_bad_bodies_and_too_many_rows(scoring: Any) -> None:
    for body in (b"", b"{", b"\xff\xfe", b'{"inputs": ' + b"[" * 100_000, b'{"id": "\\ud800", "inputs": []}'):
        answer = scoring.client.post(INFER, content=body)
        assert answer.status_code in (400, 422), answer.text
        assert answer.json()["error"]
    many = {"inputs": [tensor("age", "INT8", [1] * 20_001)]}
    assert scoring.client.post(INFER, json=many).status_code == 413
    bomb = scoring.client.post(INFER, content=b"x", headers={"content-encoding": "gzip"})
    assert bomb.status_code == 415
    assert bomb.json()["error"]


def binary(
    datatype: str, data: bytes, rows: int = 2, header: str | None = None, tail: bytes = b""
) -> tuple[bytes, dict[str, str]]:
    one = {"name": "job", "shape": [rows], "datatype": datatype, "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [one]}).encode()
    return head + data + tail, {"Inference-Header-Content-Length": header or str(len(head))}


def text(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def test_binary_data_are_read(scoring: Any) -> None:
    for datatype, data, values in (
        ("BYTES", text(b"student") + text(b""), ["student", None]),
        ("BYTES", text("ä".encode()) + text(b"retired"), ["ä", "retired"]),
        ("INT16", np.array([3, -4], "<i2").tobytes(), [3, -4]),
        ("FP32", np.array([0.5, np.nan], "<f4").tobytes(), [0.5, None]),
        ("BOOL", b"\x01\x00", [True, False]),
    ):
        body, headers = binary(datatype, data)
        answer = scoring.client.post(INFER, content=body, headers=headers)
        wanted = expected(scoring, rows=[{"job": value} for value in values])
        np.testing.assert_allclose(scores_of(answer), wanted, rtol=0, atol=1e-6)


def test_bad_binary_data_are_refused(scoring: Any) -> None:
    for (body, headers), status in (
        (binary("BYTES", text(b"a")), 422),
        (binary("BYTES", text(b"a") * 3), 422),
        (binary("BYTES", text(b"a") + b"\x01"), 422),
        (binary("BYTES", text(b"a") + struct.pack("<I", 2**32 - 1)), 422),
        (binary("BYTES", text(b"a") + text(b"\xff")), 422),
        (binary("FP64", b"\x00" * 15), 422),
        (binary("FP64", b"", 2**40), 413),
        (binary("INT8", b"\x00\x00", tail=b"more"), 422),
        (binary("INT8", b"\x00\x00", header="-1"), 400),
        (binary("INT8", b"\x00\x00", header="999999"), 400),
        (binary("INT8", b"\x00\x00", header="5"), 400),
        (binary("INT8", b"\x00\x00", header="²"), 400),
    ):
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = scoring.client.post(INFER, content=body, headers=encoded)
        assert answer.status_code == status, (headers, answer.text)
        assert answer.json()["error"]


def test_a_key_for_another_model_does_not_open_it(scoring: Any) -> None:
    made = scoring.client.post(
        "/v1/admin/keys", json={"name": "other", "role": "reader", "scopes": ["another"]}, headers=scoring.admin
    )
    assert made.status_code == 201, made.text
    key = {"Authorization": f"Bearer {made.json()['key']}"}
    for reference in ("tiny", "tiny@champion", "tiny:nothing"):
        assert scoring.client.get(f"/v2/models/{reference}", headers=key).status_code == 403
        assert scoring.client.get(f"/v2/models/{reference}/ready", headers=key).status_code == 403
        answer = scoring.client.post(f"/v2/models/{reference}/infer", json={"inputs": inputs()}, headers=key)
        assert answer.status_code == 403
        assert answer.json()["error"]


@pytest.fixture
def house(tmp_path: Path, bundles: dict[str, Bundle]) -> Iterator[CtrHouse]:
    house = CtrHouse(tmp_path / "house")
    house.publish(bundles["llactr"], "tiny")
    house.start()
    house.until_ready()
    yield house
    house.stop()


@pytest.mark.filterwarnings("ignore")  # what the client's own imports warn of is not ours
def test_a_public_client_scores_over_http(house: CtrHouse, scorers: dict[str, Any]) -> None:
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException

    version = scorers["llactr"].version
    wanted = scorers["llactr"].score(ROWS)
    with triton.InferenceServerClient(f"127.0.0.1:{house.port}", concurrency=4) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("tiny")
        assert client.is_model_ready("tiny", version)
        assert not client.is_model_ready("nobody")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        metadata = client.get_model_metadata("tiny")
        kinds = {one["name"]: one["datatype"] for one in metadata["inputs"]}

        def asked(is_binary: bool) -> list[Any]:
            made = []
            for name, kind in kinds.items():
                values = np.array([row[name] for row in ROWS], np.float64 if kind == "FP64" else np.object_)
                one = triton.InferInput(name, list(values.shape), kind)
                made.append(one.set_data_from_numpy(values, binary_data=is_binary))
            return made

        for is_binary in (True, False):
            for outputs in (None, [triton.InferRequestedOutput("score", binary_data=is_binary)]):
                for of in ("", version):
                    answer = client.infer("tiny", asked(is_binary), of, outputs, request_id="7")
                    scores = answer.as_numpy("score")
                    assert scores.dtype == np.float32
                    np.testing.assert_allclose(scores, wanted, rtol=0, atol=1e-6)
                    assert answer.get_response()["id"] == "7"
                    assert answer.get_response()["model_version"] == version
        pending = [client.async_infer("tiny", asked(True)) for _ in range(8)]
        for one in pending:
            np.testing.assert_allclose(one.get_result().as_numpy("score"), wanted, rtol=0, atol=1e-6)
        with pytest.raises(InferenceServerException, match="no output 'logit'"):
            client.infer("tiny", asked(True), outputs=[triton.InferRequestedOutput("logit")])
        with pytest.raises(InferenceServerException, match="nobody"):
            client.get_model_metadata("nobody")
