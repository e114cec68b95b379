"""Versions over HTTP: bundles from elsewhere, deletion, retention."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from llactr_core.errors import InputError
from llactr_core.scorer import Scorer
from services.ctr.app import build_app
from services.ctr.registry.importing import import_bundle
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings

MODEL = "/v1/admin/models/tiny"


@pytest.fixture
def elsewhere(bundles: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundles["none"].path, tmp_path / "elsewhere"))


def register(service: Any, bundle: object) -> Any:
    return service.client.post(f"{MODEL}/versions", json={"bundle": str(bundle)}, headers=service.admin)


def test_a_bundle_from_elsewhere_becomes_a_version_that_can_be_promoted(
    service: Any, elsewhere: Path, bundles: Any, settings: CtrSettings
) -> None:
    bundle = bundles["none"]
    for _ in range(2):  # twice is as once
        answer = register(service, elsewhere)
        assert answer.status_code == 201, answer.text
    lineage = answer.json()["lineage"]
    assert answer.json()["version"] == bundle.version
    assert (lineage["backbone"], lineage["enhancer"], lineage["dataset"]) == ("fm", "none", str(elsewhere))
    assert lineage["schema_fingerprint"] == bundle.schema.fingerprint
    assert lineage["data_digest"] == bundle.manifest["lineage"]["data"]
    assert answer.json()["metrics"] == bundle.metrics
    assert [path.name for path in settings.bundles.iterdir()] == [bundle.version]
    alias = service.client.put(
        f"{MODEL}/aliases/champion", json={"version": bundle.version}, headers=service.admin
    ).json()
    assert alias["reason"] == "the model's first champion"
    assert elsewhere.is_dir()


def test_a_bundle_from_elsewhere_is_not_loaded_in_the_process_that_scores(
    service: Any, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: object, path: Path) -> Scorer:
        raise AssertionError(f"{path} is loaded in the process that scores")

    monkeypatch.setattr(Scorer, "load", classmethod(load))
    assert register(service, elsewhere).status_code == 201


def test_a_bundle_that_is_larger_than_the_memory_is_not_copied(
    registry: Registry, elsewhere: Path, settings: CtrSettings
) -> None:
    with (elsewhere / "index.npy").open("ab") as file:
        file.truncate(3 * 2**20)
    small = settings.model_copy(update={"memory_mb": 2, "data_roots": [elsewhere.parent]})
    with pytest.raises(InputError, match="memory_mb"):
        import_bundle(registry, small, "tiny", str(elsewhere))
    assert list(registry.bundles.iterdir()) == []


def damage(bundle: Path, how: str) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    if how == "changed":
        (bundle / "index.npy").write_bytes(b"#")
    elif how == "absent":
        (bundle / "golden.json").unlink()
    elif how == "no manifest":
        (bundle / "manifest.json").unlink()
    elif how == "escape":
        manifest["files"]["../../stolen"] = "0"
    elif how == "schema":
        manifest["schema"]["fields"][0]["name"] = "other"
    else:
        manifest = ["no", "manifest"]
    if how in ("escape", "schema", "list"):
        (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("how", ["changed", "absent", "no manifest", "escape", "schema", "list"])
def test_a_damaged_bundle_is_refused_and_leaves_nothing(
    service: Any, elsewhere: Path, settings: CtrSettings, how: str
) -> None:
    damage(elsewhere, how)
    answer = register(service, elsewhere)
    assert (answer.status_code, answer.json()["field"]) == (422, "bundle"), answer.text
    assert "is refused" in answer.json()["detail"]
    assert list(settings.bundles.iterdir()) == []
    assert service.client.get("/v1/models").json() == {"models": []}


def test_only_what_lies_under_the_allowed_folders_is_read(service: Any, elsewhere: Path) -> None:
    (elsewhere / "link").symlink_to("/etc")
    for bundle, status in (("/etc", 403), (elsewhere, 403), ("s3://bucket/x", 403), ("nowhere", 404), ("", 422)):
        assert register(service, bundle).status_code == status
    assert register(service, elsewhere / "manifest.json").status_code == 422


def test_a_version_is_deleted_with_its_bundle_but_not_a_named_one(
    scoring: Any, publish: Callable[..., str], settings: CtrSettings
) -> None:
    def delete(version: str) -> Any:
        return scoring.client.delete(f"{MODEL}/versions/{version}", headers=scoring.admin)

    champion, version = scoring.scorers["llactr"].version, publish("none")
    os.utime(settings.bundles / version, (0, 0))
    assert "'champion' points at" in delete(champion).json()["detail"]
    assert (delete(champion).status_code, delete("champion").status_code) == (409, 404)
    assert delete(version).json() == {"versions": [version], "dry_run": False}
    assert (delete(version).status_code, [p.name for p in settings.bundles.iterdir()]) == (404, [champion])
    assert scoring.client.post(f"/v1/score?model=tiny:{version}", json={"rows": [{}]}).status_code == 404


def test_pruning_can_be_tried_first(scoring: Any, publish: Callable[..., str], settings: CtrSettings) -> None:
    old, new = publish("none", model="other"), publish("llactr", model="other")
    os.utime(settings.bundles / old, (0, 0))
    eager = settings.model_copy(update={"keep_versions": 1, "keep_hours": 0.0})
    with TestClient(build_app(eager)) as client:

        def prune(model: str = "other", **content: Any) -> Any:
            return client.post(f"/v1/admin/models/{model}/prune", headers=scoring.admin, **content)

        assert prune(json={"dry_run": True}).json() == {"versions": [old], "dry_run": True}
        assert (settings.bundles / old).is_dir()
        assert prune().json() == {"versions": [old], "dry_run": False}
        assert [path.name for path in settings.bundles.iterdir()] == [new]
        assert prune(json={}).json()["versions"] == []
        assert (prune("nobody").status_code, prune(json={"dry_run": "what"}).status_code) == (404, 422)
