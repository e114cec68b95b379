"""Which dataset the main job works on: DATA and LABEL, or the sample; its name and its schema."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from llactr_core.data.infer import infer_schema
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.datasets import sample_dataset
from llactr_core.errors import DataError, SchemaError
from llactr_core.schema import Schema

SCHEMA_FILE = "schema.yaml"


@dataclass(frozen=True)
class DatasetChoice:
    """A dataset, the schema that it is read with, and how that schema came about (`reasons` by field if inferred)."""

    path: Path
    schema: Schema
    schema_file: Path | None
    reasons: Mapping[str, str]

    @classmethod
    def asked(cls, data: Path | None, label: str | None) -> Self:
        """The dataset that is asked for; without one the shipped sample, which has a schema of its own.

        Raises:
            DataError, SchemaError: as `of`.
        """
        if data is not None:
            return cls.of(data, label)
        path = sample_dataset()
        file = path / SCHEMA_FILE
        return cls(path, Schema.load(file), file, {})

    @classmethod
    def of(cls, path: Path, label: str | None) -> Self:
        """A dataset of the user. A schema file beside the data wins over inference.

        Raises:
            DataError: the data cannot be read, or there is neither a schema file nor a label.
            SchemaError: the schema file is not valid, or fits neither the data nor the label.
        """
        path = path.absolute()
        name = name_of(path)
        file = schema_file(path)
        if file is not None:
            content = {**Schema.load(file).model_dump(mode="json"), "name": name}
            schema = Schema.parse({**content, "label": label} if label else content)
            if schema.label is None:
                raise SchemaError(f"{file} names no label; add 'label: COLUMN' to it, or set LABEL")
            return cls(path, schema, file, {})
        if not label:
            raise DataError(
                f"the label of {path} is not known: set LABEL to the column of 0 and 1, as in `make run DATA=... "
                f"LABEL=click`, or put a schema at {_schema_path(path)}"
            )
        inference = infer_schema(open_dataset(path, label).train, label, name)
        return cls(path, inference.schema, None, inference.reasons)

    @property
    def origin(self) -> str:
        """Where its schema comes from, for people."""
        if self.schema_file is not None:
            return f"schema: {self.schema_file}"
        return "schema inferred; `llactr schema infer` shows the reasons and writes it for editing"

    def splits(self) -> Splits:
        """Its train, valid and test parts."""
        return open_dataset(self.path, self.schema.label)

    def first_test_row(self) -> dict[str, object]:
        """The first row of the test part, with the columns of the schema that have a value."""
        batch = next(iter(self.splits().test.batches(self.schema.columns)))
        (row,) = batch.slice(0, 1).to_pylist()
        return {name: value for name, value in row.items() if value is not None}

    def digests(self) -> dict[str, str]:
        """SHA-256 of each part."""
        splits = self.splits()
        return {"train": splits.train.digest(), "valid": splits.valid.digest(), "test": splits.test.digest()}


def name_of(path: Path) -> str:
    """The name of the model and the schema for a dataset: the file's or folder's name without its suffixes.

    >>> name_of(Path("data/my clicks.jsonl.gz"))
    'my-clicks'
    """
    stem = path.name if path.is_dir() else path.name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-._")[:100] or "dataset"


def schema_file(path: Path) -> Path | None:
    """The schema beside a dataset, if there is one: DIR/schema.yaml, or ROWS.schema.yaml for a file."""
    file = _schema_path(path)
    return file if file.is_file() else None


def _schema_path(path: Path) -> Path:
    return path / SCHEMA_FILE if path.is_dir() else path.with_name(f"{path.name.split('.')[0]}.schema.yaml")
