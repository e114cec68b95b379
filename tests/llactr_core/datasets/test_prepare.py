"""Each loader on small files in the format in which its dataset is published."""

import datetime as dt
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from llactr_core.data.parts import part_value
from llactr_core.data.splits import open_dataset
from llactr_core.datasets import DATASETS, PreparedDataset, curated_schema, prepare, sample_dataset
from llactr_core.datasets.writing import bounds
from llactr_core.errors import DataError, OptionError
from llactr_core.progress import Progress
from llactr_core.schema import Kind, Schema

PARTS = ("train", "valid", "test")


def rows_of(prepared: PreparedDataset) -> list[dict[str, object]]:
    return [row for name in PARTS for row in parquet.read_table(prepared.path / f"{name}.parquet").to_pylist()]


def check_whole(prepared: PreparedDataset, rows: int) -> None:
    """Sizes, schema file, and that every column of the schema is there."""
    sizes = {name: parquet.read_metadata(prepared.path / f"{name}.parquet").num_rows for name in PARTS}
    expected = {"train": int(0.8 * rows), "valid": int(0.1 * rows)}
    assert sizes == prepared.rows == expected | {"test": rows - sum(expected.values())}
    schema = Schema.load(prepared.schema)
    assert schema.label is not None
    splits = open_dataset(prepared.path, schema.label)
    assert set(schema.columns) <= set(splits.train.columns)
    assert not list(prepared.path.glob(".*"))


