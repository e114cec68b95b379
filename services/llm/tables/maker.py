"""The language model that made a table, compared with the one that is here under its name."""

from collections.abc import Collection, Mapping
from typing import Any

from llactr_core.errors import ArtifactError
from services.llm.tables.table_info import TableInfo

PLAIN_TEXT = ("special_tokens", "pooling", "normalise", "max_tokens")  # what of a template decides a text's vector


def check_maker(
    info: TableInfo,
    provenance: Mapping[str, Any],
    model_digest: str,
    template: Mapping[str, Any],
    parts: Collection[str] = PLAIN_TEXT,
) -> None:
    """Refuse a model whose vectors do not belong beside those of the table.

    Args:
        info: the table.
        provenance: what the table's content says of its making.
        model_digest: that of the model's files here.
        template: the model's template here.
        parts: what of the template must be equal.

    Raises:
        ArtifactError: the model has other files or another template than the table was made with.
    """
    if provenance.get("model_digest") != model_digest:
        raise ArtifactError(
            f"the model {info.model} has other files than field table {info.version[:12]} was made with; "
            "put them back, or refresh the fields"
        )
    made_with = provenance.get("template") or {}
    if any(made_with.get(part) != template.get(part) for part in parts):
        raise ArtifactError(
            f"field table {info.version[:12]} was made with another template than the model {info.model} has here; "
            "refresh the fields"
        )
