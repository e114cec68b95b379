"""From texts to token ids: the same for every engine, so that special tokens cannot differ between them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llactr_core.errors import ArtifactError
from llactr_core.semantics.template import Template

Tokens = list[int]


def load_tokenizer(path: Path) -> Any:
    """The tokenizer in a model's directory, without network access.

    Raises:
        ArtifactError: its files are damaged or of an unknown type.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ArtifactError(f"cannot load the tokenizer of the language model {path.name!r}: {error}") from error


def tokenize(tokenizer: Any, template: Template, texts: Sequence[str]) -> list[Tokens]:
    """Token ids per text, with special tokens as the template says, cut at its `max_tokens`; never an empty row."""
    if not texts:
        return []
    encoded = tokenizer(
        list(texts),
        add_special_tokens=template.special_tokens,
        truncation=True,
        max_length=template.max_tokens,
        return_attention_mask=False,
    )
    rows: list[Tokens] = encoded["input_ids"]
    return [row or [padding_token(tokenizer)] for row in rows]


def padding_token(tokenizer: Any) -> int:
    """The id that fills rows up; 0 where the model names none."""
    pad = tokenizer.pad_token_id
    return 0 if pad is None else int(pad)
