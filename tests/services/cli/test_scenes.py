"""`llactr data simulate`, and what `llactr train --enhancer larr` refuses before it begins."""

import json
from pathlib import Path

import pytest
from shop import SHOP, write_shop

from services.cli.main import run


def test_a_log_with_scenes_is_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "simulate", "--out", str(tmp_path / "log"), "--rows", "100", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["rows"] == {"train": 80, "valid": 10, "test": 10}
    assert "scene: true" in Path(told["schema"]).read_text(encoding="utf-8")
    assert run(["data", "simulate", "--out", str(tmp_path / "few"), "--rows", "3"]) != 0
    assert "at least 10" in capsys.readouterr().err


def test_larr_without_a_scene_or_with_another_reading_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = write_shop(tmp_path)
    SHOP.save(shop / "schema.yaml")
    words = ["train", "--data", str(shop), "--schema", str(shop / "schema.yaml"), "--out", str(tmp_path / "b")]
    for more, said in (
        ([], "set 'scene: true'"),
        (["--values"], "leave --table and --values out"),
        (["-o", "larr.heads=3"], "does not divide the width"),
    ):
        assert run([*words, "--enhancer", "larr", *more]) != 0
        assert said in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
