"""Both models of CTRL's stage 1, and the gradient of a batch that is larger than what fits into memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llactr_core.enhancers.ctrl.loss import Subspaces, alignment_loss
from llactr_core.enhancers.ctrl.options import CtrlOptions
from llactr_core.enhancers.model import CTRModel
from llactr_core.semantics.encoder import TextEncoder, buckets, pool
from llactr_core.semantics.tokens import Tokens


@dataclass(frozen=True)
class Distinct:
    """The sentences of a batch as tokens, equal ones once: rows of tokens, and int64 [B], the one of each row."""

    tokens: list[Tokens]
    text_of: Tensor

    @classmethod
    def of(cls, encoder: TextEncoder, sentences: Sequence[str]) -> "Distinct":
        """Those of B sentences."""
        rows = dict(zip(dict.fromkeys(sentences), encoder.tokenize(list(dict.fromkeys(sentences))), strict=True))
        places: dict[tuple[int, ...], int] = {}  # a model that cuts, or knows no capitals, reads some as equal
        text_of = [places.setdefault(tuple(rows[sentence]), len(places)) for sentence in sentences]
        return cls([list(row) for row in places], torch.tensor(text_of, device=encoder.device))


class Aligner(nn.Module):
    """The backbone with its embeddings, the language model, and a map of each into the common space.

    Args:
        model: what is aligned; its last hidden layer speaks for a row.
        encoder: all of its weights are trained but the pooler's, which takes no part; the mean of its last hidden
            states speaks for a sentence.
        options: widths, the temperature, and how many tokens are read at once.
    """

    def __init__(self, model: CTRModel, encoder: TextEncoder, options: CtrlOptions) -> None:
        super().__init__()
        self.table = model.embedding.table
        self.backbone = model.backbone
        self.text = encoder.model
        self._model, self._encoder, self._options = (model,), encoder, options  # a tuple: no second name for a weight
        for name, parameter in encoder.model.named_parameters():
            parameter.requires_grad_("pooler" not in name)
        fields, width = model.embedding.fields, model.embedding.width
        empty = self.table.new_zeros(1, fields, width), self.table.new_zeros(1, fields * model.embedding.first_order)
        hidden = model.backbone.hidden(*empty).shape[1]
        self.of_rows = Subspaces(hidden, options.width, options.subspaces).to(encoder.device)
        self.of_texts = Subspaces(encoder.width, options.width, options.subspaces).to(encoder.device)

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """What a step may change, by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}

    def backward(
        self, ids: Tensor, weights: Tensor | None, sentences: Distinct, beat: Callable[[], None] = lambda: None
    ) -> float:
        """Leave the gradient of a batch's loss in the parameters; returns the loss.

        Gradient caching (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021,
        https://arxiv.org/abs/2101.06983): the sentences are read part by part without their activations, the loss tells
        the gradient of each sentence's vector, and each part is read again to pass its gradient on. The result is the
        gradient of the whole batch; a batch that is read at once is read only once.

        Args:
            ids: int [B, S], of the batch's rows.
            weights: float32 [B, S], or None.
            sentences: of the rows.
            beat: is called after each part; what it raises ends the work.
        """
        hidden = self._hidden(ids, weights)
        parts = buckets([len(row) for row in sentences.tokens], self._options.tokens_at_once)
        if len(parts) == 1:
            return _passed_back(self.loss(hidden, self._read(sentences, range(len(sentences.tokens))), sentences))
        texts = torch.empty(len(sentences.tokens), self._encoder.width, device=self._encoder.device)
        with torch.no_grad():
            for part in parts:
                texts[part] = self._read(sentences, part)
                beat()
        loss = _passed_back(self.loss(hidden, texts.requires_grad_(), sentences))
        if texts.grad is not None:
            for part in parts:
                self._read(sentences, part).backward(texts.grad[part])  # type: ignore[no-untyped-call]
                beat()
        return loss

    def loss(self, hidden: Tensor, texts: Tensor, sentences: Distinct) -> Tensor:
        """The loss of a batch, a scalar, from its rows' hidden layer [B, H] and the vectors [U, D] of its sentences."""
        rows = self.of_rows(hidden)
        return alignment_loss(rows, self.of_texts(texts), sentences.text_of, self._options.temperature)

    def _hidden(self, ids: Tensor, weights: Tensor | None) -> Tensor:
        (model,) = self._model
        places = ids.long() if model.origins is None else model.origins[ids.long()]
        return model.backbone.hidden(*model.embedding(places, weights, self.table))

    def _read(self, sentences: Distinct, chosen: Sequence[int]) -> Tensor:
        """The vectors [n, D] of some sentences: the mean of their tokens' last hidden states."""
        rows = [sentences.tokens[i] for i in chosen]
        states = self._encoder.states(rows)  # [n, T, D]
        lengths = torch.tensor([len(row) for row in rows], device=states.device)
        mask = torch.arange(states.shape[1], device=states.device) < lengths.unsqueeze(1)
        return pool(states, mask.long(), "mean")


def _passed_back(loss: Tensor) -> float:
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())
