"""A language model as a function from texts to vectors, differentiable for tuning."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from llactr_core.errors import ArtifactError, OptionError
from llactr_core.semantics.head import Head
from llactr_core.semantics.prefix import LEAST, can_share, common_prefix, read_shared
from llactr_core.semantics.template import Pooling, Template, default_template, has_lm_head, is_causal
from llactr_core.semantics.tokens import Tokens, load_tokenizer, padding_token, tokenize, tokenize_whole
from llactr_core.semantics.weights import read_config, resolve_model

TOKENS_PER_BATCH = 4096


class TextEncoder:
    """Tokenizer, model and template. Prompts and fields pass through the same code in tuning and in embedding.

    Dropout is off, also in tuning: the only randomness of SSFT is the order of its prompts.
    """

    def __init__(
        self, model: Any, tokenizer: Any, template: Template, device: torch.device, *, causal_head: bool
    ) -> None:
        self.model = model.to(device).eval()
        self.tokenizer = tokenizer
        self.template = template
        self.device = device
        self.causal_head = causal_head
        self.bfloat16 = False
        self.shares_prefix = False
        self.head: Head | None = None  # of a tuned model, behind the pooling of `embed`

    @classmethod
    def load(
        cls, model: str, template: Template | None = None, device: str = "auto", weights: torch.dtype = torch.float32
    ) -> Self:
        """Load a model by name (`weights.resolve_model`), frozen, without network access.

        `weights` is the type in which they are held: bfloat16 takes half the memory of float32.

        Raises:
            NotFoundError: no such model here.
            ArtifactError: the files are damaged or of an unknown type.
            OptionError: `device` is not available.
        """
        path = resolve_model(model)
        config = read_config(path)
        template = template or default_template(path)
        head = has_lm_head(config)
        network, tokenizer = _load_files(path, weights, causal_head=head, eager=not is_causal(config))
        network.requires_grad_(False)
        return cls(network, tokenizer, template, choose_device(device), causal_head=head)

    @property
    def width(self) -> int:
        """D, the length of a vector."""
        return int(self.model.config.hidden_size)

    def recompute_activations(self) -> bool:
        """Let the backward pass compute each layer's activations again instead of keeping them all.

        Memory falls from all layers' activations to one layer's, for about a third more time. False where the model
        has no layers that transformers knows how to run again.
        """
        from transformers.modeling_layers import GradientCheckpointingLayer

        layers = [module for module in self.model.modules() if isinstance(module, GradientCheckpointingLayer)]
        for layer in layers:
            # Not transformers' own switch: it works only in train mode, which would turn dropout on.
            again: Any = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
            layer.forward = again
        return bool(layers)

    @contextmanager
    def in_bfloat16(self) -> Iterator[None]:
        """Multiply in bfloat16 meanwhile; frozen linear layers are rounded once instead of at every product.

        The results are those of rounding at every product, bit for bit. Frozen float32 weights are kept aside and put
        back, so on a CPU the linear layers take half as much memory again.
        """
        layers = [m for m in self.model.modules() if type(m) is nn.Linear and not m.weight.requires_grad]
        kept = [(layer, layer.weight, layer.bias) for layer in layers]
        for layer, weight, bias in kept:
            # New parameters, not new data: an embedding that shares the weight is not multiplied and stays as it is.
            layer.weight = nn.Parameter(weight.bfloat16(), requires_grad=False)
            layer.bias = None if bias is None else nn.Parameter(bias.bfloat16(), requires_grad=False)
        self.bfloat16 = True
        try:
            yield
        finally:
            self.bfloat16 = False
            for layer, weight, bias in kept:
                layer.weight, layer.bias = weight, bias

    def share_prefix(self, rows: Sequence[Tokens]) -> bool:
        """Let `forward` read once what all rows of a batch begin with; False where this model's vectors would change.

        They would in an encoder, where a token's states depend on what follows. Whether they do not is tried on two
        of `rows`. It cannot be had together with `recompute_activations`, which would fill the cache twice.
        """
        pair = [rows[0], rows[-1]] if rows else []
        if self.causal_head and pair and common_prefix(pair) >= LEAST:
            self.shares_prefix = can_share(self.model.base_model, *self._pad_rows(pair), common_prefix(pair))
        return self.shares_prefix

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids per text, with special tokens as the template says, cut at its `max_tokens`."""
        return tokenize(self.tokenizer, self.template, texts)

    def tokenize_whole(self, texts: Sequence[str]) -> list[Tokens]:
        """As `tokenize`, but no text is cut.

        Raises:
            TooLargeError: a text has more tokens than the model reads; `row` is its index.
        """
        return tokenize_whole(self.tokenizer, self.template, texts)

    def forward(self, rows: Sequence[Tokens]) -> Tensor:
        """Vectors float32 [B, D] of token rows, with gradient where the caller allows it."""
        ids, mask = self._pad_rows(rows)
        with self._autocast():
            hidden = self._hidden(rows, ids, mask)  # [B, T, D]
        pooled = pool(hidden.float(), mask, self.template.pooling)  # [B, D]
        return functional.normalize(pooled, dim=-1) if self.template.normalise else pooled

    def states(self, rows: Sequence[Tokens]) -> Tensor:
        """Last hidden states float32 [B, T, D] of token rows, padded on the right, with gradient where allowed."""
        ids, mask = self._pad_rows(rows)
        with self._autocast():
            return self._hidden(rows, ids, mask).float()

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors float32 [B, D] of texts, in their order; batches hold texts of like length."""
        return self.embed_tokens(self.tokenize(texts))

    def embed_tokens(self, rows: Sequence[Tokens]) -> npt.NDArray[np.float32]:
        """Vectors float32 [B, D] of token rows, in their order."""
        result = np.empty((len(rows), self.width), dtype=np.float32)
        with torch.inference_mode():
            for batch in buckets([len(row) for row in rows], TOKENS_PER_BATCH):
                result[batch] = self.forward([rows[i] for i in batch]).cpu().numpy()
        return result if self.head is None else self.head(result, normalise=self.template.normalise)

    def answer_log_probs(self, prompts: Sequence[Tokens], answers: Sequence[Tokens]) -> Tensor:
        """log P(answer | prompt), the sum over the answer's tokens, float32 [B], with gradient where allowed.

        Raises:
            OptionError: the model has no language-model head.
        """
        self.require_head()
        room = self.template.max_tokens
        pairs = [(prompt[: max(1, room - len(a))], a) for prompt, a in zip(prompts, answers, strict=True)]
        ids, mask = self._pad_rows([prompt + answer for prompt, answer in pairs])  # [B, T]
        with self._autocast():
            logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits  # [B, T, tokens]
        wanted = torch.zeros_like(ids, dtype=torch.bool)
        for row, (prompt, answer) in enumerate(pairs):
            wanted[row, len(prompt) : len(prompt) + len(answer)] = True
        # The logits at position t - 1 speak of the token at t.
        where = wanted[:, 1:]
        log_probs = functional.log_softmax(logits[:, :-1][where].float(), dim=-1)  # [tokens of answers, tokens]
        picked = log_probs.gather(-1, ids[:, 1:][where].unsqueeze(-1)).squeeze(-1)
        rows = where.nonzero()[:, 0]
        return torch.zeros(len(pairs), device=self.device).index_add(0, rows, picked)  # [B]

    def answers(self, names: Sequence[str]) -> list[Tokens]:
        """Token ids of field names as answers, each ended by the end-of-text token where the model has one."""
        texts = [self.template.answer(name) for name in names]
        rows: list[Tokens] = self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        return [[*row, end] if end is not None else row for row in rows]

    def require_head(self) -> None:
        """Refuse a model without a language-model head.

        Raises:
            OptionError: there is none.
        """
        if not self.causal_head:
            kind = self.model.config.model_type
            raise OptionError(
                f"the generative objective needs a causal language-model head, which this {kind!r} model does not "
                "have; use objective 'contrastive', or a causal model",
                field="objective",
            )

    def _hidden(self, rows: Sequence[Tokens], ids: Tensor, mask: Tensor) -> Tensor:
        shared = common_prefix(rows) if self.shares_prefix else 0
        if shared >= LEAST and len(rows) > 1:
            return read_shared(self.model.base_model, ids, mask, shared)
        hidden: Tensor = self.model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden

    def _pad_rows(self, rows: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        """Ids and mask [B, T], padded on the right."""
        longest, pad = max(len(row) for row in rows), padding_token(self.tokenizer)
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=self.device)
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        mask = torch.arange(longest, device=self.device) < lengths.unsqueeze(1)
        return ids, mask.long()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector per text: hidden [B, T, D], mask [B, T] with 1 on tokens -> [B, D]; padding on either side."""
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)  # [B, T, 1]
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
    positions = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    outside = mask == 0
    if pooling == "last":
        chosen = positions.masked_fill(outside, -1).argmax(1)
    else:
        chosen = positions.masked_fill(outside, mask.shape[1]).argmin(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), chosen]


