"""The language model of LARR as a text embedder: LoRA, the rows of special tokens, and an MLP behind the pooling."""

from collections.abc import Sequence
from typing import Self

import torch
from tokenizers import AddedToken
from torch import Tensor, nn
from torch.nn import functional

from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.tokens import Tokens
from llactr_core.semantics.tuning.adapter import add_adapter, lora_parameters

TOKENS, HEAD = "tokens", "head"


class MarkedEmbedding(nn.Module):
    """The frozen input embeddings, with trained rows for the special tokens: the ids from `first` on.

    Args:
        base: [V, D].
        first: the id of the first special token.
        rows: [n, D], what they begin with.
    """

    def __init__(self, base: nn.Embedding, first: int, rows: Tensor) -> None:
        super().__init__()
        self.base, self.first = base, first
        self.rows = nn.Parameter(rows)

    @property
    def weight(self) -> Tensor:
        """The frozen rows, [V, D]."""
        return self.base.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Rows [..., D] of ids [...]."""
        if not len(self.rows):
            known_only: Tensor = self.base(ids)
            return known_only
        is_new = ids >= self.first
        known = self.base(ids.masked_fill(is_new, 0))
        new = functional.embedding((ids - self.first).clamp(min=0, max=len(self.rows) - 1), self.rows)
        return torch.where(is_new.unsqueeze(-1), new, known)


class Head(nn.Module):
    """x + MLP(x): [B, D] -> [B, D]; it begins as x. What is kept of it is `llactr_core.semantics.head`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D]."""
        return x + self.outer(functional.gelu(self.inner(x), approximate="tanh"))  # type: ignore[no-any-return]


class Reader:
    """A freshly loaded language model made ready for stages 1 and 2; it begins as the untuned model.

    Args:
        encoder: the model, changed in place.
        marks: the special tokens; each begins as the mean of the tokens of its words. One that the model knows stays
            as it is.
        options: LoRA's rank and scale, and the seed.
    """

    def __init__(self, encoder: TextEncoder, marks: Sequence[str], options: LarrOptions) -> None:
        self.encoder = encoder
        base: nn.Embedding = encoder.model.get_input_embeddings()
        tokenizer = encoder.tokenizer
        known = tokenizer.get_vocab()
        marks = [name for name in dict.fromkeys(marks) if name not in known]
        names = [name.strip("<|>").replace("_", " ") for name in marks]
        words = tokenizer(names, add_special_tokens=False)["input_ids"] if names else []
        begin = [base.weight[row].mean(0) if row else base.weight.mean(0) for row in words]
        self.first = len(tokenizer)
        tokenizer.add_tokens([AddedToken(name, normalized=False, special=True) for name in marks], special_tokens=True)
        rows = torch.stack(begin) if begin else base.weight[:0]
        self.embedding = MarkedEmbedding(base, self.first, rows.detach().float().clone())
        encoder.model.set_input_embeddings(self.embedding)
        self.targets = add_adapter(encoder, options.tuning(1))
        self.embedding.rows.requires_grad_()  # PEFT freezes all but LoRA
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.head = Head(encoder.width).to(encoder.device)
        self.parameters: dict[str, nn.Parameter] = {
            **lora_parameters(encoder.model),
            TOKENS: self.embedding.rows,
            **{f"{HEAD}.{name}": parameter for name, parameter in self.head.named_parameters()},
        }

    @classmethod
    def load(cls, model: str, marks: Sequence[str], options: LarrOptions, device: str = "auto") -> Self:
        """The reader of a model by name (`weights.resolve_model`).

        Raises:
            NotFoundError, ArtifactError: the model is not here, or damaged.
            OptionError: LoRA does not know the model's projections.
        """
        return cls(TextEncoder.load(model, device=device), marks, options)

    def without_head(self) -> dict[str, nn.Parameter]:
        """What stage 1 trains: LoRA and the special tokens."""
        return {name: value for name, value in self.parameters.items() if not name.startswith(HEAD)}

    def forward(self, rows: Sequence[Tokens]) -> Tensor:
        """Unit vectors float32 [B, D] of token rows, with gradient where the caller allows it."""
        vectors: Tensor = self.head(self.encoder.forward(rows))
        return functional.normalize(vectors, dim=-1)
