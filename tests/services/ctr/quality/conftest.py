"""The service's storage on both databases."""

from pathlib import Path

import pytest

from services.ctr.settings import CtrSettings


@pytest.fixture
def settings(tmp_path: Path, dataset: Path, database_url: str) -> CtrSettings:
    return CtrSettings(home=tmp_path / "home", database_url=database_url, data_roots=[dataset.parent], live_every_s=0.1)
