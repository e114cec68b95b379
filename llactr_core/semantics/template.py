"""What the language model reads of a value and of a field, and how its output becomes one vector."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from llactr_core.errors import ArtifactError, OptionError
from llactr_core.schema import Schema, humanise
from llactr_core.semantics.weights import read_config

Pooling = Literal["mean", "cls", "last"]
_BERT_LIKE = ("albert", "bert", "camembert", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta")
_ENCODERS = frozenset({*_BERT_LIKE, "deberta", "deberta-v2"})
_CAUSAL_HEADS = ("ForCausalLM", "LMHeadModel")
_MAX_TOKENS = 512


@dataclass(frozen=True)
class Template:
    """The encoding of prompts and fields, the same in tuning and in embedding, recorded in every field table.

    The candidate set is left out where there are more than `max_candidates` fields: it would fill the context.
    """

    instruction: str = "Which field does the feature belong to?"
    prompt_form: str = "{instruction} The feature is: {value}. The fields are: {candidates}."
    field_form: str = "{text}"
    answer_form: str = " {name}"
    max_candidates: int = 64
    special_tokens: bool = True
    pooling: Pooling = "mean"
    normalise: bool = True
    max_tokens: int = _MAX_TOKENS

    def prompt(self, value: str, candidates: tuple[str, ...], max_chars: int) -> str:
        """The prompt of a feature value, of which at most `max_chars` characters are shown."""
        form = self.prompt_form
        if len(candidates) > self.max_candidates:
            form = form.split(" The fields are:")[0]
        shown = cut(value, max_chars)
        return form.format(instruction=self.instruction, value=shown, candidates=", ".join(candidates))

    def fields(self, schema: Schema) -> tuple[str, ...]:
        """The texts of the K fields; fields that share a text are told apart by their names."""
        times = Counter(field.text for field in schema.fields)
        texts = []
        for field in schema.fields:
            text = field.text if times[field.text] == 1 else f"{humanise(field.name)} ({field.name}): {field.text}"
            texts.append(self.field_form.format(text=text, name=humanise(field.name)))
        return tuple(texts)

    def answer(self, name: str) -> str:
        """What the generative loss expects after the prompt, for the name of a field in words."""
        return self.answer_form.format(name=name)

    def to_json(self) -> dict[str, object]:
        """Plain data, for provenance and the recipe."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The template from what `to_json` made.

        Raises:
            ArtifactError: a part is unknown.
        """
        try:
            return cls(**content)
        except TypeError as error:
            raise ArtifactError(f"this is no template of a language model: {error}") from error


def cut(value: str, max_chars: int) -> str:
    """A value as prompts show it: whitespace runs become one blank, at most `max_chars` characters."""
    return " ".join(value[: 4 * max_chars].split())[:max_chars]


def candidates(schema: Schema) -> tuple[str, ...]:
    """The names of the K fields in words, the candidate set of every prompt."""
    return tuple(humanise(name) for name in schema.names)


def default_template(path: Path) -> Template:
    """The template that fits the model in `path`: its own pooling where it names one, else by its type.

    Encoders without a word about pooling: mean. Causal models: the last token. The prompt is cut at 512 tokens, or
    at what the model can read.

    Raises:
        ArtifactError: the configuration cannot be read.
        OptionError: an encoder-decoder model.
    """
    config = read_config(path)
    if config.get("is_encoder_decoder"):
        raise OptionError(f"{path.name!r} is an encoder-decoder model; give an encoder or a causal language model")
    positions = config.get("max_position_embeddings")
    # RoBERTa's positions begin after the padding id, so two of them are never reached.
    limit = min(_MAX_TOKENS, positions - 2) if isinstance(positions, int) and positions > 8 else _MAX_TOKENS
    pooling, normalise = _sentence_transformers(path) or ("last" if is_causal(config) else "mean", True)
    return Template(pooling=pooling, normalise=normalise, max_tokens=limit)


def is_causal(config: dict[str, object]) -> bool:
    """Whether a token sees only what stands before it."""
    return has_lm_head(config) or config.get("model_type") not in _ENCODERS


def has_lm_head(config: dict[str, object]) -> bool:
    """Whether the model can be asked for P(text | prompt)."""
    architectures = config.get("architectures")
    names = architectures if isinstance(architectures, list) else []
    return config.get("model_type") not in _ENCODERS and any(str(name).endswith(_CAUSAL_HEADS) for name in names)


def _sentence_transformers(path: Path) -> tuple[Pooling, bool] | None:
    """Pooling and normalisation that a sentence-transformers directory declares, if it is one."""
    if not (path / "modules.json").is_file():
        return None
    try:
        modules = [str(module["type"]) for module in json.loads((path / "modules.json").read_text(encoding="utf-8"))]
        pooling = json.loads((path / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"cannot read the pooling of the language model {path.name!r}: {error}") from error
    normalise = any(module.endswith("Normalize") for module in modules)
    if pooling.get("pooling_mode_lasttoken") or pooling.get("pooling_mode") == "lasttoken":
        return "last", normalise
    if pooling.get("pooling_mode_cls_token") or pooling.get("pooling_mode") == "cls":
        return "cls", normalise
    return "mean", normalise
