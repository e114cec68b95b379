"""What the whole app says of itself."""

from collections.abc import Callable
from typing import Any

import pytest
from servers import wait_until
from starlette.testclient import TestClient

from services.ctr.app import build_app
from services.ctr.settings import CtrSettings
from services.shared.access.auth import ensure_admin_key


@pytest.mark.parametrize(("host", "named"), [("127.0.0.1", True), ("0.0.0.0", False)], ids=["loopback", "beyond"])
def test_only_this_machine_hears_which_models_serve(
    settings: CtrSettings, publish: Callable[..., str], host: str, named: bool
) -> None:
    ensure_admin_key(settings.key_file)
    version = publish("none", alias="champion")
    with TestClient(build_app(settings.model_copy(update={"host": host}))) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, 10, "the champion to be loaded")
        answer: dict[str, Any] = client.get("/readyz").json()
    models = {"models": [{"name": "tiny", "version": version}]} if named else {}
    assert answer == {"status": "ready", **models}
