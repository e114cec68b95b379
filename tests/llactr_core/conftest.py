"""A bundle of the shop, trained once."""

import pytest
import torch
from shop import QUICK, SHOP, shop_table, write_shop

from llactr_core.bundle import Bundle
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.progress import silent
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.pipeline import train_bundle

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return open_dataset(write_shop(tmp_path_factory.mktemp("shop")), "click")


@pytest.fixture(scope="session")
def shop_bundle(shop: Splits, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return train_bundle(shop, SHOP, Semantics(shop_table()), QUICK, folder / "b", folder / "c", silent, read_test=True)
