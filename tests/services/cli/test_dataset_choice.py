from pathlib import Path

import pyarrow.parquet as pq
import pytest
from shop import SHOP, shop_rows, write_shop

from llactr_core.errors import DataError, SchemaError
from services.cli.dataset_choice import DatasetChoice, name_of


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/clicks.parquet", "clicks"),
        ("/data/my clicks (new).jsonl.gz", "my-clicks-new"),
        ("/data/2026.csv", "2026"),
        ("/data/___.csv", "dataset"),
    ],
)
def test_the_name_comes_from_the_file(path: str, name: str) -> None:
    assert name_of(Path(path)) == name


def test_a_folder_keeps_its_dots(tmp_path: Path) -> None:
    (tmp_path / "shop.v2").mkdir()
    assert name_of(tmp_path / "shop.v2") == "shop.v2"


def test_the_sample_has_a_schema_and_a_row() -> None:
    choice = DatasetChoice.asked(None, None)
    assert choice.schema.label is not None
    row = choice.first_test_row()
    assert row
    assert choice.schema.label not in row
    assert set(row) <= set(choice.schema.columns)


def test_a_schema_is_inferred_from_the_label(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(shop_rows(200, 1), file)
    choice = DatasetChoice.of(file, "click")
    assert (choice.schema.name, choice.schema.label, choice.schema_file) == ("rows", "click", None)
    assert choice.reasons


def test_a_schema_beside_the_data_wins(tmp_path: Path) -> None:
    folder = write_shop(tmp_path)
    SHOP.save(folder / "schema.yaml")
    choice = DatasetChoice.of(folder, None)
    assert choice.schema.fields == SHOP.fields
    assert choice.schema.name == name_of(tmp_path)
    SHOP.save(folder / "train.schema.yaml")
    assert DatasetChoice.of(folder / "train.parquet", "click").schema.fields == SHOP.fields
    with pytest.raises(SchemaError, match="colour"):
        DatasetChoice.of(folder, "colour")


def test_without_a_label_it_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(shop_rows(50, 1), file)
    with pytest.raises(DataError, match=r"LABEL=click.*rows\.schema\.yaml"):
        DatasetChoice.of(file, None)
    SHOP.model_copy(update={"label": None}).save(tmp_path / "rows.schema.yaml")
    with pytest.raises(SchemaError, match="label: COLUMN"):
        DatasetChoice.of(file, None)


def test_no_such_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        DatasetChoice.of(tmp_path / "nothing.csv", "click")
