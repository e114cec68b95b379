"""A schema proposed from the data, with the reason for each choice: a first draft that a person then edits."""

import re
from dataclasses import dataclass

from llactr_core.data.inference.profile import Profile, Profiler
from llactr_core.data.inference.rules import choose
from llactr_core.data.read import Source, require_column
from llactr_core.errors import DataError
from llactr_core.schema import MAX_FIELDS, Schema

SAMPLE_ROWS = 1_000_000
_USER_NAME = re.compile(r"(user|customer|member|visitor|reviewer|account|client)(_?(id|uid|key|no))?|uid|userid")


@dataclass(frozen=True)
class Inference:
    """A proposed schema, the reason of every column's choice, and those of the columns that became no field again."""

    schema: Schema
    reasons: dict[str, str]
    left_out: dict[str, str]


def infer_schema(source: Source, label: str | None, name: str, sample_rows: int = SAMPLE_ROWS) -> Inference:
    """Propose a schema for a dataset file.

    Args:
        source: the training rows.
        label: the label's column, which becomes no field.
        name: the schema's name; characters that a name may not have become "-".
        sample_rows: how many rows are read, from the first one on.

    Raises:
        DataError: the label's column does not exist, there is no row, no column can become a field, or too many can.
    """
    if label is not None:
        require_column(source, label)
    profiles = _profiles(source, label, sample_rows)
    choices = {profile.name: choose(profile, source.columns) for profile in profiles}
    fields = tuple(field for choice in choices.values() for field in choice.fields)
    left_out = {column: choice.reason for column, choice in choices.items() if not choice.fields}
    if not fields:
        why = "; ".join(f"{column}: {reason}" for column, reason in list(left_out.items())[:5])
        raise DataError(f"{source.path}: no column can become a field. {why}")
    if len(fields) > MAX_FIELDS:
        raise DataError(
            f"{source.path}: {len(fields)} columns could become fields, and {MAX_FIELDS} are possible; leave some out "
            "of the file, or write a schema with those that matter"
        )
    schema = Schema(name=_schema_name(name), label=label, group=_group(profiles, left_out), fields=fields)
    return Inference(schema, {column: choice.reason for column, choice in choices.items()}, left_out)


def _profiles(source: Source, label: str | None, sample_rows: int) -> list[Profile]:
    profilers: dict[str, Profiler] = {}
    rows = 0
    for batch in source.batches([column for column in source.columns if column != label]):
        batch = batch.slice(0, sample_rows - rows)
        for field, array in zip(batch.schema, batch.columns, strict=True):
            profilers.setdefault(field.name, Profiler(field.name, field.type)).add(array)
        rows += batch.num_rows
        if rows >= sample_rows:
            break
    if not profilers:
        raise DataError(f"{source.path}: there is no column beside the label to make a field of")
    return [profiler.finish() for profiler in profilers.values()]


def _group(profiles: list[Profile], left_out: dict[str, str]) -> str | None:
    """The column of users, where one is named so: GAUC is averaged over its values."""
    for profile in profiles:
        usable = profile.name not in left_out and not profile.is_list and profile.distinct >= 2
        if usable and _USER_NAME.fullmatch("_".join(profile.words)):
            return profile.name
    return None


def _schema_name(name: str) -> str:
    return re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r"[^A-Za-z0-9_.-]+", "-", name))[:100] or "dataset"