def buckets(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in batches of like length, longest first, each at most `budget` tokens with padding (or one row)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def choose_device(name: str) -> torch.device:
    """The device called "auto", "cpu" or "cuda".

    Raises:
        OptionError: there is no GPU that torch can use.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("device 'cuda' was given, but torch finds no GPU; use 'cpu' or 'auto'", field="device")
    return torch.device(name)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 natively; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    facts = Path("/proc/cpuinfo")
    flags = facts.read_text(encoding="utf-8", errors="replace").split() if facts.is_file() else []
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def _load_files(path: Path, weights: torch.dtype, *, causal_head: bool, eager: bool) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.utils import logging

    tokenizer = load_tokenizer(path)
    loading: Any = logging  # untyped
    bars = loading.is_progress_bar_enabled()
    loading.disable_progress_bar()
    try:
        family: Any = AutoModelForCausalLM if causal_head else AutoModel
        network, facts = family.from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=weights,
            # On CPUs plain attention is twice as fast as the fused one in bfloat16, and no slower in float32.
            attn_implementation="eager" if eager else None,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"cannot load the language model {path.name!r}: {error}") from error
    finally:
        if bars:
            loading.enable_progress_bar()
    # Nothing is generated token by token; a cache of keys and values would only take memory.
    network.config.use_cache = False
    # Weights that are not in the file would be random; only the pooler, which nothing here reads, may be missing.
    missing = sorted(name for name in facts["missing_keys"] if "pooler" not in name)
    if missing:
        raise ArtifactError(f"the language model {path.name!r} lacks the weights {', '.join(missing[:5])}")
    return network, tokenizer
