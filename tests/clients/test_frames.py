"""Rows, columns and dataframes in, and dataframes out, against the running service."""

import asyncio
import importlib
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from ctr_house import CtrHouse
from llactr_client import ApiError, AsyncClient, Client, ClientError
from shop import shop_rows

TABLE = shop_rows(60, 9).drop_columns(["click"])
ROWS = TABLE.to_pylist()


@pytest.fixture(scope="module")
def expected(shop_house: CtrHouse) -> tuple[float, ...]:
    with Client(shop_house.url) as client:
        return tuple(client.score(ROWS).scores)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(TABLE, id="pyarrow table"),
        pytest.param(TABLE.to_batches()[0], id="pyarrow batch"),
        pytest.param(TABLE.to_pandas(), id="pandas"),
        pytest.param(TABLE.to_pandas().set_index(np.arange(60) * 7), id="pandas with an index"),
        pytest.param(TABLE.to_pandas().astype({"colour": "category"}), id="pandas categories"),
        pytest.param(pl.from_arrow(TABLE), id="polars"),
        pytest.param(pl.DataFrame(TABLE).with_columns(pl.col("colour").cast(pl.Categorical)), id="polars categories"),
    ],
)
def test_every_frame_scores_like_its_rows(shop: Client, expected: tuple[float, ...], frame: Any) -> None:
    found = shop.score(frame, details=True)
    assert found.scores == pytest.approx(expected, abs=1e-12)
    assert not any(detail["extra"] for detail in found.details)


def test_columns_score_like_rows(shop: Client, expected: tuple[float, ...]) -> None:
    assert shop.score(columns=TABLE.to_pydict()).scores == expected


def test_scores_become_frames(shop: Client, expected: tuple[float, ...]) -> None:
    found = shop.score([*ROWS[:2], {"colour": "pink"}], details=True)
    assert (found.to_numpy().dtype, found.to_numpy().shape) == (np.float64, (3,))
    table = found.to_arrow()
    assert table.column_names == ["score", "missing", "unseen", "extra", "absent"]
    assert table["unseen"].to_pylist()[2] == ["colour"]
    assert isinstance(found.to_pandas(), pd.DataFrame)
    assert found.to_pandas()["score"].tolist() == list(found.scores)
    assert isinstance(found.to_polars(), pl.DataFrame)
    assert found.to_polars()["missing"].to_list()[2] == ["user", "price", "tags"]
    assert shop.score(TABLE).to_arrow().column_names == ["score"]


@pytest.mark.parametrize("rows", [ROWS, TABLE], ids=["rows", "frame"])
def test_large_inputs_go_in_parts(shop: Client, shop_house: CtrHouse, expected: tuple[float, ...], rows: Any) -> None:
    async def scored() -> Any:
        async with AsyncClient(shop_house.url) as client:
            return await client.score(rows, rows_at_once=7, details=True)

    for found in (shop.score(rows, rows_at_once=7, details=True), asyncio.run(scored())):
        assert found.scores == pytest.approx(expected, abs=1e-12)
        assert [part.rows for part in found.parts] == [7] * 8 + [4]
        assert len({part.request_id for part in found.parts}) == 9
        assert len(found.details) == 60
        assert found.place(7) == (found.parts[1].request_id, 0)
        assert found.place(59) == (found.parts[8].request_id, 3)
        for outside in (60, -1):
            with pytest.raises(IndexError, match="60"):
                found.place(outside)


def test_no_version_is_mixed_into_another(service: Any) -> None:
    """The champion changes between the first part and the second."""
    for version in ("v1", "v2"):
        service.answer("/v1/score", {"scores": [0.5], "model": {"name": "m", "version": version}, "request_id": "r"})
    with Client(service.url) as client:
        client.score([{}, {}, {}], model="m@champion", rows_at_once=1)
    assert [asked.query for asked in service.asked] == ["model=m%40champion", "model=m%3Av1", "model=m%3Av1"]


def test_a_part_that_is_refused_is_the_error_of_the_whole(service: Any) -> None:
    answer = {"scores": [0.5], "model": {"name": "m", "version": "v"}, "request_id": "r"}
    service.answer("/v1/score", answer)
    service.answer("/v1/score", {"detail": "row 0 is a list", "code": "invalid-row"}, 422)

    async def refused() -> None:
        async with AsyncClient(service.url) as client:
            await client.score([{}] * 30, rows_at_once=1)

    with pytest.raises(ApiError, match="row 0"):
        asyncio.run(refused())
    assert len(service.asked) < 10, "the rest is not sent"


def test_fewer_scores_than_rows_are_no_answer(service: Any) -> None:
    service.answer("/v1/score", {"scores": [0.5], "model": {"name": "m", "version": "v"}, "request_id": "r"})
    with Client(service.url) as client, pytest.raises(ApiError, match="2 rows were sent"):
        client.score([{}, {}])


def test_an_empty_frame_has_no_scores(shop: Client) -> None:
    assert shop.score(TABLE.slice(0, 0)).scores == ()
    assert shop.score([]).scores == ()


def test_what_cannot_be_sent_is_refused_with_advice(shop: Client) -> None:
    with pytest.raises(ClientError, match="one type"):
        shop.score(pd.DataFrame({"colour": ["red", 3, object()]}))
    with pytest.raises(ValueError, match="rows_at_once is 0"):
        shop.score(ROWS, rows_at_once=0)
    with pytest.raises(ValueError, match="exactly one"):
        shop.score(TABLE, columns={})
    with pytest.raises(ApiError) as caught:
        shop.score(pa.table({"colour": [[["red"]]]}))
    assert caught.value.status in (400, 422)


def test_a_package_that_is_not_installed_is_named(shop: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shop.score(ROWS[:1])

    def absent(name: str) -> object:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    for use, package in ((found.to_polars, "polars"), (found.to_pandas, "pandas"), (found.to_arrow, "pyarrow")):
        with pytest.raises(ClientError, match=f"pip install {package}"):
            use()
    with pytest.raises(ClientError, match="pip install pyarrow"):
        shop.score(TABLE)
