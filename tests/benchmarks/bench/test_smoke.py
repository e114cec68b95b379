"""All of `make bench` at tiny sizes: every section ends, with the rows of its goals and in the contract's form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DATASETS = ROOT.parent / "shared" / "data"
GOALS = (
    "one row, p50 at concurrency 1",
    "one-row requests",
    "JSON, 100 rows a request",
    "JSON, 1000 rows a request",
    "Arrow, 1000 rows a request, DeepFM",
    "Arrow, 1000 rows a request, WuKong",
    "FRE + FIE against the plain backbone, 100 rows",
    "ready after start",
    "memory beyond mapped files",
    "two workers against one, CPU a request",
    "fm training step against FuxiCTR",
    "finalmlp training step, share that is matrix products",
    "deepfm in bf16, mean change of AUC against torch's dense Adam in fp32",
    "fm with LLaCTR, epoch against plain",
)
PLOTS = ("scoring-against-fields", "deepfm-step-by-batch", "ssft-against-fields", "the-preparation-against-rows")


@pytest.mark.long
@pytest.mark.timeout(1800)  # the peers' environments may have to be made
@pytest.mark.skipif(not (DATASETS / "ml1m").is_dir(), reason="needs the data set ml1m beside the checkout")
def test_every_section_runs_to_its_end(tmp_path: Path) -> None:
    command = ["-m", "benchmarks.bench", "--smoke", str(tmp_path), "--datasets", str(DATASETS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    content = json.loads((tmp_path / "benchmarks.json").read_text())
    assert list(content["sections"]) == ["scoring", "training", "bulk", "tuning"]
    rows = {row["name"]: row for row in content["rows"]}
    assert set(GOALS) <= rows.keys()
    peers = {row["peer"] for row in rows.values()}
    assert {"FastAPI + pydantic + eager torch", "LitServe", "BentoML", "FuxiCTR 2.3.10", "scikit-learn"} <= peers
    for row in rows.values():
        assert {"name", "value", "unit", "op", "reach", "peer", "note"} <= row.keys()
        assert row["op"] in ("<=", ">=")
    for name in PLOTS:
        assert (tmp_path / "benchmarks" / f"{name}.svg").stat().st_size > 1000


def test_notes_are_texts() -> None:
    notes = yaml.safe_load((ROOT / "benchmarks" / "bench" / "notes.yaml").read_text())
    assert {type(note) for note in notes.values()} == {str}
