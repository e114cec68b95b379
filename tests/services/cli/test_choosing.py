"""`llactr train --auto` and `llactr prove`, end to end with a tiny language model, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from shop import SHOP, write_shop
from tiny_model import save_tiny_model

from services.cli.main import run

FEW = ["-o", "epochs=1", "-o", "width=4"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_shop(tmp_path_factory.mktemp("shop"))
    SHOP.save(folder / "schema.yaml")
    save_tiny_model(folder / "model")
    return folder


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return content


def words(shop: Path, command: str, out: Path) -> list[str]:
    model = ["--language-model", str(shop / "model")]
    return [command, "--data", str(shop), "--schema", str(shop / "schema.yaml"), "--out", str(out), *model, "--json"]


@pytest.mark.long
def test_what_is_chosen_is_trained_and_explained(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--auto", "--minutes", "0.01", "--backbone", "fm", *FEW]
    assert run([*words(shop, "train", tmp_path / "b"), *asked]) == 0
    auto = last_line(capsys)["auto"]
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["lineage"]["auto"] == auto
    assert auto["chosen"] in {arm["arm"] for arm in auto["arms"]}
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.long
def test_a_quick_proof_writes_its_reports_and_they_are_pooled(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--quick", "--backbones", "fm", "--trials", "1", "--seeds", "1", "--minutes", "0.01"]
    assert run([*words(shop, "prove", tmp_path / "p"), *asked]) == 0
    report = json.loads((tmp_path / "p" / "report.json").read_text())
    assert last_line(capsys)["verdict"] == report["verdict"]
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**report, "dataset": "another"}))
    files = [tmp_path / "p" / "report.json", other]
    pool = [word for file in files for word in ("--pool", str(file))]
    assert run(["prove", *pool, "--out", str(tmp_path / "all"), "--json"]) == 0
    assert "another" in (tmp_path / "all" / "report.html").read_text()


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--enhancer", "none"], "--enhancer"),
        (["--values"], "--values"),
        (["--warm-start", "b"], "--warm-start"),
        (["--backbone", "svm"], "svm"),
        (["-o", "epochs=0"], "epochs"),
        (["-o", "enhancer=none"], "enhancer"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_what_auto_decides_is_not_given(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], word: str
) -> None:
    assert run([*words(shop, "train", tmp_path / "b"), "--auto", *more]) == 2
    assert word in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--cut", "half"], "cut"),
        (["--cut", "item-cold"], "item"),
        (["--backbones", "svm"], "backbones"),
        (["--methods", "bert"], "methods"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_proof_that_cannot_work_is_refused(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], word: str
) -> None:
    assert run([*words(shop, "prove", tmp_path / "p"), *more]) == 2
    assert word in capsys.readouterr().err


def test_a_proof_needs_data_or_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prove", "--out", str(tmp_path / "p")]) == 2
    assert "--data" in capsys.readouterr().err
    assert run(["prove", "--pool", str(tmp_path / "no.json"), "--out", str(tmp_path / "p")]) == 2
    assert "report.json" in capsys.readouterr().err
