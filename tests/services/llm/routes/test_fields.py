"""Field tables over HTTP: three formats with the same bits, ETag, versions, aliases, similarity."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llactr_core.semantics.table import FieldTable
from services.llm.tables.formats import ARROW, JSON, SAFETENSORS


@pytest.fixture(scope="module")
def versions(house: Any) -> list[str]:
    """Two tables of the schema `shared`, the newer one is current."""
    return [house.published("shared", ssft={"skip": True, "seed": seed}) for seed in (1, 2)]


def get(house: Any, path: str, **headers: str) -> Any:
    return house.anyone.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_all_formats_carry_the_same_bits(house: Any, versions: list[str]) -> None:
    path = f"/v1/fields/shared/versions/{versions[1]}"
    answers = {media: get(house, path, Accept=media) for media in (JSON, ARROW, SAFETENSORS)}
    assert {media: one.headers["content-type"] for media, one in answers.items()} == {m: m for m in answers}
    content = answers[JSON].json()
    from_json = np.array(content["vectors"], dtype=np.float32)
    rows = pa.ipc.open_stream(answers[ARROW].content).read_all()
    from_arrow = np.stack(rows["vector"].to_numpy())
    table = FieldTable.from_bytes(answers[SAFETENSORS].content)
    assert from_json.tobytes() == from_arrow.tobytes() == table.vectors.tobytes()
    assert from_json.shape == (3, 32)
    assert content["fields"] == rows["field"].to_pylist() == list(table.fields) == ["user_gender", "movie_genre", "zip"]
    assert content["version"] == rows.schema.metadata[b"version"].decode() == table.version == versions[1]
    assert content["recipe"] == table.recipe
    assert content["model"] == "tiny"
    assert content["provenance"]["options"]["seed"] == 2
    assert FieldTable.from_json(content) == table


def test_the_file_on_the_disk_is_what_is_served(house: Any, versions: list[str]) -> None:
    folder = house.home / "llm" / "artifacts" / "tables"  # schemas with the same version have files of their own
    files = {hashlib.sha256(file.read_bytes()).hexdigest(): file.name for file in folder.glob(f"{versions[0]}.*")}
    served = get(house, f"/v1/fields/shared/versions/{versions[0]}", Accept=SAFETENSORS).content
    digest = hashlib.sha256(served).hexdigest()
    assert files[digest] == f"{versions[0]}.{digest}.safetensors"


@pytest.mark.parametrize("media", [JSON, ARROW, SAFETENSORS])
def test_an_etag_spares_the_content(house: Any, versions: list[str], media: str) -> None:
    full = get(house, "/v1/fields/shared", Accept=media)
    tag = full.headers["etag"]
    end = {JSON: "", ARROW: ".arrow", SAFETENSORS: ".safetensors"}[media]
    assert tag == f'"{versions[1]}{end}"'
    assert full.headers["vary"] == "Accept"
    for header in (tag, f'W/{tag}, "other"', "*"):
        same = get(house, "/v1/fields/shared", Accept=media, If_None_Match=header)
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    others = [f'"{versions[1]}{other}"' for other in ("", ".arrow", ".safetensors") if other != end]
    for unknown in ('"other"', versions[1] + end, ", ".join(others)):
        assert get(house, "/v1/fields/shared", Accept=media, If_None_Match=unknown).status_code == 200
    assert get(house, "/v1/fields/shared/versions/previous", If_None_Match=tag).status_code == 200


def test_a_format_that_is_not_there_is_406(house: Any, versions: list[str]) -> None:
    answer = get(house, "/v1/fields/shared", Accept="image/png")
    assert (answer.status_code, answer.json()["code"]) == (406, "not-acceptable")
    assert SAFETENSORS in answer.json()["detail"]


def test_aliases_move_and_roll_back(house: Any, versions: list[str]) -> None:
    old, new = versions
    path = "/v1/fields/shared/aliases/current"
    assert get(house, "/v1/fields/shared").json()["version"] == new
    back = house.admin.put(path, json={"version": "previous"})
    assert back.status_code == 200
    assert back.json() == {"schema": "shared", "alias": "current", "version": old, "previous": new}
    assert get(house, "/v1/fields/shared").json()["version"] == old
    assert get(house, "/v1/fields/shared/versions/previous").json()["version"] == new
    assert house.admin.put(path, json={"version": old}).json()["previous"] == old
    assert get(house, "/v1/fields/shared/versions/previous").json()["version"] == new
    assert house.admin.put(path, json={"version": new}).json()["previous"] == old
    named = house.admin.put("/v1/fields/shared/aliases/night", json={"version": old}).json()
    assert (named["version"], named["previous"]) == (old, None)
    aliases = {one["version"]: one["aliases"] for one in get(house, "/v1/fields/shared/versions").json()["versions"]}
    assert aliases == {new: ["current"], old: ["night", "previous"]}
    gone = house.admin.delete("/v1/fields/shared/aliases/night")
    assert (gone.status_code, gone.json()) == (200, {"schema": "shared", "alias": "night", "previous": old})
    assert get(house, "/v1/fields/shared/versions/night").status_code == 404
    assert house.admin.delete("/v1/fields/shared/aliases/night").status_code == 404
    for kept in ("current", "previous"):
        assert house.admin.delete(f"/v1/fields/shared/aliases/{kept}").status_code == 409


@pytest.mark.parametrize(
    ("alias", "body", "status"),
    [
        ("current", {"version": "0" * 64}, 404),
        ("current", {"version": "unknown"}, 404),
        ("current", {}, 422),
        ("current", {"version": "previous", "force": True}, 422),
        ("UPPER", {"version": "previous"}, 422),
        ("a" * 64, {"version": "previous"}, 422),
    ],
)
def test_aliases_that_cannot_move(
    house: Any, versions: list[str], alias: str, body: dict[str, object], status: int
) -> None:
    answer = house.admin.put(f"/v1/fields/shared/aliases/{alias}", json=body)
    assert answer.status_code == status
    assert get(house, "/v1/fields/shared").json()["version"] == versions[1]


def test_similarity_is_cosines(house: Any, versions: list[str]) -> None:
    content = get(house, "/v1/fields/shared").json()
    answer = get(house, "/v1/fields/shared/similarity").json()
    vectors = np.array(content["vectors"], dtype=np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(answer["similarity"], unit @ unit.T, atol=1e-6)
    assert (answer["fields"], answer["version"]) == (content["fields"], content["version"])
    old = get(house, f"/v1/fields/shared/similarity?version={versions[0]}").json()
    assert old["version"] == versions[0]


@pytest.mark.parametrize(
    "path", ["/v1/fields/none", "/v1/fields/none/versions", "/v1/fields/shared/versions/nothing", "/v1/fields/fresh"]
)
def test_what_is_not_there_is_404(house: Any, versions: list[str], path: str) -> None:
    house.register("fresh")
    answer = get(house, path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_a_schema_without_tables_lists_none(house: Any) -> None:
    house.register("fresh")
    assert get(house, "/v1/fields/fresh/versions").json() == {"versions": []}
