import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from shop import SHOP, shop_rows

from llactr_core.bundle import Bundle, file_digest
from llactr_core.calibration import Calibrator
from llactr_core.errors import BundleError, RowError
from llactr_core.scorer import RowReport, Scorer

FORMAT_2 = Path(__file__).parent / "bundles" / "format_2"  # as the last release that wrote this format did
SHOP_REVERSED = SHOP.model_dump(mode="json") | {"fields": SHOP.model_dump(mode="json")["fields"][::-1]}


@pytest.fixture(scope="module")
def scorer(shop_bundle: Bundle) -> Scorer:
    return Scorer.load(shop_bundle.path)


@pytest.fixture
def copy(shop_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shop_bundle.path, tmp_path / "copy"))


def test_rows_columns_and_arrow_score_alike(scorer: Scorer) -> None:
    table = shop_rows(3000, 9)
    scores = scorer.score(table)
    assert scores.shape == (3000,)
    assert scores.std() > 0.05
    np.testing.assert_allclose(scorer.score(table.to_pylist()), scores, atol=1e-6, rtol=0)
    np.testing.assert_allclose(scorer.score(table.to_pydict()), scores, atol=1e-6, rtol=0)
    one_by_one = [scorer.score([row])[0] for row in table.to_pylist()[:50]]
    np.testing.assert_allclose(one_by_one, scores[:50], atol=1e-6, rtol=0)


def test_what_a_row_lacks_or_adds_is_scored_and_reported(scorer: Scorer) -> None:
    rows = [
        {"user": 1, "colour": "red", "price": 3, "tags": "new"},
        {"user": None, "colour": "mauve", "price": "a lot", "size": "XL"},
        {},
    ]
    scores, reports = scorer.score_detailed(rows)
    assert ((scores > 0) & (scores < 1)).all()
    assert reports == [
        RowReport((), (), ()),
        RowReport(("user", "tags"), ("colour", "price"), ("size",)),
        RowReport(SHOP.columns, (), ()),
    ]
    assert scorer.score_detailed({"size": [1, 2]})[1] == [RowReport(SHOP.columns, (), ("size",))] * 2


def test_no_rows_give_no_scores(scorer: Scorer) -> None:
    assert scorer.score([]).shape == (0,)
    assert scorer.score({}).shape == (0,)


def test_bad_rows_are_named(scorer: Scorer) -> None:
    with pytest.raises(RowError) as error:
        scorer.score([{"user": 1}, {"user": {"id": 1}}])
    assert (error.value.row, error.value.field) == (1, "user")


def test_a_changed_file_is_refused(copy: Path) -> None:
    for name in Bundle.open(copy).manifest["files"]:  # type: ignore[attr-defined]
        path = copy / name
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(BundleError, match=name):
            Scorer.load(copy)
        path.unlink()
        with pytest.raises(BundleError, match=f"lacks {name}"):
            Scorer.load(copy)
        path.write_bytes(content)
    Scorer.load(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "not that of a LLaCTR bundle"),
        ({"format_version": 4}, "format version 4"),
        ({"options": {}}, "was changed after it was written"),
        ({"files": None}, "lists no files"),
    ],
)
def test_a_changed_manifest_is_refused(copy: Path, change: dict[str, object], said: str) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(BundleError, match=said):
        Scorer.load(copy)


def _signed(path: Path, change: dict[str, object]) -> None:
    """The manifest changed, and its digests made to fit: what a foreign writer could have written."""
    manifest = {**json.loads((path / "manifest.json").read_text()), **change}
    files = {name: file_digest(path / name) for name in manifest["files"] if (path / name).exists()}
    manifest = {k: v for k, v in (manifest | {"files": files}).items() if v is not None}
    covered = {k: v for k, v in manifest.items() if k not in ("version", "metrics")}
    version = hashlib.sha256(json.dumps(covered, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest | {"version": version}))


@pytest.mark.parametrize(
    "change", [{"schema": None}, {"metrics": None}, {"schema": {"name": "x"}}, {"schema": SHOP_REVERSED}], ids=str
)
def test_a_manifest_without_its_parts_is_refused(copy: Path, change: dict[str, object]) -> None:
    _signed(copy, change)
    with pytest.raises(BundleError):
        Scorer.load(copy)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("encoding.json", b"{}"),
        ("encoding.json", b"[]"),
        ("encoding.json", b'{"knots": {}}'),
        ("encoding.json", b'{"knots": {"price": [1.0]}}'),
        ("golden.json", b"[]"),
        ("golden.json", b'{"rows": [], "scores": []}'),
        ("golden.json", b'{"rows": [{}], "scores": []}'),
        ("golden.json", b'{"rows": [1], "scores": [0.5]}'),
        ("golden.json", b'{"rows": [{}], "scores": ["half"]}'),
        ("graph.onnx", b"junk"),
        ("calibration.json", b"[]"),
        ("calibration.json", b"{half"),
        ("calibration.json", b'{"method": "platt", "coefficients": [-1, 0], "knots": []}'),
    ],
)
def test_a_foreign_file_is_refused(copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    _signed(copy, {})
    with pytest.raises(BundleError):
        Scorer.load(copy)


def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no bundle"):
        Scorer.load(tmp_path)
    (tmp_path / "manifest.json").write_text("{half")
    with pytest.raises(BundleError, match="cannot read"):
        Scorer.load(tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "calibration.json"])
def test_golden_rows_that_score_differently_are_refused(name: str, copy: Path) -> None:
    if name == "calibration.json":
        (copy / name).write_text(json.dumps(Calibrator("platt", (1.0, 0.01)).as_json()))
    else:
        save_file({n: np.asarray(w * 1.1) for n, w in load_file(copy / name).items()}, copy / name)
    _signed(copy, {})
    with pytest.raises(BundleError, match="golden rows"):
        Scorer.load(copy)


def test_more_rows_than_one_run_of_the_graph_takes(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = shop_rows(50, 3)
    whole = scorer.score(rows)
    monkeypatch.setattr("llactr_core.scorer.ROWS_AT_ONCE", 4)
    np.testing.assert_allclose(scorer.score(rows), whole, atol=1e-6)


def test_a_bundle_of_format_2_still_scores(tmp_path: Path) -> None:
    folder = shutil.copytree(FORMAT_2, tmp_path / "old")
    old, table = Scorer.load(folder), shop_rows(500, 9)
    scores = old.score(table)
    assert scores.std() > 0.05
    np.testing.assert_allclose(old.score(table.to_pylist()), scores, atol=1e-6, rtol=0)


def test_a_bundle_of_format_1_scores_by_the_plain_sigmoid(tmp_path: Path) -> None:
    folder = shutil.copytree(FORMAT_2, tmp_path / "old")
    golden = json.loads((folder / "golden.json").read_text())
    raw = Scorer.load(folder).score(golden["rows"], raw=True)
    (folder / "golden.json").write_text(json.dumps(golden | {"scores": raw.tolist()}))
    for name in ("calibration.json", "reference.json", "gate.parquet", "explain.onnx"):
        (folder / name).unlink(missing_ok=True)
    _signed(folder, {"format_version": 1})
    old = Scorer.load(folder)
    np.testing.assert_array_equal(old.score(golden["rows"]), raw)
    np.testing.assert_array_equal(old.score(golden["rows"], raw=True), raw)


def test_scoring_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, llactr_core, llactr_core.bundle, llactr_core.scorer, llactr_core.data.encoding;"
        "print([m for m in ('torch', 'transformers', 'peft', 'fastapi', 'sqlalchemy', 'redis') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
