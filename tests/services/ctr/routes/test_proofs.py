"""Proofs over HTTP: what is accepted, and who may fetch a report."""

from pathlib import Path
from typing import Any

import pytest

from services.ctr.settings import CtrSettings
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage


def prove(service: Any, body: dict[str, Any], **headers: str) -> Any:
    return service.client.post("/v1/admin/prove", json=body, headers=service.admin | headers)


def test_a_proof_is_a_job_whose_reports_are_fetched_by_name(
    service: Any, dataset: Path, settings: CtrSettings, storage: Storage
) -> None:
    body = {"dataset": str(dataset), "label": "click", "quick": True, "backbones": ["fm"], "model": "tiny"}
    answer = prove(service, body, **{"Idempotency-Key": "p"})
    assert answer.status_code == 202, answer.text
    assert prove(service, body, **{"Idempotency-Key": "p"}).json() == answer.json()
    job = answer.json()["job"]["id"]
    payload = JobStore(storage).get(job).payload["request"]
    assert (payload["quick"], payload["backbones"], payload["cut"]) == (True, ["fm"], "none")
    url = f"/v1/admin/jobs/{job}/reports"
    missing = service.client.get(f"{url}/report.html", headers=service.admin)
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    (settings.proofs / job).mkdir(parents=True)
    (settings.proofs / job / "report.html").write_text("<html>")
    page = service.client.get(f"{url}/report.html", headers=service.admin)
    assert (page.status_code, page.text) == (200, "<html>")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert service.client.get(f"{url}/report.html").status_code == 401
    assert service.client.get(f"{url}/searches.sqlite", headers=service.admin).status_code == 422
    for strange in ("..", "%2e%2e%2f", "nope"):
        assert service.client.get(
            f"/v1/admin/jobs/{strange}/reports/report.json", headers=service.admin
        ).status_code in (
            404,
            422,
        )


def test_a_key_that_is_limited_to_models_names_one_of_them(service: Any, dataset: Path) -> None:
    made = service.client.post(
        "/v1/admin/keys", json={"name": "one", "role": "trainer", "scopes": ["tiny"]}, headers=service.admin
    )
    limited = {"Authorization": f"Bearer {made.json()['key']}"}
    body = {"dataset": str(dataset), "label": "click"}

    def asked(given: dict[str, Any]) -> int:
        return int(service.client.post("/v1/admin/prove", json=given, headers=limited).status_code)

    assert asked(body) == 403
    assert asked(body | {"model": "other"}) == 403
    assert asked(body | {"model": "tiny"}) == 202
    job = prove(service, body).json()["job"]["id"]
    assert service.client.get(f"/v1/admin/jobs/{job}/reports/report.json", headers=limited).status_code == 403


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"dataset": "/etc/passwd"}, 403, "allowed folders"),
        ({"dataset": "nowhere.parquet"}, 404, "nowhere"),
        ({"label": None}, 422, "label"),
        ({"backbones": ["svm"]}, 422, "backbones"),
        ({"cut": "item-cold"}, 422, "item"),
        ({"seeds": 0}, 422, "seeds"),
        ({"surprise": 1}, 422, "surprise"),
    ],
)
def test_a_proof_that_cannot_work_is_refused_at_once(
    service: Any, dataset: Path, change: dict[str, Any], status: int, word: str
) -> None:
    answer = prove(service, {"dataset": str(dataset), "label": "click"} | change)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["detail"]


@pytest.mark.parametrize("change", [{"enhancer": "none"}, {"values": True}, {"warm_start": "champion"}], ids=str)
def test_what_auto_decides_is_not_given(service: Any, dataset: Path, change: dict[str, Any]) -> None:
    body = {"dataset": str(dataset), "label": "click", "auto": True} | change
    answer = service.client.post("/v1/admin/models/tiny/train", json=body, headers=service.admin)
    assert answer.status_code == 422
    assert "auto" in answer.json()["detail"]
