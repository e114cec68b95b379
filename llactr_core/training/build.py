"""An untrained model of an encoder's rows, the semantics and the options."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llactr_core.data.encoding import Encoder
from llactr_core.data.vocabulary import UNSEEN
from llactr_core.enhancers.base import Enhancer
from llactr_core.enhancers.larr.larr import Larr
from llactr_core.enhancers.larr.scenes import Scenes, scene_fields
from llactr_core.enhancers.llactr import Llactr
from llactr_core.enhancers.model import CTRModel
from llactr_core.enhancers.values import FieldFeatures, ValueOffsets
from llactr_core.errors import OptionError, SchemaError
from llactr_core.models.base import Shape
from llactr_core.models.embedding import FeatureEmbedding
from llactr_core.models.registry import BACKBONES, build_backbone
from llactr_core.schema import Schema
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable
from llactr_core.semantics.values.features import FieldBasis
from llactr_core.semantics.values.projection import ValueProjection
from llactr_core.semantics.values.table import ValueTable
from llactr_core.training.options import TrainOptions


def build_model(encoder: Encoder, semantics: Semantics, options: TrainOptions) -> CTRModel:
    """An untrained model for an encoder's rows; its weights depend on the seed alone.

    Raises:
        OptionError: the enhancer needs a field table, or the backbone does not know an option.
        SchemaError: the field table or the value table is of other fields.
    """
    torch.manual_seed(options.seed)
    schema = encoder.schema
    sides: tuple[str | None, ...] = tuple(f.side for f in schema.fields)
    if options.enhancer == "larr":
        sides = (*sides, "context")  # one more field: the scene's aggregate
    shape = Shape(len(sides), options.width, sides)
    backbone = build_backbone(options.backbone, shape, options.backbone_options)
    slot_field = torch.from_numpy(encoder.slot_field.astype(np.int64))
    embedding = FeatureEmbedding(encoder.size, options.width, slot_field, BACKBONES[options.backbone].first_order)
    return CTRModel(embedding, backbone, _enhancer(encoder, semantics, options), _origins(encoder, options.rare))


def value_projection(table: Tensor, encoder: Encoder, offsets: ValueOffsets, recipe: str) -> ValueProjection:
    """How a trained model makes rows of values that it never saw.

    Args:
        table: the embeddings without offsets, [V, d (+ 1)].
        encoder: of the model's rows.
        offsets: what the texts of values add.
        recipe: that of the value table.
    """
    unseen = {name: int(encoder.offsets[k]) + UNSEEN for k, name in enumerate(encoder.schema.names)}
    fields = {name: offsets.projection(name, table[unseen[name]]) for name in offsets.bases}
    return ValueProjection(fields, recipe)


def scenes_of(encoder: Encoder, semantics: Semantics) -> Scenes:
    """The scenes of an encoder's rows.

    Raises:
        OptionError: the schema marks no scene, or there is no value table.
        SchemaError: the value table lacks a field of the scene.
    """
    if semantics.values is None:
        scene_fields(encoder.schema)  # says first what comes first
        raise OptionError("enhancer 'larr' needs the vectors of the scene's values; give a value table", field="values")
    return Scenes.of(encoder, semantics.values)


def _enhancer(encoder: Encoder, semantics: Semantics, options: TrainOptions) -> Enhancer:
    if options.enhancer in ("none", "ctrl"):
        return Enhancer()
    first_order = BACKBONES[options.backbone].first_order
    if options.enhancer == "larr":
        return Larr(scenes_of(encoder, semantics), options.width, first_order, options.larr)
    values = None if semantics.values is None else _offsets(encoder, semantics.values, options, first_order)
    vectors = _field_vectors(encoder.schema, semantics.fields) if options.llactr.needs_fields else None
    return Llactr(vectors, options.width, options.llactr, values)


def _field_vectors(schema: Schema, table: FieldTable | None) -> Tensor:
    if table is None:
        raise OptionError("enhancer 'llactr' needs a field table; give one or choose 'none'", field="enhancer")
    if tuple(table.fields) != schema.names:
        raise SchemaError(
            f"the field table is of the fields {', '.join(table.fields)}, but schema {schema.name!r} has "
            f"{', '.join(schema.names)}; refresh the table for this schema"
        )
    return torch.from_numpy(np.array(table.vectors))


def _offsets(encoder: Encoder, table: ValueTable, options: TrainOptions, first_order: bool) -> ValueOffsets | None:
    """What the texts of values add; None where no field has two values with different vectors."""
    strange = [name for name in table.fields if name not in encoder.schema.names]
    if strange:
        raise SchemaError(
            f"the value table is of the fields {', '.join(strange)}, which schema {encoder.schema.name!r} does not "
            "have; embed the values of this schema"
        )
    dims = options.llactr.value_dims
    fields = []
    for name in table.fields if dims else ():
        values, vectors = table.of(name)
        ids = encoder.ids_of(name, values)
        known, seen = ids >= 0, _seen(encoder, ids)
        basis = FieldBasis.fit(vectors[seen], dims)
        if basis is not None:
            features = torch.from_numpy(basis.features(vectors[known]))
            fields.append(FieldFeatures(name, torch.from_numpy(ids[known].astype(np.int64)), features, basis))
    if not fields:
        return None
    counts = torch.from_numpy(encoder.counts)
    return ValueOffsets(fields, counts, options.width + first_order, options.llactr.value_trust)


def _seen(encoder: Encoder, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which ids [n] are of values that train had: only these say how the vectors of a field differ."""
    return (ids >= 0) & (encoder.counts[np.maximum(ids, 0)] > 0)


def _origins(encoder: Encoder, rare: int) -> Tensor | None:
    """The id whose own row each id has, int64 [V]; None where each has its own."""
    chosen = encoder.rarer_than(rare)
    if not chosen.any():
        return None
    origins = np.where(chosen, encoder.unseen_ids, np.arange(encoder.size))
    return torch.from_numpy(origins.astype(np.int64))
