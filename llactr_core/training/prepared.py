"""A dataset read and encoded once, for one training run or for many."""

from dataclasses import dataclass
from typing import Self

from llactr_core.data.encoding import Encoder
from llactr_core.data.splits import Splits
from llactr_core.schema import Schema
from llactr_core.semantics.values.table import ValueTable
from llactr_core.training.data import Rows, load_rows


@dataclass(frozen=True)
class Prepared:
    """The encoded train and valid rows. The test split is not read before it is asked for."""

    splits: Splits
    encoder: Encoder
    train: Rows
    valid: Rows

    @classmethod
    def read(
        cls, splits: Splits, schema: Schema, values: ValueTable | None = None, parent: Encoder | None = None
    ) -> Self:
        """Fit an encoder on train, and encode train and valid.

        Args:
            splits: the dataset.
            schema: its fields and label.
            values: their values get ids too where train lacks them, so that their text can speak for them.
            parent: an encoder whose ids are kept; what train adds comes behind them.

        Raises:
            DataError, SchemaError: the data do not fit the schema.
        """
        encoder = Encoder.fit(schema, splits.train.batches(schema.columns))
        if parent is not None:
            encoder = parent.extended(encoder)
        if values is not None:
            encoder = encoder.knowing({name: values.of(name)[0] for name in values.fields})
        train, valid = (load_rows(source, schema, encoder) for source in (splits.train, splits.valid))
        return cls(splits, encoder, train, valid)

    def test(self) -> Rows:
        """The encoded test rows; no choice may rest on them."""
        return load_rows(self.splits.test, self.encoder.schema, self.encoder)