def movielens(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    users = "1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::55117\n"
    movies = "1::Toy Story (1995)::Animation|Children's|Comedy\n2::Café :: Noir (1999)::Drama\n"
    ratings = [(1 + i % 3, 1 + i % 2, 1 + i % 5, 978_300_000 - (i // 4) * 3600) for i in range(50)]
    (folder / "users.dat").write_text(users, "latin-1")
    (folder / "movies.dat").write_text(movies, "latin-1")
    (folder / "ratings.dat").write_text("".join("::".join(map(str, r)) + "\n" for r in ratings), "latin-1")
    return folder


def test_movielens(tmp_path: Path) -> None:
    prepared = prepare("movielens-1m", movielens(tmp_path / "ml-1m"), tmp_path / "out")
    check_whole(prepared, 40)
    raw = [(1 + i % 3, 1 + i % 2, 1 + i % 5, 978_300_000 - (i // 4) * 3600) for i in range(50)]
    expected = sorted((r for r in raw if r[2] != 3), key=lambda r: r[3])  # stable: ties in file order
    rows = rows_of(prepared)
    assert [(r["UserID"], r["MovieID"], r["Rating"], r["Timestamp"]) for r in rows] == [
        (u, m, int(stars > 3), t) for u, m, stars, t in expected
    ]
    by_user = {r["UserID"]: (r["Gender"], r["Age"], r["Occupation"]) for r in rows}
    assert by_user == {
        1: ("female", "Under 18", "K-12 student"),
        2: ("male", "56+", "self-employed"),
        3: ("male", "25-34", "scientist"),
    }
    assert {r["Title"] for r in rows} == {"Toy Story (1995)", "Café :: Noir (1999)"}
    schema = Schema.load(prepared.schema)
    assert schema.group == "UserID"
    assert "Timestamp" not in schema.names
    assert {f.part for f in schema.fields if f.column == "Timestamp"} == {"hour", "weekday"}


def test_movielens_takes_the_unpacked_archive_and_refuses_other_files(tmp_path: Path) -> None:
    movielens(tmp_path / "ml-1m")
    assert prepare("movielens-1m", tmp_path, tmp_path / "out").rows["train"] == 32
    (tmp_path / "ml-1m" / "ratings.dat").write_text("1::2::5::978300000\n1,2,5,978300000\n")
    with pytest.raises(DataError, match=r"ratings\.dat: line 2 is not as published"):
        prepare("movielens-1m", tmp_path, tmp_path / "out2")
    (tmp_path / "ml-1m" / "ratings.dat").write_text("")
    with pytest.raises(DataError, match="the file is empty"):
        prepare("movielens-1m", tmp_path, tmp_path / "out2")
    (tmp_path / "ml-1m" / "ratings.dat").unlink()
    with pytest.raises(DataError, match=r"there is no ratings\.dat; download the dataset from https://grouplens"):
        prepare("movielens-1m", tmp_path, tmp_path / "out2")
    assert not (tmp_path / "out2" / "train.parquet").exists()


def amazon(folder: Path, category: str = "Gift_Cards", *, packed: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    reviews = [
        {
            "rating": float(1 + i % 5),
            "title": "Great",
            "text": "…",
            "images": [{"small_image_url": "x"}],
            "asin": f"B{i % 4}a",
            "parent_asin": f"B{i % 4}",
            "user_id": f"U{i % 7}",
            "timestamp": 1_600_000_000_000 - i // 2 * 1_000_000,
            "helpful_vote": 0,
            "verified_purchase": True,
        }
        for i in range(30)
    ]
    items = [
        {
            "main_category": "Gift Cards",
            "title": f"Card {i}",
            "average_rating": 4.5,
            "rating_number": 10,
            "features": [],
            "price": ["None", 10.5, None, "from $1,014.99"][i],
            "images": [{"hi_res": None}],
            "store": "Store",
            "categories": ["Gift Cards", f"Kind {i}"],
            "details": {"Brand": "x"},
            "parent_asin": f"B{i}",
        }
        for i in range(3)
    ] + [{"parent_asin": "B3", "price": "from $1,014.99"}]
    for name, lines in ((category, reviews), (f"meta_{category}", items)):
        content = "\n".join(map(json.dumps, lines)).encode()
        if packed:
            (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(content))
        else:
            (folder / f"{name}.jsonl").write_bytes(content)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_amazon(tmp_path: Path, packed: bool) -> None:
    prepared = prepare("amazon-2023", amazon(tmp_path / "in", packed=packed), tmp_path / "out")
    check_whole(prepared, 30)
    rows = rows_of(prepared)
    order = sorted(range(30), key=lambda i: 1_600_000_000_000 - i // 2 * 1_000_000)
    assert [r["user_id"] for r in rows] == [f"U{i % 7}" for i in order]
    assert [r["label"] for r in rows] == [int(1 + i % 5 >= 4) for i in order]
    assert {(r["parent_asin"], r["price"]) for r in rows} == {("B0", None), ("B1", 10.5), ("B2", None), ("B3", 1014.99)}
    assert next(r["categories"] for r in rows if r["parent_asin"] == "B1") == ["Gift Cards", "Kind 1"]
    assert {r["store"] for r in rows if r["parent_asin"] == "B3"} == {None}
    leaking = {"rating", "average_rating", "rating_number", "helpful_vote", "verified_purchase", "text"}
    assert not leaking & set(rows[0])


def test_amazon_files_that_do_not_do(tmp_path: Path) -> None:
    folder = amazon(amazon(tmp_path / "in"), "Digital_Music")
    with pytest.raises(DataError, match="several categories"):
        prepare("amazon-2023", folder, tmp_path / "out")
    assert prepare("amazon-2023", folder / "Digital_Music.jsonl", tmp_path / "out").rows["test"] == 3
    (folder / "meta_Gift_Cards.jsonl").unlink()
    with pytest.raises(DataError, match="side by side"):
        prepare("amazon-2023", folder / "Gift_Cards.jsonl", tmp_path / "out")
    (folder / "Digital_Music.jsonl").write_text('{"rating": 5}\n')
    with pytest.raises(DataError, match="line 1 is not as published"):
        prepare("amazon-2023", folder / "Digital_Music.jsonl", tmp_path / "out")


def criteo(folder: Path, rows: int = 25) -> Path:
    folder.mkdir(exist_ok=True)
    lines = []
    for i in range(rows):
        counts = [str(i), "", "-3", *["7"] * 10]
        lines.append("\t".join([str(i % 2), *counts, f"{i % 3:08x}", "", *["a'b\"c"] * 24]))
    (folder / "train.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_criteo(tmp_path: Path) -> None:
    seen: list[Progress] = []
    prepared = prepare("criteo", criteo(tmp_path / "in"), tmp_path / "out", seen.append)
    check_whole(prepared, 25)
    rows = rows_of(prepared)
    assert [r["I1"] for r in rows] == list(range(25))  # the order stays
    assert (rows[0]["I2"], rows[0]["I3"], rows[0]["C1"], rows[0]["C2"], rows[0]["C26"]) == (
        None, -3, "00000000", None, "a'b\"c",
    )  # fmt: skip
    assert seen[-1].done == 1.0
    kinds = {f.name: f.kind for f in Schema.load(prepared.schema).fields}
    assert kinds["I13"] is Kind.NUMERIC
    assert kinds["C26"] is Kind.CATEGORICAL


def test_criteo_files_that_do_not_do(tmp_path: Path) -> None:
    folder = criteo(tmp_path / "in", rows=9)
    with pytest.raises(DataError, match="9 rows are left"):
        prepare("criteo", folder, tmp_path / "out")
    (folder / "train.txt").write_text("0\t1\t2\n")
    with pytest.raises(DataError, match="not the file as it is published"):
        prepare("criteo", folder, tmp_path / "out")
    (folder / "train.txt").write_text("")
    with pytest.raises(DataError):
        prepare("criteo", folder, tmp_path / "out")
    with pytest.raises(DataError, match=r"there is no train\.txt or train\.txt\.gz"):
        prepare("criteo", tmp_path, tmp_path / "out")


AVAZU = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,device_ip,"
    "device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
)


def avazu(folder: Path, hours: list[int], *, packed: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [AVAZU] + [
        f"{10**18 + i},{i % 2},141021{hour:02},1005,0,1fbe01fe,f3845767,28905ebd,ecad2386,7801e8d9,07d7df22,a99f214a,"
        f"ip{i},44956a24,1,2,15706,320,50,1722,0,35,-1,79"
        for i, hour in enumerate(hours)
    ]
    content = ("\n".join(lines) + "\n").encode()
    (folder / ("train.gz" if packed else "train.csv")).write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("hours", [sorted(i % 5 for i in range(40)), [(i * 7) % 5 for i in range(40)]])
def test_avazu(tmp_path: Path, hours: list[int], packed: bool) -> None:
    prepared = prepare("avazu", avazu(tmp_path / "in", hours, packed=packed), tmp_path / "out")
    check_whole(prepared, 40)
    rows = rows_of(prepared)
    order = sorted(range(40), key=lambda i: hours[i])
    assert [r["device_ip"] for r in rows] == [f"ip{i}" for i in order]
    assert [r["hour"] for r in rows] == [dt.datetime(2014, 10, 21, hours[i]) for i in order]
    assert "id" not in rows[0]
    fields = {f.name: f for f in Schema.load(prepared.schema).fields}
    assert part_value(fields["weekday"], rows[0]["hour"]) == "Tuesday"
    assert part_value(fields["hour_of_day"], rows[-1]["hour"]) == "4"


def test_avazu_files_that_do_not_do(tmp_path: Path) -> None:
    folder = avazu(tmp_path / "in", [1] * 20)
    (folder / "train.csv").write_text((folder / "train.csv").read_text().replace("14102101", "2014-10-21"))
    with pytest.raises(DataError, match="expected YYMMDDHH"):
        prepare("avazu", folder, tmp_path / "out")
    (folder / "train.csv").write_text("id,click\n1,0\n")
    with pytest.raises(DataError, match="not the file as it is published"):
        prepare("avazu", folder, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


BANK = (
    '"age";"job";"marital";"education";"default";"housing";"loan";"contact";"month";"day_of_week";"duration";"campaign";'
    '"pdays";"previous";"poutcome";"emp.var.rate";"cons.price.idx";"cons.conf.idx";"euribor3m";"nr.employed";"y"'
)


def bank(folder: Path, answers: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [BANK] + [
        f'{20 + i};"admin.";"married";"basic.4y";"no";"no";"no";"telephone";"may";"mon";261;1;999;0;"nonexistent";1.1;'
        f'93.994;-36.4;4.857;5191;"{answer}"'
        for i, answer in enumerate(answers)
    ]
    (folder / "bank-additional-full.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_bank(tmp_path: Path) -> None:
    folder = bank(tmp_path / "in", ["yes" if i % 3 == 0 else "no" for i in range(40)])
    prepared = prepare("bank-marketing", folder, tmp_path / "out")
    check_whole(prepared, 40)
    rows = rows_of(prepared)
    assert sorted(int(str(r["age"])) for r in rows) == list(range(20, 60))
    assert [r["age"] for r in rows] == [20 + i for i in np.random.default_rng(2026).permutation(40)]
    assert all(r["label"] == int((int(str(r["age"])) - 20) % 3 == 0) for r in rows)
    assert "duration" not in rows[0]
    assert rows[0]["emp_var_rate"] == 1.1


def test_bank_files_that_do_not_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="all 20 rows have the label 0"):
        prepare("bank-marketing", bank(tmp_path / "in", ["no"] * 20), tmp_path / "out")
    assert not (tmp_path / "out" / "train.parquet").exists()
    with pytest.raises(DataError, match=r"'maybe'.* beside yes and no"):
        prepare("bank-marketing", bank(tmp_path / "in", ["no", "maybe"] * 20), tmp_path / "out")
    (tmp_path / "in" / "bank-additional-full.csv").write_text("age;y\n1;yes\n")
    with pytest.raises(DataError, match="the columns job, marital"):
        prepare("bank-marketing", tmp_path / "in", tmp_path / "out")


def test_the_sample_can_be_prepared_and_is_what_its_notice_says(tmp_path: Path) -> None:
    prepared = prepare("bank-marketing", sample_dataset(), tmp_path)
    assert prepared.rows == {"train": 32_950, "valid": 4_118, "test": 4_120}
    schema = Schema.load(sample_dataset() / "schema.yaml")
    assert schema == curated_schema("bank-marketing") == Schema.load(prepared.schema)
    table = parquet.read_table(tmp_path / "train.parquet")
    assert set(table.column_names) == {*schema.columns, "label"}
    assert "duration" not in table.column_names
    notice = (sample_dataset() / "NOTICE.md").read_text()
    assert "10.24432/C5K306" in notice
    assert "CC BY 4.0" in notice


@pytest.mark.parametrize("name", DATASETS)
def test_curated_schemas(name: str) -> None:
    schema = curated_schema(name)
    texts = [field.text for field in schema.fields]
    assert schema.name == name
    assert all(field.description for field in schema.fields)
    assert len(set(texts)) == len(texts)
    if name != "criteo":  # whose columns are of undisclosed meaning
        assert all(field.side for field in schema.fields)


def test_unknown_dataset_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="allowed: movielens-1m, amazon-2023"):
        prepare("imagenet", tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="no such file or folder"):
        prepare("criteo", tmp_path / "nothing", tmp_path / "out")


@pytest.mark.parametrize("rows", [10, 19, 1_000, 739_012, 88_468, 41_188])
def test_bounds(rows: int) -> None:
    train, valid, end = bounds(rows)
    assert (train, valid - train, end) == (int(0.8 * rows), int(0.1 * rows), rows)
