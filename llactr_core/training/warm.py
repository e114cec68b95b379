"""Training that goes on from a trained bundle: known values keep their embeddings, added ones start from the unseen."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from llactr_core.bundle import TABLE, WEIGHTS, Bundle
from llactr_core.data.encoding import Encoder
from llactr_core.data.vocabulary import UNSEEN
from llactr_core.enhancers.model import CTRModel
from llactr_core.errors import BundleError, OptionError
from llactr_core.schema import Schema
from llactr_core.training.options import TrainOptions

MUST_AGREE = ("backbone", "backbone_options", "width")


@dataclass(frozen=True)
class WarmStart:
    """A verified bundle to start from: its encoder, and its weights by name."""

    version: str
    encoder: Encoder
    weights: dict[str, Tensor]

    @classmethod
    def load(cls, path: Path, schema: Schema, options: TrainOptions) -> "WarmStart":
        """Read a bundle and check that training can go on from it.

        Raises:
            BundleError: it is damaged.
            OptionError: its fields, backbone, backbone options or width are others.
        """
        bundle = Bundle.open(path)
        if bundle.schema.fields != schema.fields:
            raise OptionError(
                "a warm start needs the fields of the version that it starts from; this schema has others: train anew",
                field="warm_start",
            )
        before = TrainOptions.parse(bundle.manifest["options"])
        differ = [name for name in MUST_AGREE if getattr(before, name) != getattr(options, name)]
        if differ:
            told = ", ".join(f"{name} {getattr(before, name)!r} (asked: {getattr(options, name)!r})" for name in differ)
            raise OptionError(f"the version to start from has {told}; ask for the same, or train anew", field=differ[0])
        try:
            weights = load_file(path / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise BundleError(f"cannot read the weights of {path}: {error}; restore or retrain it") from error
        return cls(bundle.version, Encoder.load(schema, path), weights)

    def put_into(self, model: CTRModel, encoder: Encoder) -> None:
        """Give the model what the bundle learned; `encoder` extends the bundle's.

        Of the enhancer it keeps what has the same shape: another enhancer, or vectors of another width, begin anew.
        """
        state = model.state_dict()
        weights = {n: w for n, w in self.weights.items() if n in state and w.shape == state[n].shape}
        model.load_state_dict({**state, **weights, TABLE: self._table(encoder)})
        known = self._known_ids(encoder)
        offsets = model.enhancer.offsets(known)
        if offsets is not None:  # the bundle's table has the parent's offsets in it: the same rows are to come out
            model.embedding.table.data[known] -= offsets.detach()

    def _known_ids(self, encoder: Encoder) -> Tensor:
        """The ids in the extended encoder that the bundle knew, int64."""
        starts = zip(encoder.offsets.tolist(), self.encoder.encoders, strict=True)
        return torch.cat([torch.arange(start, start + len(known)) for start, known in starts])

    def _table(self, encoder: Encoder) -> Tensor:
        """The bundle's embeddings in the places of the extended encoder, [V, d (+ 1)]."""
        old = self.weights[TABLE]
        parts = []
        for start, known, all_of_field in zip(
            self.encoder.offsets.tolist(), self.encoder.encoders, encoder.encoders, strict=True
        ):
            added = len(all_of_field) - len(known)
            parts += [old[start : start + len(known)], old[start + UNSEEN].repeat(added, 1)]
        return torch.cat(parts)
