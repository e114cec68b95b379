"""From texts to token ids: the same for every engine, so that special tokens cannot differ between them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llactr_core.errors import ArtifactError, TooLargeError
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
    return _rows(tokenizer, template, texts, template.max_tokens)


def tokenize_whole(tokenizer: Any, template: Template, texts: Sequence[str]) -> list[Tokens]:
    """As `tokenize`, but no text is cut.

    Raises:
        TooLargeError: a text has more tokens than the model reads; `row` is its index.
    """
    rows = _rows(tokenizer, template, texts, None)
    for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
        if len(row) > template.max_tokens:
            raise TooLargeError(
                f"the text {text[:40]!r}... has {len(row)} tokens; the language model reads at most "
                f"{template.max_tokens}: shorten it",
                row=index,
            )
    return rows


def _rows(tokenizer: Any, template: Template, texts: Sequence[str], most: int | None) -> list[Tokens]:
    if not texts:
        return []
    encoded = tokenizer(
        list(texts),
        add_special_tokens=template.special_tokens,
        truncation=most is not None,
        max_length=most,
        return_attention_mask=False,
        verbose=False,  # transformers would warn of texts that `tokenize_whole` refuses
    )
    rows: list[Tokens] = encoded["input_ids"]
    return [row or [padding_token(tokenizer)] for row in rows]


def padding_token(tokenizer: Any) -> int:
    """The id that fills rows up; 0 where the model names none."""
    pad = tokenizer.pad_token_id
    return 0 if pad is None else int(pad)
