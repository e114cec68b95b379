"""`llactr prove --methods`: CTRL and LARR as arms, from the dataset to the report."""

import json
from pathlib import Path

import pytest
from tiny_model import save_tiny_model

from services.cli.main import run

FEW = ("--quick", "--backbones", "fm", "--trials", "1", "--seeds", "1", "--minutes", "0.2")


@pytest.mark.long
def test_other_methods_are_arms_with_intervals_against_plain(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "proof"
    assert run(["data", "simulate", "--out", str(data), "--rows", "2000"]) == 0
    model = save_tiny_model(tmp_path / "model")
    words = ["prove", "--data", str(data), "--out", str(out), "--language-model", str(model)]
    assert run([*words, "--methods", "ctrl,larr", *FEW, "-o", "larr.most_pairs=16"]) == 0
    report = json.loads((out / "report.json").read_text())
    found = {arm["name"]: arm for arm in report["arms"]}
    for name in ("CTRL", "LARR"):
        assert found[name]["trials"] == 1
        assert len(found[name]["interval"]) == 2
        assert f"| fm | {name} |" in (out / "report.md").read_text()
        assert name not in report["against"], "what ships is judged by plain and its controls"


def test_what_a_method_cannot_do_is_refused_before_a_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "proof"
    assert run(["data", "simulate", "--out", str(data), "--rows", "2000"]) == 0
    model = save_tiny_model(tmp_path / "model")
    config = model / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"mask_token"', '"other_token"'))
    words = ["prove", "--data", str(data), "--out", str(out), "--language-model", str(model), "--methods", "larr", *FEW]
    for more, said in (
        ([], "set larr.pretrain_epochs to 0"),
        (["-o", "larr.heads=3"], "does not divide the width"),
        (["-o", "ctrl.epochs=2"], "which is none of the methods"),
        (["-o", "epochs=2"], "not for 'epochs'"),
    ):
        assert run([*words, *more]) != 0
        assert said in capsys.readouterr().err
    assert not out.exists()
