"""The commands that need no service, on small files."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from shop import SHOP, shop_rows, shop_table, write_shop
from tiny_model import save_tiny_model

from services.cli.main import run

QUICK = ["-o", "epochs=2", "-o", "width=4", "-o", "backbone_options.hidden=[8]", "-o", "learning_rate=0.01"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_shop(tmp_path_factory.mktemp("shop"))
    SHOP.save(folder / "schema.yaml")
    return folder


@pytest.fixture(scope="module")
def bundle(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    shop_table().save(folder / "table.safetensors")
    words = [
        "train",
        "--data",
        str(shop),
        "--out",
        str(folder / "bundle"),
        "--table",
        str(folder / "table.safetensors"),
    ]
    assert run([*words, *QUICK, "--read-test"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["bundle", "table.safetensors"]
    return folder / "bundle"


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return content


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from services.cli.main import run; status = run(['--help']);"
        "heavy = {'torch', 'transformers', 'pyarrow', 'numpy', 'fastapi', 'sqlalchemy', 'httpx2', 'onnxruntime'};"
        "print(status, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "0 []"
    for noun in ("up", "data", "schema", "fields", "train", "evaluate", "score", "models", "jobs"):
        assert noun in done.stdout


@pytest.mark.parametrize("words", [[], ["schema"], ["nonsense"], ["score", "--bundle"]])
def test_a_wrong_command_line_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_is_one_line_and_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "show", "/nowhere/schema.yaml", "--json"]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("error: cannot read the schema /nowhere/schema.yaml")
    assert json.loads(captured.out.splitlines()[-1])["error"]["code"] == "invalid-schema"


def test_schema_infer_prints_reasons_and_writes_yaml(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "schema.yaml"
    assert run(["schema", "infer", str(shop / "train.parquet"), "--label", "click", "--out", str(out), "--json"]) == 0
    captured = capsys.readouterr().out.splitlines()
    content = json.loads(captured[-1])
    assert set(content["reasons"]) >= {"user", "colour", "price", "tags"}
    assert any(line.startswith("price") and "numeric" in line for line in captured)
    assert run(["schema", "show", str(out), "--json"]) == 0
    assert last_line(capsys)["schema"]["label"] == "click"


def test_data_sample_is_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "sample", "--out", str(tmp_path / "copy"), "--json"]) == 0
    assert last_line(capsys)["path"] == str(tmp_path / "copy")
    assert {f.name for f in (tmp_path / "copy").iterdir()} >= {"train.parquet", "schema.yaml"}


def test_data_prepare_names_the_datasets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "prepare", "iris", "--from", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "movielens-1m" in capsys.readouterr().err


def test_train_reports_metrics(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert 0.5 < manifest["metrics"]["valid"]["auc"] <= 1
    assert 0.5 < manifest["metrics"]["test"]["auc"] <= 1
    assert manifest["options"]["enhancer"] == "llactr"


def test_train_without_a_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(shop_rows(100, 1), tmp_path / "rows.parquet")
    assert run(["train", "--data", str(tmp_path / "rows.parquet"), "--out", str(tmp_path / "bundle")]) == 2
    assert "label" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_train_with_a_wrong_option(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--data", str(shop), "--out", str(tmp_path / "b"), "--enhancer", "none"]
    assert run([*words, "-o", "epoch=2"]) == 2
    assert "epoch" in capsys.readouterr().err
    assert run([*words, "-o", "epochs"]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err


def test_train_reads_the_values_of_textual_fields(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--data", str(shop), "--schema", str(shop / "schema.yaml"), "--out", str(tmp_path / "b"), *QUICK]
    words += ["--values", "-o", "llactr.value_dims=2"]
    model = save_tiny_model(tmp_path / "model")
    assert run([*words, "--language-model", str(model), "--json"]) == 0
    assert last_line(capsys)["version"]
    weights = load_file(tmp_path / "b" / "weights.safetensors")
    assert [weights[f"enhancer.values.projections.{n}"].shape for n in range(2)] == [(2, 5), (2, 5)]  # colour, tags
    assert (
        run(
            [
                "score",
                "--bundle",
                str(tmp_path / "b"),
                "--in",
                str(shop / "test.parquet"),
                "--out",
                str(tmp_path / "s.csv"),
            ]
        )
        == 0
    )
    assert run([*words, "--table", str(tmp_path / "b" / "field_table.safetensors")]) != 0
    assert "--values or --table" in capsys.readouterr().err


def test_train_of_values_where_none_are_words(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = SHOP.model_copy(update={"fields": SHOP.fields[:1]})
    numbers.save(tmp_path / "schema.yaml")
    model = save_tiny_model(tmp_path / "model")
    words = ["train", "--data", str(shop), "--schema", str(tmp_path / "schema.yaml"), "--out", str(tmp_path / "b")]
    assert run([*words, "--values", "--language-model", str(model)]) != 0
    assert "textual: true" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_prove_says_what_is_wrong_before_it_begins(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prove", "--data", str(shop), "--out", str(tmp_path / "p")]
    for more, said in (
        (["--cut", "item-cold"], "prove options: cut 'item-cold' needs 'item', the column that names the items"),
        (["--cut", "item-cold", "--item", "colours"], "'colour'"),
        (["--user", "nobody", "--cut", "users-5"], "'nobody'"),
        (["--label", "colour"], "colour"),
    ):
        assert run([*words, *more]) == 2, more
        assert said in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_two_proofs_do_not_share_a_folder(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(["prove", "--data", str(shop), "--out", str(tmp_path)]) == 2
    assert "another run works in" in capsys.readouterr().err


@pytest.mark.long
def test_prove_writes_its_reports(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_tiny_model(tmp_path / "model")
    words = [
        "prove",
        "--data",
        str(shop),
        "--out",
        str(tmp_path / "p"),
        "--quick",
        "--backbones",
        "fm",
        "--trials",
        "1",
    ]
    assert run([*words, "--language-model", str(model), "--json"]) == 0
    told = last_line(capsys)
    report = json.loads((tmp_path / "p" / "report.json").read_text())
    assert told["verdict"] == report["verdict"]
    assert report["ships"] == "fields + values"
    assert {path.name for path in (tmp_path / "p").iterdir()} >= {"report.json", "report.md", "report.html"}


def test_evaluate_agrees_with_training(bundle: Path, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = json.loads((bundle / "manifest.json").read_text())["metrics"]
    gate = ["--data", str(bundle / "gate.parquet"), "--part", "all"]
    told: list[tuple[list[str], dict[str, Any]]] = [
        (["--data", str(shop), "--part", "test"], trained["test"]),
        (gate, trained["held_out"]),
        ([*gate, "--raw"], trained["held_out"]["uncalibrated"]),
    ]
    for words, metrics in told:
        assert run(["evaluate", "--bundle", str(bundle), *words, "--json"]) == 0
        found = last_line(capsys)
        assert found["rows"] == metrics.get("rows", found["rows"])
        for name, value in found["metrics"].items():
            assert value == pytest.approx(metrics[name], abs=1e-5), name


def test_train_goes_on_from_a_bundle(
    bundle: Path, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--data", str(shop), "--out", str(tmp_path / "b"), "--warm-start", str(bundle), *QUICK]
    assert run([*words, "--table", str(bundle / "field_table.safetensors"), "--json"]) == 0
    parent = json.loads((bundle / "manifest.json").read_text())
    found = last_line(capsys)
    assert found["metrics"]["training"]["evaluations"][0] == parent["metrics"]["valid"]
    assert run([*words, "-o", "width=8"]) == 2
    assert "width" in capsys.readouterr().err


def write(table: pa.Table, path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=100)
    elif path.suffix == ".csv":
        pa_csv.write_csv(table, path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in table.to_pylist()))


def read(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    if path.suffix == ".csv":
        return pa_csv.read_csv(path)
    return pa.Table.from_pylist([json.loads(line) for line in path.read_text().splitlines()])


@pytest.mark.parametrize(("source", "target"), [("parquet", "csv"), ("csv", "jsonl"), ("jsonl", "parquet")])
def test_score_reads_and_writes_every_format(
    bundle: Path, tmp_path: Path, source: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from llactr_core.scorer import Scorer

    rows = shop_rows(300, 5).drop_columns(["click"])
    given, out = tmp_path / f"in.{source}", tmp_path / f"out.{target}"
    write(rows, given)
    assert run(["score", "--bundle", str(bundle), "--in", str(given), "--out", str(out), "--json"]) == 0
    assert last_line(capsys)["rows"] == 300
    found = read(out)
    assert found.column_names == [*rows.column_names, "score"]
    assert [str(user) for user in found["user"].to_pylist()] == [str(user) for user in rows["user"].to_pylist()]
    expected = Scorer.load(bundle).score(rows.to_pylist())
    np.testing.assert_allclose(found["score"].to_numpy(), expected, atol=1e-9)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([given.name, out.name])


def test_score_without_the_columns(bundle: Path, tmp_path: Path) -> None:
    write(shop_rows(10, 5), tmp_path / "in.parquet")
    words = ["score", "--bundle", str(bundle), "--in", str(tmp_path / "in.parquet"), "--out", str(tmp_path / "o.csv")]
    assert run([*words, "--only-scores", "--column", "p"]) == 0
    assert read(tmp_path / "o.csv").column_names == ["p"]
    assert run([*words[:-1], str(tmp_path / "all.csv"), "--column", "p"]) == 0
    assert read(tmp_path / "o.csv")["p"] == read(tmp_path / "all.csv")["p"]


def test_rows_without_a_column_of_the_model_are_scored_too(bundle: Path, tmp_path: Path) -> None:
    write(pa.table({"other": [1, 2, 3]}), tmp_path / "in.parquet")
    words = ["score", "--bundle", str(bundle), "--in", str(tmp_path / "in.parquet"), "--out", str(tmp_path / "o.csv")]
    assert run([*words, "--only-scores"]) == 0
    assert len(read(tmp_path / "o.csv")) == 3


def test_score_refuses_what_it_cannot_do(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    rows.write_text('{"tags": ["new"], "score": 1}\n')
    words = ["score", "--bundle", str(bundle), "--in", str(rows)]
    assert run([*words, "--out", str(out)]) == 2
    assert "--column" in capsys.readouterr().err
    assert run([*words, "--out", str(out), "--column", "p"]) == 2
    assert "lists" in capsys.readouterr().err
    assert run([*words, "--out", str(tmp_path / "out.xlsx"), "--column", "p"]) == 2
    assert ".parquet" in capsys.readouterr().err
    assert run([*words, "--out", str(tmp_path / "no" / "out.csv"), "--column", "p"]) == 2
    assert run(["score", "--bundle", str(tmp_path), "--in", str(rows), "--out", str(out), "--column", "p"]) == 2
    assert "no bundle" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
