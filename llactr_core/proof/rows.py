"""The rows that a proof works on: checked before a language model reads them, cut as asked, and few enough."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from llactr_core.data.encoding import Encoder
from llactr_core.data.labels import read_labels
from llactr_core.data.read import Source, require_column
from llactr_core.data.splits import Splits
from llactr_core.enhancers.ctrl.sentences import SentenceTemplate
from llactr_core.enhancers.larr.read import read_texts
from llactr_core.enhancers.larr.scenes import scene_fields, scene_values
from llactr_core.errors import DataError, OptionError
from llactr_core.proof.cuts import few_rows, item_cold, thinned
from llactr_core.proof.options import ProveOptions
from llactr_core.proof.parts import require_parts
from llactr_core.schema import Schema

CURVE = (5, 20)  # percent of the users, besides all
QUICK_ROWS = 60_000  # of each part, at most
LEAST_ROWS = 2_000  # of each part are kept, however little time there is
LEAST_OF_A_CLASS = 50  # likewise, of clicks and of rows without


@dataclass(frozen=True)
class Asked:
    """What a proof works on.

    Args:
        splits: the rows.
        schema: its `group` is the column of users.
        user: that column; None where neither the caller nor the schema names one.
    """

    splits: Splits
    schema: Schema
    user: str | None

    @classmethod
    def of(cls, splits: Splits, schema: Schema, options: ProveOptions) -> Self:
        """The rows that the options ask for; labels, columns and methods are checked.

        Raises:
            DataError: a column is missing, a part that is read has too few rows of a class, or train has not what LARR
                is tuned on.
            OptionError: few users were asked for and nothing names them, or LARR, and there is no scene.
            SchemaError: CTRL was asked for, and no field can be told in a sentence.
        """
        for column in schema.columns:
            require_column(splits.train, column)
        user = user_column(splits, schema, options)
        schema = schema if user is None else schema.model_copy(update={"group": user})
        chosen, label = cut(splits, options, user), str(schema.label)
        try:
            require_rows(chosen, label, final=options.final)
            for percent in CURVE if options.cut == "learning-curve" else ():
                read_labels(few_rows(chosen, user, percent).train, label)
        except DataError as error:
            if options.cut == "none":
                raise
            raise DataError(f"with cut {options.cut!r}: {error.detail}", row=error.row, field=error.field) from error
        few = few_enough(chosen, label, user, final=options.final) if options.quick else chosen
        _require_methods(few.train, schema, options)
        return cls(few, schema, user)


def user_column(splits: Splits, schema: Schema, options: ProveOptions) -> str | None:
    """The column of users, where the dataset has all columns that the options need.

    Raises:
        DataError: it lacks one.
        OptionError: few users were asked for, and nothing names them.
    """
    user = options.user or schema.group
    if user is not None:
        require_column(splits.train, user)
    if options.cut == "item-cold":
        require_column(splits.train, str(options.item))
    elif options.cut != "none" and user is None:
        raise OptionError(f"cut {options.cut!r} needs 'user', or 'group' in the schema", field="user")
    return user


def cut(splits: Splits, options: ProveOptions, user: str | None) -> Splits:
    """The rows that the options ask for."""
    if options.cut == "item-cold":
        return item_cold(splits, str(options.item))
    if options.cut.startswith("users-"):
        return few_rows(splits, user, int(options.cut.removeprefix("users-")))
    return splits


def newcomers(splits: Splits, options: ProveOptions) -> tuple[Source, ...]:
    """The files whose values are read besides train's: with cold items, what a service would be told of new ones."""
    if options.cut != "item-cold":
        return ()
    return (splits.valid, splits.test) if options.final else (splits.valid,)


def require_rows(splits: Splits, label: str, *, final: bool) -> None:
    """Check that all parts that are read have rows of both classes.

    Raises:
        DataError: one lacks them.
    """
    read_labels(splits.train, label)
    require_parts(read_labels(splits.valid, label))
    if final:
        read_labels(splits.test, label)


def few_enough(splits: Splits, label: str, user: str | None, *, final: bool) -> Splits:
    """At most about 60,000 rows of each part that is read; more only where one of the classes is very rare."""
    return _fewer(splits, label, user, lambda rows: QUICK_ROWS / rows, "quick", final=final)


def share_of(splits: Splits, label: str, user: str | None, percent: int, *, final: bool) -> Splits:
    """So many percent of each part that is read, but about 2,000 rows at least."""
    return _fewer(splits, label, user, lambda rows: max(percent / 100, LEAST_ROWS / rows), "time", final=final)


def _fewer(
    splits: Splits, label: str, user: str | None, share: Callable[[int], float], salt: str, *, final: bool
) -> Splits:
    """A share of the users of each part; of its rows, where there are no users or too few of them to draw from."""
    train, valid = (_percent(part, label, share) for part in (splits.train, splits.valid))
    percents = train, valid, _percent(splits.test, label, share) if final else 100
    for column in dict.fromkeys((user, None)) if min(percents) < 100 else ():
        fewer = thinned(splits, column, percents, salt)
        try:
            require_rows(fewer, label, final=final)
        except DataError:
            continue
        return fewer
    return splits


def _percent(part: Source, label: str, share: Callable[[int], float]) -> int:
    """Of the rows of a part, such that enough of both classes are left."""
    labels = read_labels(part, label)
    rarer = min(float(labels.sum()), len(labels) - float(labels.sum()))
    return min(100, math.ceil(100 * max(share(len(labels)), LEAST_OF_A_CLASS / rarer)))


def _require_methods(train: Source, schema: Schema, options: ProveOptions) -> None:
    """Check that the methods asked for find what they read."""
    if "larr" in options.methods:
        scene_fields(schema)
    if not options.methods:
        return
    encoder = Encoder.fit(schema, train.batches(schema.columns))
    if "ctrl" in options.methods:
        SentenceTemplate.of(encoder, options.its_ctrl.nouns)
    if "larr" in options.methods:
        scene_values(encoder)
        if options.its_larr.tunes:
            read_texts(encoder, train, options.its_larr)
