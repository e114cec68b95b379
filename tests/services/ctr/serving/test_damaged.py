"""Damaged bundles that an alias points at all the same: refused with the reason, and the champion serves on."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llactr_core.bundle import Bundle
from llactr_core.errors import BundleError
from services.ctr.registry.store import Registry
from services.ctr.serving.pool import ModelPool
from services.ctr.settings import CtrSettings


def corrupted(folder: Path) -> None:
    with (folder / "weights.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"####")


def half_written(folder: Path) -> None:
    for file in sorted(folder.iterdir())[::2]:
        if file.name != "manifest.json":
            file.unlink()


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def of_another_version(folder: Path) -> None:
    other = next(one for one in folder.parent.iterdir() if one.name != folder.name)
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def with_other_scores(folder: Path) -> None:
    """Its golden rows have other scores, and the digest of the file is right."""
    golden = json.loads((folder / "golden.json").read_text())
    golden["scores"][0] += 0.01
    (folder / "golden.json").write_text(json.dumps(golden))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden.json"] = hashlib.sha256((folder / "golden.json").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (corrupted, r"weights\.safetensors .* is not as it was written"),
        (half_written, "it is incomplete"),
        (empty, "it has no manifest"),
        (of_another_version, "says that it is"),
        (with_other_scores, "was changed after it was written"),
    ],
    ids=lambda value: getattr(value, "__name__", "reason"),
)
def test_a_damaged_champion_is_refused_with_the_reason_and_the_one_before_serves_on(
    registry: Registry,
    settings: CtrSettings,
    publish: Callable[..., str],
    bundles: dict[str, Bundle],
    damage: Callable[[Path], None],
    reason: str,
) -> None:
    pool = ModelPool(registry)
    champion = publish("llactr", alias="champion")
    pool.refresh()
    version = publish("none")
    damage(settings.bundles / version)
    registry.set_alias("tiny", "champion", version)
    pool.refresh()
    assert pool.champions() == {"tiny": champion}
    assert len(pool.champion().scorer.score([{"job": "student"}])) == 1
    with pytest.raises(BundleError, match=reason):
        pool.load("tiny", version)
