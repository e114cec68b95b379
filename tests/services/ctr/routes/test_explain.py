"""POST /v1/explain on a real bundle."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llactr_core.bundle import EXPLANATION, Bundle, write_bundle
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings

ROWS: list[dict[str, Any]] = [
    {"job": "student", "age": 22, "tags": "a|b", "city": "c1"},
    {"job": "retired", "age": 70.5, "tags": ["c", "a"], "city": "c2"},
    {"job": "astronaut", "age": "no number", "tags": None, "city": ""},
    {},
]
FIELDS = ["job", "age", "tags", "city"]


def explain(service: Any, body: Any, query: str = "", **headers: str) -> Any:
    return service.client.post(f"/v1/explain{query}", json=body, headers=headers)


def test_the_parts_of_every_row_sum_to_its_logit_and_the_probability_is_the_score(scoring: Any) -> None:
    answer = explain(scoring, {"rows": ROWS}, **{"X-Request-Id": "mine-2"})
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert content["request_id"] == "mine-2"
    assert content["model"] == {"name": "tiny", "version": scoring.scorers["llactr"].version}
    scores = scoring.client.post("/v1/score", json={"rows": ROWS}).json()["scores"]
    raw = scoring.client.post("/v1/score?raw=true", json={"rows": ROWS}).json()["scores"]
    for row, score, raw_score in zip(content["rows"], scores, raw, strict=True):
        parts = [part["contribution"] for part in (*row["fields"], *row["pairs"])]
        assert sum(parts) + row["bias"] + row["deep_baseline"] == pytest.approx(row["logit"], abs=1e-5)
        assert sum(f["share"] for f in row["fields"]) + row["bias"] + row["deep_baseline"] == pytest.approx(
            row["logit"]
        )
        assert row["probability"] == pytest.approx(score, abs=1e-6)
        assert row["raw_probability"] == pytest.approx(raw_score, abs=1e-6)
        assert 1 / (1 + np.exp(-row["logit"])) == pytest.approx(raw_score, abs=1e-6)
        assert [f["field"] for f in row["fields"]] == FIELDS
        assert [p["fields"] for p in row["pairs"]] == [[a, b] for i, a in enumerate(FIELDS) for b in FIELDS[i + 1 :]]
        assert all(f["contribution"] == f["first_order"] + f["deep"] for f in row["fields"])
        assert all(p["contribution"] == p["fm"] + p["fie"] for p in row["pairs"])
    first, _, strange, empty = content["rows"]
    assert [f["value"] for f in strange["fields"]] == ["unseen", "unseen", "missing", "missing"]
    assert {f["value"] for f in empty["fields"]} == {"missing"}
    assert {f["value"] for f in first["fields"]} == {"known"}
    assert any(p["fie"] != 0 for p in first["pairs"])
    assert any(p["fm"] != 0 for p in first["pairs"])
    assert any(f["first_order"] != 0 for f in first["fields"])


def test_a_model_without_a_deep_part_is_explained_exactly(scoring: Any) -> None:
    method = explain(scoring, {"rows": ROWS[:1]}).json()["method"]
    assert method["permutations"] == 0
    assert method["approximate"] == {}
    assert {"first_order", "fm", "fie", "deep"} <= set(method["exact"])


def test_columns_and_a_named_version_are_explained_alike(scoring: Any, publish: Callable[..., str]) -> None:
    columns = {name: [row.get(name) for row in ROWS] for name in FIELDS}
    by_rows, by_columns = (explain(scoring, body).json()["rows"] for body in ({"rows": ROWS}, {"columns": columns}))
    for one, other in zip(by_rows, by_columns, strict=True):
        assert one["logit"] == pytest.approx(other["logit"])
    version = publish("none")
    other_rows = explain(scoring, {"rows": ROWS}, f"?model=tiny:{version}").json()
    assert other_rows["model"]["version"] == version
    assert all(p["fie"] == 0 for row in other_rows["rows"] for p in row["pairs"])
    assert explain(scoring, {"rows": ROWS}, "?model=nobody").status_code == 404


def test_limits_and_bad_bodies(scoring: Any) -> None:
    assert explain(scoring, {"rows": []}).json()["rows"] == []
    assert len(explain(scoring, {"rows": [{}] * 16}).json()["rows"]) == 16
    answer = explain(scoring, {"rows": [{}] * 17})
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    answer = explain(scoring, {"rows": [{"job": {"a": 1}}]})
    assert (answer.status_code, answer.json()["row"], answer.json()["field"]) == (422, 0, "job")
    answer = scoring.client.post("/v1/explain", content=b'{"rows": [')
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-body")
    answer = scoring.client.post("/v1/explain", content=b"a,b", headers={"content-type": "text/csv"})
    assert answer.status_code == 415


def test_many_at_once_get_the_same_answer(scoring: Any) -> None:
    expected = explain(scoring, {"rows": ROWS}).json()["rows"]
    with ThreadPoolExecutor(6) as threads:
        answers = [answer.json() for answer in threads.map(lambda _: explain(scoring, {"rows": ROWS}), range(24))]
    assert all(answer["rows"] == expected for answer in answers if "rows" in answer)
    assert {answer["code"] for answer in answers if "rows" not in answer} <= {"overloaded"}
    assert sum("rows" in answer for answer in answers) > 0


def test_a_loaded_version_is_explained_though_retention_has_deleted_its_folder(
    scoring: Any, settings: CtrSettings
) -> None:
    shutil.rmtree(settings.bundles / scoring.scorers["llactr"].version)
    answer = explain(scoring, {"rows": ROWS})
    assert (answer.status_code, len(answer.json()["rows"])) == (200, len(ROWS)), answer.text


def test_a_version_that_cannot_explain_is_409_and_scores_all_the_same(
    scoring: Any, bundles: dict[str, Bundle], settings: CtrSettings, registry: Registry, tiny: Any
) -> None:
    whole = bundles["none"].manifest

    def without(folder: Path) -> None:
        for name in whole["files"]:  # type: ignore[attr-defined]
            if name != EXPLANATION:
                (folder / name).write_bytes((bundles["none"].path / name).read_bytes())

    manifest = {key: whole[key] for key in ("schema", "options", "lineage")}
    old = write_bundle(settings.bundles / "old", manifest, bundles["none"].metrics, without)
    old.path.rename(settings.bundles / old.version)
    registry.register("tiny", old.version, tiny.lineage_of(), old.metrics)
    answer = explain(scoring, {"rows": ROWS}, f"?model=tiny:{old.version}")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "train it again" in answer.json()["detail"]
    assert scoring.client.post(f"/v1/score?model=tiny:{old.version}", json={"rows": ROWS}).status_code == 200
