"""What a language model reads in the time that a proof has."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_model import save_tiny_model

from llactr_core.data.splits import Splits, open_dataset
from llactr_core.proof.pace import FEWEST_SAMPLES, FEWEST_VALUES, Pace, seconds_of_alignment
from llactr_core.schema import Field, Schema
from llactr_core.semantics.options import SsftOptions
from llactr_core.training.prepared import Prepared

SCHEMA = Schema(name="shop", label="click", fields=(Field(name="query"), Field(name="colour")))
HOW = SsftOptions(sam_num=40, epochs=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("pace") / "model"))


def shop(folder: Path) -> Splits:
    table = {"query": [f"red hat {n}" for n in range(60)], "colour": ["red", "blue"] * 30, "click": [0, 1, 1] * 20}
    for part in ("train", "valid", "test"):
        pq.write_table(pa.table(table), folder / f"{part}.parquet")
    return open_dataset(folder, "click")


def test_with_little_time_little_is_read_and_with_much_everything(tmp_path: Path, model: str) -> None:
    splits = shop(tmp_path)
    short = Pace.of(splits, SCHEMA, model, HOW, 1e-9, 1, tmp_path)
    assert short == Pace(FEWEST_SAMPLES, 40, FEWEST_VALUES)
    assert short.left_out({}) == [
        "the language model was tuned on 8 values of a field in place of 40, for lack of time"
    ]
    long = Pace.of(splits, SCHEMA, model, HOW, 1e6, 1, tmp_path)
    assert long.samples == 40
    assert long.left_out({"query": ["a"] * 1000}) == []


def test_what_was_decided_holds_for_a_run_that_goes_on(tmp_path: Path, model: str) -> None:
    splits = shop(tmp_path)
    Pace.of(splits, SCHEMA, model, HOW, 1.0, 1, tmp_path)
    (file,) = tmp_path.glob("pace-*.json")
    file.write_text(json.dumps({"samples": 9, "wanted": 40, "values": 700}))
    assert Pace.of(splits, SCHEMA, model, HOW, 1.0, 1, tmp_path) == Pace(9, 40, 700)


def test_the_most_frequent_values_of_all_fields_are_read() -> None:
    pace = Pace(100, 100, 5)
    texts = {"query": ["a", "b", "c", "d"], "colour": ["red", "blue"]}
    assert pace.most_frequent(texts) == {"query": ["a", "b", "c"], "colour": ["red", "blue"]}
    assert pace.left_out(texts) == ["the texts of the 1 rarest of 6 values were not read, for lack of time"]
    assert Pace.unhurried(HOW).most_frequent(texts) == texts


def test_an_alignment_is_timed_by_the_rows_that_it_reads(tmp_path: Path, model: str) -> None:
    assert seconds_of_alignment(Prepared.read(shop(tmp_path), SCHEMA), model) > 0
