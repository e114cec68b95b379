"""What all prompts of a batch begin with is read once, where no token sees what comes after it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from llactr_core.semantics.tokens import Tokens

LEAST = 8  # shorter beginnings are not worth a pass of their own
_ROUNDING = {torch.float32: 1e-4}  # relative to the largest state
_COARSE_ROUNDING = 0.05


def common_prefix(rows: Sequence[Tokens]) -> int:
    """How many tokens all rows begin with; every row keeps at least one of its own."""
    first, last = min(rows), max(rows)
    most = min(map(len, rows)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def read_shared(model: Any, ids: Tensor, mask: Tensor, shared: int) -> Tensor:
    """The last hidden states [B, T, D] of ids [B, T], whose first `shared` columns are the same in every row."""
    beginning = model(input_ids=ids[:1, :shared], use_cache=True)
    cache = beginning.past_key_values
    cache.batch_repeat_interleave(len(ids))
    rest = model(input_ids=ids[:, shared:], attention_mask=mask, past_key_values=cache, use_cache=True)
    states = beginning.last_hidden_state.expand(len(ids), -1, -1)  # [B, shared, D]
    return torch.cat([states, rest.last_hidden_state], dim=1)


def can_share(model: Any, ids: Tensor, mask: Tensor, shared: int) -> bool:
    """Whether `read_shared` gives what the model gives for these rows: it does where it is causal and keeps a cache."""
    from transformers import DynamicCache

    with torch.inference_mode():
        if not isinstance(getattr(model(input_ids=ids[:1], use_cache=True), "past_key_values", None), DynamicCache):
            return False
        whole = model(input_ids=ids, attention_mask=mask).last_hidden_state
        parts = read_shared(model, ids, mask, shared)
    seen = mask.bool()
    allowed = _ROUNDING.get(whole.dtype, _COARSE_ROUNDING) * whole[seen].abs().max()
    return bool((whole[seen] - parts[seen]).abs().max() <= allowed)
