"""From values to rows of an overlay: the LLM service reads them, the bundle says what follows from that."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from llactr_core.bundle import SCENE_VALUES, VALUES
from llactr_core.data.canonical import canonical
from llactr_core.data.vocabulary import UNSEEN
from llactr_core.errors import ConflictError, DataError, OptionError
from llactr_core.overlay import OverlayRow
from llactr_core.schema import Field
from llactr_core.scorer import Scorer
from llactr_core.semantics.values.gather import recipe_of, text_of, unit
from llactr_core.semantics.values.projection import ValueProjection
from services.ctr import metrics
from services.ctr.registry.records import Lineage
from services.ctr.registry.store import Registry
from services.ctr.serving.pool import ModelPool
from services.ctr.serving.shelf import Key
from services.ctr.settings import CtrSettings
from services.ctr.values.store import Head, OverlayStore

Values = Mapping[str, Sequence[object]]


@dataclass
class FieldOutcome:
    """What came of the values of one field.

    Args:
        added: they have rows from here on.
        known: they had one, in the bundle or in the overlay.
        refused: the reason, by value.
    """

    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Addition:
    """What came of a call, and where the overlay stands."""

    version: str
    fields: Mapping[str, FieldOutcome]
    head: Head


@dataclass(frozen=True)
class Projections:
    """What makes rows of vectors in one bundle: of embeddings, and of scenes; None where it has no such part."""

    rows: ValueProjection | None
    scenes: ValueProjection | None

    @classmethod
    def load(cls, bundle: Path) -> "Projections":
        """Those that the bundle brings.

        Raises:
            ArtifactError: a file is damaged.
        """
        files = (bundle / VALUES, bundle / SCENE_VALUES)
        return cls(*(ValueProjection.load(file) if file.exists() else None for file in files))

    @property
    def fields(self) -> set[str]:
        """The fields whose values can be added."""
        return {name for part in (self.rows, self.scenes) if part is not None for name in part.fields}

    @property
    def recipe(self) -> str:
        """That of the value table behind them."""
        return next(part.recipe for part in (self.rows, self.scenes) if part is not None)

    def row_of(self, scorer: Scorer, its: Field, value: str, vector: np.ndarray) -> OverlayRow:
        """The row of a value whose text has this unit vector [D]."""
        if self.rows is not None and its.name in self.rows.fields:
            (row,) = self.rows.rows_of(its.name, vector[None])
        else:
            encoder = scorer.encoder
            row = scorer.row(int(encoder.offsets[encoder.schema.names.index(its.name)]) + UNSEEN)
        scene = None
        if self.scenes is not None and its.name in self.scenes.fields:
            (scene,) = self.scenes.rows_of(its.name, vector[None])
        return OverlayRow(its.name, value, row, scene)


class Adder:
    """Adds values to the overlays of registered versions."""

    def __init__(self, store: OverlayStore, registry: Registry, pool: ModelPool, settings: CtrSettings) -> None:
        self._store = store
        self._registry = registry
        self._pool = pool
        self._settings = settings

    def add(self, model: str, version: str, values: Values, source: str) -> Addition:
        """Give values rows in the overlay of a version, by its name or an alias; what has one is left as it is.

        Raises:
            NotFoundError: no such model, version or alias.
            OptionError: a field is not one whose values can be added.
            ConflictError: the version has no value semantics, or those of another language model.
            UnavailableError: the LLM service or the database does not answer; nothing was added.
        """
        registered = self._registry.get(model, version)
        key = (model, registered.version)
        scorer = self._pool.take(key).scorer.with_overlay(None)  # of its overlay only SQL knows the present state
        projections = Projections.load(self._registry.bundle_path(registered.version))
        self._check(model, registered.version, registered.lineage, projections, values)
        outcomes = {name: sorted_out(scorer, name, given) for name, given in values.items()}
        self._look_up(key, outcomes)
        rows = self._rows(scorer, projections, registered.lineage, outcomes)
        head, added = self._store.append(key, rows, source, self._settings.overlay_values)
        metrics.OVERLAY_VALUES.labels(source).inc(len(added))
        if len(added) < len(rows):
            self._look_up(key, outcomes, {(row.field, row.value) for row in added})
            self._refuse(outcomes, {(row.field, row.value) for row in added})
        return Addition(registered.version, outcomes, head)

    def _look_up(
        self, key: Key, outcomes: Mapping[str, FieldOutcome], but: AbstractSet[tuple[str, str]] = frozenset()
    ) -> None:
        """Call those known that the overlay has, but for some."""
        asked = [value for outcome in outcomes.values() for value in outcome.added]
        known = self._store.known(key, asked) - but
        for name, outcome in outcomes.items():
            outcome.known += [value for value in outcome.added if (name, value) in known]
            outcome.added = [value for value in outcome.added if (name, value) not in known]

    def _refuse(self, outcomes: Mapping[str, FieldOutcome], added: AbstractSet[tuple[str, str]]) -> None:
        """Say of those that were not added that there was no room."""
        most = self._settings.overlay_values
        for name, outcome in outcomes.items():
            for value in outcome.added:
                if (name, value) not in added:
                    outcome.refused[value] = f"the overlay has {most} values of this field, the most (overlay_values)"
            outcome.added = [value for value in outcome.added if (name, value) in added]

    def fields(self, model: str, version: str) -> set[str]:
        """The fields of a registered version whose values can be added."""
        registered = self._registry.get(model, version)
        return Projections.load(self._registry.bundle_path(registered.version)).fields

    def _check(self, model: str, version: str, lineage: Lineage, projections: Projections, values: Values) -> None:
        if not projections.fields:
            raise ConflictError(
                f'version {version} of {model!r} was trained without value semantics; train one with "values": true, '
                'or one with "enhancer": "larr" for the values of a scene'
            )
        unknown = sorted(set(values) - projections.fields)
        if unknown:
            raise OptionError(
                f"values of {', '.join(map(repr, unknown))} cannot be added to version {version} of {model!r}; fields "
                f"with value semantics: {', '.join(sorted(projections.fields))}",
                field=unknown[0],
            )
        if projections.recipe != recipe_of([str(lineage.table_version)]):
            raise ConflictError(
                f"the values of version {version} of {model!r} were not read by the LLM service (it was trained "
                f"elsewhere and imported); train one here with {_way_to(lineage)}"
            )

    def _rows(
        self,
        scorer: Scorer,
        projections: Projections,
        lineage: Lineage,
        outcomes: Mapping[str, FieldOutcome],
    ) -> list[OverlayRow]:
        fields = {one.name: one for one in scorer.schema.fields}
        wanted = [(fields[name], value) for name, outcome in outcomes.items() for value in outcome.added]
        if not wanted:
            return []
        from services.ctr.jobs.llm import field_semantics  # the client of the LLM service; few processes ever ask it

        table = f"{lineage.field_schema or scorer.schema.name}@{lineage.table_version}"
        with field_semantics(self._settings) as service:
            vectors = unit(service.embed([text_of(its, value) for its, value in wanted], table))
        pairs = zip(wanted, vectors, strict=True)
        return [projections.row_of(scorer, its, value, vector) for (its, value), vector in pairs]


def _way_to(lineage: Lineage) -> str:
    """What a train call says for a version of the same kind, whose values can be added."""
    return '"enhancer": "larr"' if lineage.enhancer == "larr" else '"values": true'


def sorted_out(scorer: Scorer, name: str, given: Sequence[object]) -> FieldOutcome:
    """The values in canonical form: those with ids are known, the others in `added` are yet to be."""
    outcome = FieldOutcome()
    texts: dict[str, None] = {}
    for value in given:
        try:
            text = canonical(value)
        except DataError as error:
            outcome.refused[str(value)[:100]] = error.detail
            continue
        if text is None:
            outcome.refused[str(value)[:100]] = "it is a missing value"
        else:
            texts[text] = None
    for text, is_known in zip(texts, scorer.encoder.has(name, list(texts)), strict=True):
        (outcome.known if is_known else outcome.added).append(text)
    return outcome
