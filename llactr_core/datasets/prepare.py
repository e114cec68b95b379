"""The datasets that LLaCTR can prepare from the files that a user downloads, by name."""

from collections.abc import Callable
from pathlib import Path

from llactr_core.datasets.amazon import prepare_amazon
from llactr_core.datasets.avazu import prepare_avazu
from llactr_core.datasets.bank import prepare_bank
from llactr_core.datasets.criteo import prepare_criteo
from llactr_core.datasets.movielens import prepare_movielens
from llactr_core.datasets.writing import PreparedDataset
from llactr_core.errors import DataError, OptionError
from llactr_core.progress import ProgressCallback, silent
from llactr_core.schema import Schema

_HERE = Path(__file__).parent
_Loader = Callable[[Path, Path, Schema, ProgressCallback], PreparedDataset]
_LOADERS: dict[str, _Loader] = {
    "movielens-1m": prepare_movielens,
    "amazon-2023": prepare_amazon,
    "criteo": prepare_criteo,
    "avazu": prepare_avazu,
    "bank-marketing": prepare_bank,
}
DATASETS = tuple(_LOADERS)


def prepare(name: str, source: Path, out: Path, progress: ProgressCallback = silent) -> PreparedDataset:
    """Turn the published files of a dataset into train, valid and test.parquet and schema.yaml.

    Args:
        name: one of `DATASETS`.
        source: the folder with the files, or the file where there is one only.
        out: the folder to write to, made if need be; files of these names in it are replaced.
        progress: told the stage and the share done.

    Raises:
        OptionError: there is no such dataset.
        DataError: the files are missing or not as published, or too few rows, or one class only, are left.
    """
    schema = curated_schema(name)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder; give the place of the {name} files that you downloaded")
    return _LOADERS[name](source, out, schema, progress)


def curated_schema(name: str) -> Schema:
    """The schema of a dataset, with descriptions written for the language model to read.

    Raises:
        OptionError: there is no such dataset.
    """
    if name not in _LOADERS:
        raise OptionError(f"there is no dataset {name!r}; allowed: {', '.join(DATASETS)}")
    return Schema.load(_HERE / "schemas" / f"{name}.yaml")


def sample_dataset() -> Path:
    """The folder of the sample that ships with LLaCTR: UCI Bank Marketing, prepared, with its schema and notice."""
    return _HERE / "bank_marketing"
