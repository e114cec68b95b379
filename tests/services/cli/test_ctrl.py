"""`llactr train --enhancer ctrl`, in this process."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from shop import SHOP, shop_rows
from tiny_model import save_tiny_model

from services.cli.main import run

CTRL = ("width=8", "subspaces=2", "batch_size=100", "device=cpu", "nouns.row=a sale")


def test_ctrl_trains_a_bundle_with_the_given_language_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name, count, seed in (("train", 200, 1), ("valid", 120, 2), ("test", 120, 3)):
        pq.write_table(shop_rows(count, seed), data / f"{name}.parquet")
    SHOP.save(data / "schema.yaml")
    words = ["train", "--data", str(data), "--schema", str(data / "schema.yaml"), "--out", str(tmp_path / "b")]
    words += ["--enhancer", "ctrl", "--backbone", "fm", "-o", "epochs=1", "-o", "width=4"]
    words += [word for option in CTRL for word in ("-o", f"ctrl.{option}")]
    for more, said in (
        (["--values"], "leave --table and --values out"),
        (["-o", "ctrl.subspaces=3"], "does not divide the width"),
        (["--language-model", str(tmp_path / "none")], "no language model"),
    ):
        assert run([*words, *more]) != 0
        assert said in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
    model = save_tiny_model(tmp_path / "tiny")
    assert run([*words, "--language-model", str(model), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["metrics"]["alignment"]["step"] == 2
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["lineage"]["alignment"]["template"].startswith("This is a sale, identifier of the customer is")
    assert not (tmp_path / ".b.work").exists()
